"""What pip installs: the plugin in a fresh environment, started by the real kubectl."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.integration.apiserver import CACHE, REPO

VERSION = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has nothing but what the package asks for."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([str(REPO / "hack/tools.sh"), "uv", "kubernetes"], check=True, capture_output=True)
    uv = str(CACHE / "bin/uv")
    subprocess.run([uv, "venv", "-q", str(folder / "venv")], check=True)
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "operator", "requirements", "pyproject.toml", "README.md", "LICENSE"],
        cwd=REPO,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((REPO / name).read_bytes())
    environment = os.environ | {"VIRTUAL_ENV": str(folder / "venv")}
    subprocess.run([uv, "pip", "install", "-q", str(source)], check=True, env=environment)
    return folder / "venv/bin"


def run(fresh: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        args,
        capture_output=True,
        text=True,
        cwd=fresh,
        env={"PATH": f"{fresh}:{CACHE / 'bin'}:/usr/bin:/bin", "HOME": str(fresh)},
        timeout=120,
        check=False,
    )


def test_kubectl_finds_the_plugin_and_it_renders_without_a_cluster(fresh: Path) -> None:
    quickstart = str(REPO / "examples/01-quickstart")
    done = run(fresh, "kubectl", "safety", "render", "-k", quickstart, "-o", "table")
    assert done.returncode == 0, done.stderr
    assert "job/assistant-prove-" in done.stdout
    assert "configmap/assistant-rails-config-" in done.stdout


def test_every_command_finds_what_it_imports(fresh: Path) -> None:
    listed = run(fresh, "kubectl", "safety", "--help").stdout
    for command in ("status", "watch", "report", "hits", "compare", "verify", "render"):
        assert f"  {command} " in listed
    done = run(fresh, "python", "-c", "import safety_cli.report, safety_cli.hits, safety_cli.verify")
    assert done.returncode == 0, done.stderr
    assert run(fresh, "kubectl", "safety", "--version").stdout.strip() == VERSION


def test_the_operators_own_packages_are_not_installed(fresh: Path) -> None:
    done = run(
        fresh,
        "python",
        "-c",
        "import importlib.util as u; print([u.find_spec(n) for n in ('kopf', 'kubernetes')])",
    )
    assert done.stdout.strip() == "[None, None]"
