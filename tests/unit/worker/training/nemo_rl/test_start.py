"""The first lines that run in an image of NeMo-RL: what is wrong with one whose Python does not start."""

import json
import subprocess
from pathlib import Path

import pytest

from safety_records.result import FailureClass, StageResult
from safety_worker.training import nemo_rl

SCRIPT = Path(nemo_rl.__file__).with_name("start.sh")


def start(folder, python):
    spec = folder / "spec.json"
    spec.write_text(json.dumps({"stage": "train", "inputsHash": "abc"}), encoding="utf-8")
    variables = {
        "PATH": "/usr/bin:/bin",
        "NEMO_RL_PYTHON": str(python),
        "SAFETY_TERMINATION_LOG": str(folder / "message"),
    }
    command = ("/bin/sh", str(SCRIPT), "--spec", str(spec))
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_images_python_runs_the_wrapper_with_the_same_arguments(tmp_path):
    python = program(tmp_path / "python", 'if [ "$1" = -c ]; then exit 0; fi; echo "$@"; exit 7')
    done = start(tmp_path, python)
    assert done.returncode == 7
    assert done.stdout.split() == ["-m", "safety_worker.training.nemo_rl", "--spec", f"{tmp_path}/spec.json"]
    assert not (tmp_path / "message").exists()


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        (None, "NoNemoRl", "the image has no "),
        ("No module named 'pydantic'", "NoNemoRl", "named 'pydantic'"),
        ("No module named 'encodings'", "ImageNeedsRoot", "runAsRoot"),
    ],
)
def test_an_image_whose_python_is_not_there_or_does_not_start_ends_at_once(tmp_path, text, reason, words):
    python = tmp_path / "python"
    if text:
        program(python, f'echo "ModuleNotFoundError: {text}" >&2; exit 1')
    done = start(tmp_path, python)
    assert done.returncode == 42
    record = StageResult.model_validate_json((tmp_path / "message").read_text(encoding="utf-8"))
    assert record.inputs_hash == "abc"
    assert record.failure is not None
    assert (record.failure.reason, record.failure.failure) == (reason, FailureClass.INPUT)
    assert words in record.failure.message
    assert "nemoRl.image" in record.failure.message


def test_a_python_that_only_root_may_start_is_told_with_both_ways(tmp_path):
    (tmp_path / "python").symlink_to(tmp_path / "root/python")  # as closed as not there
    done = start(tmp_path, tmp_path / "python")
    assert done.returncode == 42
    message = (tmp_path / "message").read_text(encoding="utf-8")
    assert "ImageNeedsRoot" in message
    assert "set nemoRl.runAsRoot" in message
    assert "nemoRl.image" in message
