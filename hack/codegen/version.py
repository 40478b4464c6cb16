"""The version stands in pyproject.toml; these files follow it."""

import re
import tomllib
from pathlib import Path

PACKAGE = "pyproject.toml"
FOLLOWERS = {
    "charts/model-safety-operator/Chart.yaml": r"^(?:version|appVersion): \"?([^\"\n]+)\"?$",
    "docs/install.md": r"^VERSION=(\S+)",
    "images/worker/safety_worker/__init__.py": r'^__version__ = "([^"]+)"$',
    "images/operator/Containerfile": r'org\.opencontainers\.image\.version="([^"]+)"',
    "images/worker/Containerfile": r'org\.opencontainers\.image\.version="([^"]+)"',
    "images/guardrails/Containerfile": r'org\.opencontainers\.image\.version="([^"]+)"',
}
"""Path, and what stands around the version there."""


def build_followers(repo: Path) -> dict[str, str]:
    """Paths and texts with the package's version; raises ValueError where a file has no place for it."""
    project = tomllib.loads((repo / PACKAGE).read_text(encoding="utf-8"))["project"]
    return {name: _stamped(repo, name, project["version"]) for name in FOLLOWERS}


def _stamped(repo: Path, name: str, version: str) -> str:
    text = (repo / name).read_text(encoding="utf-8")
    pattern = re.compile(FOLLOWERS[name], re.MULTILINE)
    if not pattern.search(text):
        raise ValueError(f"{name}: no version that could follow the one in {PACKAGE}")
    return pattern.sub(lambda found: found[0].replace(found[1], version), text)
