"""The workflows: what they run exists, actions are pinned, the release builds each image for each machine."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.release.chart import IMAGES
from tests.unit.docs.markdown import REPO

FILES = sorted((REPO / ".github/workflows").glob("*.yml"))
RELEASE = yaml.safe_load((REPO / ".github/workflows/release.yml").read_text(encoding="utf-8"))


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_their_version(file: Any):
    used = [line for line in file.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.fullmatch(
            r" *- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", line.replace("  uses", "- uses")
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_a_workflow_runs_is_in_the_repository(file: Any):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    scripts = "\n".join(step.get("run", "") for step in steps(workflow))
    for name in re.findall(r"(?<![\w./])(?:\.ci|hack)/[\w./-]+", scripts):
        assert (REPO / name).is_file(), name
    targets = {name for line in re.findall(r"\bmake ([\w -]+)", scripts) for name in line.split()}
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in targets)


def test_each_image_is_built_for_both_machines_with_its_bill_of_materials_and_provenance():
    build = RELEASE["jobs"]["build"]
    matrix = build["strategy"]["matrix"]
    assert matrix["image"] == list(IMAGES)
    assert RELEASE["jobs"]["publish"]["strategy"]["matrix"]["image"] == list(IMAGES)
    assert {row["arch"] for row in matrix["include"] if "runner" in row} == set(matrix["arch"])
    (action,) = (step["with"] for step in build["steps"] if "build-push-action" in step.get("uses", ""))
    assert (action["sbom"], action["provenance"]) == (True, "mode=max")
    folders = {row["image"]: row["folder"] for row in matrix["include"] if "folder" in row}
    for name in IMAGES:
        assert (REPO / "images" / folders.get(name, name) / "Containerfile").is_file()
    (arguments,) = (row["arguments"] for row in matrix["include"] if "arguments" in row)
    assert (REPO / arguments.removeprefix("REQUIREMENTS=")).is_file()


@pytest.mark.parametrize(("code", "goes_on"), [(0, True), (1, False)])
def test_a_release_whose_versions_differ_ends_before_anything_is_built(
    tmp_path: Path, code: int, goes_on: bool
):
    (step,) = (step for step in RELEASE["jobs"]["version"]["steps"] if step.get("id") == "version")
    for name, does in (("hack/venv.sh", "exit 0"), (".venv/bin/python", f"echo 1.2.3; exit {code}")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    variables = {"GITHUB_OUTPUT": str(tmp_path / "out"), "REGISTRY": "R.example/o", "TAG": "v1.2.3"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=os.environ | variables, check=False
    )
    assert (done.returncode == 0) is goes_on
    if goes_on:
        said = (tmp_path / "out").read_text(encoding="utf-8")
        assert said == "version=1.2.3\nregistry=r.example/o\nhost=R.example\n"


def test_only_jobs_that_sign_may_ask_for_an_identity():
    for job in RELEASE["jobs"].values():
        signs = any("cosign sign" in step.get("run", "") for step in job["steps"])
        assert (job.get("permissions", {}).get("id-token") == "write") == signs
    assert RELEASE["permissions"] == {"contents": "read"}


def test_what_runs_as_root_on_a_machine_of_ours_is_code_of_this_repository():
    jobs = yaml.safe_load((REPO / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    for job in jobs.values():
        roots = any("sudo" in step.get("run", "") for step in job["steps"])
        assert ("head.repo.full_name == github.repository" in job.get("if", "")) == roots
