#!/usr/bin/env python3
"""The chart of a release: its images with their registry and digests, checked versions, packaged by helm.

    hack/release/chart.py version [TAG]
    hack/release/chart.py package --registry REGISTRY --digests FOLDER --out FOLDER

``FOLDER`` of digests has a file for each image, of its name, that holds ``sha256:...``.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
CHART = Path("charts/model-safety-operator")
IMAGES = {"operator": "operator", "worker": "worker", "worker-gpu": "workerGpu", "guardrails": "guardrails"}
"""Images of a release, and their names in the chart's values."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ReleaseError(Exception):
    """What a release cannot go on with."""


def find_version(repo: Path, tag: str = "") -> str:
    """The version of the package; raises ReleaseError where the chart, or a tag ``vX``, has another one."""
    version = str(tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    chart = yaml.safe_load((repo / CHART / "Chart.yaml").read_text(encoding="utf-8"))
    for what, found in (("chart's version", chart["version"]), ("chart's appVersion", chart["appVersion"])):
        if found != version:
            raise ReleaseError(f"the {what} is {found}, and pyproject.toml says {version}: run make generate")
    if tag and tag != f"v{version}":
        raise ReleaseError(
            f"the tag is {tag}, and pyproject.toml says {version}: tag v{version}, or change it"
        )
    return version


def read_digests(folder: Path) -> dict[str, str]:
    """Digests by image; raises ReleaseError where one is missing or is none."""
    found = {}
    for name in IMAGES:
        file = folder / name
        text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if not DIGEST.fullmatch(text):
            raise ReleaseError(f"{file}: no digest (sha256: and 64 hexadecimal digits), but {text[:80]!r}")
        found[name] = text
    return found


def write_images(values: str, registry: str, digests: Mapping[str, str]) -> str:
    """The chart's values with the registry and the digest of each image; everything else stays as it is.

    Raises ReleaseError where the values have no line for an image in the form that it looks for.
    """
    for name, digest in digests.items():
        line = re.compile(
            rf'^(  {IMAGES[name]}: {{registry: )"[^"]*"(, repository: [^,]+, tag: "[^"]*", digest: )"[^"]*"}}$',  # noqa: E501
            re.MULTILINE,
        )
        values, count = line.subn(rf'\g<1>"{registry}"\g<2>"{digest}"}}', values)
        if count != 1:
            raise ReleaseError(f"values.yaml has {count} lines for images.{IMAGES[name]}, not one")
    return values


def package(repo: Path, registry: str, digests: Mapping[str, str], out: Path) -> Path:
    """Package the chart into ``out`` by helm, with the images of this release."""
    version = find_version(repo)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / CHART.name
        shutil.copytree(repo / CHART, copy)
        values = (copy / "values.yaml").read_text(encoding="utf-8")
        (copy / "values.yaml").write_text(write_images(values, registry, digests), encoding="utf-8")
        for command in (["lint", "--strict", "--quiet"], ["package", "--destination", str(out)]):
            done = subprocess.run(["helm", *command, str(copy)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise ReleaseError(f"helm {command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return out / f"{CHART.name}-{version}.tgz"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version").add_argument("tag", nargs="?", default="")
    packaging = commands.add_parser("package")
    packaging.add_argument("--registry", required=True)
    packaging.add_argument("--digests", required=True, type=Path)
    packaging.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    try:
        if given.command == "version":
            print(find_version(REPO, given.tag))
        else:
            print(package(REPO, given.registry, read_digests(given.digests), given.out))
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
