"""What the image of NeMo-RL must have, what NeMo-RL is told, and why it ended."""

import os

import pytest

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.training.nemo_rl import image as image_module
from safety_worker.training.nemo_rl.environment import driver_environment
from safety_worker.training.nemo_rl.failures import explain
from safety_worker.training.nemo_rl.image import WORKER, check_workers, find_home, release_of


def image(folder, release=(0, 7, 0)):
    (folder / "examples").mkdir(parents=True)
    (folder / "examples/run_sft.py").write_text("", encoding="utf-8")
    (folder / "nemo_rl").mkdir()
    text = "".join(f"{n} = {v}\n" for n, v in zip(("MAJOR", "MINOR", "PATCH"), release, strict=True))
    (folder / "nemo_rl/package_info.py").write_text(text, encoding="utf-8")
    return folder


def test_nemo_rl_is_found_where_the_image_has_it(tmp_path):
    home = image(tmp_path / "home", (0, 7, 1))
    assert find_home({"NEMO_RL_HOME": str(home)}, "0.7.0") == home
    assert release_of(home) == "0.7.1"


def test_an_image_without_nemo_rl_or_of_another_release_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"set nemoRl.image to an image of NeMo-RL 0.7.0"):
        find_home({"NEMO_RL_HOME": str(tmp_path)}, "0.7.0")
    home = image(tmp_path / "home", (0, 6, 0))
    with pytest.raises(InputError, match=r"has NeMo-RL 0.6.0, and the configuration is for 0.7.0"):
        find_home({"NEMO_RL_HOME": str(home)}, "0.7.0")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "use an image of NeMo-RL whose workers"),
        ("#!/bin/sh\necho no encodings >&2\nexit 1", "no encodings"),
        (
            "#!/bin/sh\nexit 3",
            "ImageWithoutCuda: torch of .*set nemoRl.image",
        ),
    ],
)
def test_workers_whose_python_does_not_start_are_refused(tmp_path, script, words):
    python = tmp_path / WORKER / "bin/python"
    if script:
        python.parent.mkdir(parents=True)
        python.write_text(script, encoding="utf-8")
        python.chmod(0o755)
    with pytest.raises(InputError, match=words):
        check_workers({"NEMO_RL_VENV_DIR": str(tmp_path)}, tmp_path)


def test_workers_whose_python_is_slow_to_start_are_tried_again(tmp_path, monkeypatch):
    python = tmp_path / WORKER / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(image_module, "START_SECONDS", 0.2)
    with pytest.raises(InfrastructureError, match=r"within 0.2 s: the node may still load"):
        check_workers({"NEMO_RL_VENV_DIR": str(tmp_path), "PATH": os.environ["PATH"]}, tmp_path)


def test_workers_whose_start_is_killed_say_nothing_of_the_image(tmp_path):
    python = tmp_path / WORKER / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(InfrastructureError, match="ended by signal 9"):
        check_workers({"NEMO_RL_VENV_DIR": str(tmp_path), "PATH": os.environ["PATH"]}, tmp_path)


def test_nemo_rl_gets_a_small_environment_without_secrets(tmp_path):
    given = {
        "PATH": "/bin", "NCCL_DEBUG": "INFO", "HF_HOME": "/cache", "HF_TOKEN": "s", "NVIDIA_API_KEY": "s",
        "AWS_SECRET_ACCESS_KEY": "s", "RAY_ADDRESS": "a:6379", "PYTHONPATH": "/w", "KUBERNETES_PORT": "1",
    }  # fmt: skip
    found = driver_environment(given, tmp_path)
    assert found["HF_HUB_OFFLINE"] == "1"
    assert set(found) & set(given) == {"PATH", "NCCL_DEBUG", "HF_HOME"}
    assert found["HF_HOME"] == str(tmp_path / "huggingface")
    assert found["HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", InputError, "OutOfGpuMemory"),
        (
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
            InputError,
            "OutOfMemory",
        ),
        ("OSError: [Errno 28] No space left on device", InfrastructureError, "ArtifactStoreFull"),
        ("pydantic: 1 validation error for MasterConfig", InputError, "ConfigurationRefused"),
        ("ray.exceptions.ActorDiedError: gone", InfrastructureError, "TrainingIncomplete"),
        ("", InfrastructureError, "TrainingIncomplete"),
    ],
)
def test_an_early_end_is_explained_by_the_last_words(tmp_path, said, kind, reason):
    output = tmp_path / "output-1.log"
    output.write_text(f"Step 1\n{said}\n", encoding="utf-8")
    error = explain(output, 1, 4, 40)
    assert isinstance(error, kind)
    assert error.reason == reason
    assert "after 4 of 40 steps" in error.message
