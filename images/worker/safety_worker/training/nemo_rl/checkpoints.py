"""NeMo-RL's checkpoints: which are whole, and what is cleared away before a start.

It writes ``tmp_step_N`` and renames it to ``step_N``, which it continues from at any
start, whatever is in it. Knows neither torch nor NeMo-RL.
"""

import json
import math
import re
import shutil
import struct
from pathlib import Path
from typing import Any, NamedTuple

from safety_records.nemo_rl.configuration import VALIDATION_LOSS
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.training.nemo_rl.layout import INFO_NAME, WEIGHTS
from safety_worker.training.nemo_rl.sealing import find_damage, seal_new

_NAME = re.compile(r"^step_(\d+)$")
_OLD = re.compile(r"^old_step_(\d+)$")

OPTIMIZER_METADATA = "policy/optimizer/optim/.metadata"
"""Without it the optimizer's state cannot be read."""

DAMAGED = "damaged_"
"""Prefix of a checkpoint that was moved aside."""
PROBLEM_NAME = "problem.txt"
"""Why it was."""


class Checkpoint(NamedTuple):
    """A whole checkpoint."""

    step: int
    path: Path
    info: dict[str, Any]

    @property
    def validation_loss(self) -> float | None:
        """Loss on the validation rows; None where it was not measured."""
        value = self.info.get(VALIDATION_LOSS)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Whole checkpoints by step; empty if the folder does not exist."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.match(path.name)
        info = read_info(path) if match else None
        if match and info is not None and not problem_of(path):
            found.append(Checkpoint(int(match[1]), path, info))
    return sorted(found)


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The whole checkpoint of the highest step."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """That of the lowest validation loss, the later one of two that are equal; None if none was measured."""
    measured = [
        (c.validation_loss, -c.step, c) for c in list_checkpoints(folder) if c.validation_loss is not None
    ]
    return min(measured)[2] if measured else None


def read_info(path: Path) -> dict[str, Any] | None:
    """NeMo-RL's record of a checkpoint; None if there is none that can be read."""
    try:
        info = json.loads((path / INFO_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) and isinstance(info.get("total_steps"), int) else None


def recorded_losses(folder: Path) -> dict[int, float]:
    """Losses on the validation rows that checkpoints were saved with, by step; some may be no number."""
    found = folder.iterdir() if folder.is_dir() else ()
    infos = [read_info(path) for path in found if _NAME.match(path.name)]
    return {
        int(info["total_steps"]): float(info[VALIDATION_LOSS])
        for info in infos
        if info is not None and isinstance(info.get(VALIDATION_LOSS), int | float)
    }


def cut_after(folder: Path, step: int) -> Checkpoint | None:
    """Remove checkpoints of later steps than the first whole one from ``step`` on; gives that one."""
    found = [checkpoint for checkpoint in list_checkpoints(folder) if checkpoint.step >= step]
    for checkpoint in found[1:]:
        shutil.rmtree(checkpoint.path)
    return found[0] if found else None


def problem_of(path: Path) -> str:
    """What keeps a checkpoint from being continued from; empty if nothing is seen."""
    if read_info(path) is None:
        return f"it has no readable {INFO_NAME}"
    if not (path / OPTIMIZER_METADATA).is_file():
        return f"it has no {OPTIMIZER_METADATA}"
    files = sorted((path / WEIGHTS).glob("*.safetensors"))
    if not files:
        return "it has no weights"
    cut = next((file.name for file in files if not _is_whole(file)), "")
    return f"{cut} is cut off" if cut else find_damage(path)


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:  # what is spoilt may ask for any memory
                return False
            header = json.loads(stream.read(length))
        ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return False
    return size == 8 + int(length) + int(max(ends, default=0))


def clear_debris(folder: Path) -> tuple[str, ...]:
    """Make a folder fit for a start; gives sentences of what was not as it should be.

    Removes half-written checkpoints, gives one back whose replacement was interrupted, and moves damaged ones
    aside, so that NeMo-RL continues from the newest that is whole.
    """
    if not folder.is_dir():
        return ()
    for path in sorted(folder.iterdir()):
        match = _OLD.match(path.name)
        if path.name.startswith("tmp_step_") or (match and (folder / f"step_{match[1]}").exists()):
            shutil.rmtree(path)
        elif match:
            path.rename(folder / f"step_{match[1]}")
    for path in sorted(folder.iterdir()):
        problem = problem_of(path) if _NAME.match(path.name) else ""
        if problem:
            set_aside(path, problem)
    seal_new(folder)
    return tuple(
        f"checkpoint {path.name.removeprefix(DAMAGED)} is not used: {_problem_noted(path)}"
        for path in sorted(folder.glob(f"{DAMAGED}*"))
    )


def set_aside(path: Path, problem: str) -> None:
    """Give a damaged checkpoint a name that NeMo-RL does not know."""
    aside = path.with_name(f"{DAMAGED}{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    atomic_write_text(path / PROBLEM_NAME, problem)
    path.rename(aside)


def _problem_noted(path: Path) -> str:
    try:
        return (path / PROBLEM_NAME).read_text(encoding="utf-8")
    except OSError:
        return "it is damaged"
