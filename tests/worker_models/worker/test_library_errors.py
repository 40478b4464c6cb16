"""What a training tells of errors of torch and its friends, as they really are."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FULL = Path("/dev/full")
"""Each write to it ends with ENOSPC."""


def by_torch(full: Path) -> None:
    import torch  # noqa: PLC0415 - only images have it

    torch.save({"weight": torch.zeros(100_000)}, full)


def by_safetensors(_full: Path) -> None:
    """It writes a file of another name, which no device can take the place of: the error is made by hand."""
    from safetensors import SafetensorError  # noqa: PLC0415 - only images have it

    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def by_python(full: Path) -> None:
    with full.open("w", encoding="utf-8") as stream:
        stream.write("a line")


def by_a_quota(_full: Path) -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def told(write: Callable[[], Any], work: Path) -> Any:
    """What a training ends with."""
    from safety_worker.training.ranks import ProcessRank  # noqa: PLC0415 - only images have torch
    from safety_worker.training.trl.library_errors import told_errors  # noqa: PLC0415 - only images have torch

    with pytest.raises(Exception, match=r".") as caught, told_errors(ProcessRank(), work):
        write()
    return caught.value


@pytest.mark.parametrize("write", [by_torch, by_safetensors, by_python, by_a_quota])
def test_a_full_disk_says_what_helps(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=0))
    (tmp_path / "optimizer.pt").symlink_to(FULL)
    error = told(lambda: write(tmp_path / "optimizer.pt"), tmp_path)
    assert (error.reason, error.exit_code) == ("ArtifactStoreFull", 1)
    assert "lower checkpoint.keep" in error.message


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ValueError("how to ..."), "ValueError"),
    ],
)
def test_a_checkpoint_that_fails_otherwise_is_told_without_words_that_may_quote_rows(
    cause: Exception, words: str, tmp_path: Path
) -> None:
    from torch.distributed.checkpoint.api import CheckpointException  # noqa: PLC0415 - only images have it

    def write() -> None:
        raise CheckpointException("failed", {0: (cause, None)})  # type: ignore[dict-item]

    error = told(write, tmp_path)
    assert error.reason == "CheckpointFailed"
    assert f"({words}): look at the artifacts claim" in error.message
