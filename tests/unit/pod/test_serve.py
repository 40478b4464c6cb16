"""The start of a model server, with the files as a ConfigMap mounts them and an engine of the test's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from safety_operator.children.server_files import FILES, PACKAGE, read_sources

ENGINE = """
import json, multiprocessing, sys

def child(queue):
    from safety_pod.closed_paths import ClosedPaths
    queue.put(ClosedPaths.__name__)

if __name__ == "__main__":
    from importlib.util import find_spec
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    process = spawn.Process(target=child, args=(queue,))
    process.start()
    found = {"args": sys.argv[1:], "child": queue.get(timeout=60), "cuda": find_spec("cuda") is not None}
    process.join()
    print(json.dumps(found))
"""


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """A container's file system: the mounted files, and a folder of packages with an engine."""
    version = tmp_path / "model-safety/..2026_11_30" / PACKAGE
    version.mkdir(parents=True)
    for name in FILES:
        (version / name).write_text(read_sources()[name], encoding="utf-8")
    (tmp_path / "model-safety/..data").symlink_to("..2026_11_30")
    (tmp_path / f"model-safety/{PACKAGE}").symlink_to(f"..data/{PACKAGE}")
    (tmp_path / "packages/engine").mkdir(parents=True)
    (tmp_path / "packages/engine/__init__.py").touch()
    (tmp_path / "packages/engine/server.py").write_text(ENGINE)
    return tmp_path


def start(
    pod: Path, device: str, *options: str, arguments: tuple[str, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    script = str(pod / f"model-safety/{PACKAGE}/serve.py")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(pod / "packages"),
        "SAFETY_SERVER_DEVICE": device,
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    command = [sys.executable, *options, script, "engine.server", "--model", "/artifacts/model", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=pod)


@pytest.mark.parametrize("options", [(), ("-P",)], ids=["usual", "safe-path"])
def test_the_engine_runs_as_a_module_and_its_children_find_the_middleware(
    pod: Path, options: tuple[str, ...]
):
    done = start(pod, "cpu", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "args": ["--model", "/artifacts/model"],
        "child": "ClosedPaths",
        "cuda": False,  # ours does not hide NVIDIA's package of that name
    }


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "float32"), ("gpu", "auto")])
def test_a_processor_without_bfloat16_computes_in_float32_unless_a_gpu_does(
    pod: Path, device: str, dtype: str
):
    (pod / "cpuinfo").write_text("flags\t\t: fpu sse4_2 avx avx2\n")
    for name, old, new in (
        ("processor.py", "/proc/cpuinfo", str(pod / "cpuinfo")),
        ("cuda.py", "def find_trouble(", "def find_trouble(*_):\n    return None\n\n\ndef _looks("),
    ):
        file = pod / f"model-safety/{PACKAGE}/{name}"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    done = start(pod, device, arguments=("--dtype", "auto"))
    assert json.loads(done.stdout)["args"] == ["--model", "/artifacts/model", "--dtype", dtype]


def test_a_gpu_that_is_not_there_ends_the_server_before_the_engine_starts(pod: Path):
    (pod / "packages/torch").mkdir()
    (pod / "packages/torch/__init__.py").write_text("raise RuntimeError\n")
    (pod / "packages/torch/version.py").write_text("cuda = '13.0'\n")
    done = start(pod, "gpu")
    assert (done.returncode, done.stdout) == (42, "")
    assert done.stderr.startswith("NoCudaDevice: A GPU was asked for")


def test_an_engine_for_cpus_that_was_promised_a_gpu_does_not_start(pod: Path):
    info = pod / "packages/engine_cpu-0.32.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: engine-cpu\nVersion: 0.32.0\n")
    done = start(pod, "gpu")
    assert (done.returncode, done.stdout) == (42, "")
    assert done.stderr.startswith("ImageWithoutCuda: The image has engine-cpu 0.32.0")


def test_a_model_with_another_digest_is_not_served(pod: Path):
    (pod / "model").mkdir()
    (pod / "model/manifest.json").write_text('{"files": []}')
    variables = {"SAFETY_MODEL_FOLDER": str(pod / "model"), "SAFETY_MODEL_DIGEST": "sha256:" + "0" * 64}
    done = start(pod, "cpu", **variables)
    assert (done.returncode, done.stdout) == (42, "")
    assert done.stderr.startswith(f"ModelChanged: the files in {pod}/model have the digest sha256:")


def test_a_model_that_changed_on_its_claim_is_not_served(pod: Path):
    (pod / "links").mkdir()
    (pod / "links/manifest.json").write_text('{"files": [{"path": "config.json", "size": 9, "sha256": ""}]}')
    (pod / "links/config.json").write_text("{}")
    done = start(pod, "cpu", SAFETY_SERVER_IN_PLACE=str(pod / "links"))
    assert (done.returncode, done.stdout) == (42, "")
    assert done.stderr.startswith(f"ModelChanged: {pod}/links/config.json has another content, so")


def test_a_server_that_still_loads_ends_when_it_is_told_to(pod: Path):
    """As the first process of its pod, which ends by no signal that it has no handler for."""
    (pod / "packages/engine/server.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    assert start(pod, "cpu").returncode == 143
