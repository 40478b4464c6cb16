"""Sizes of a checkpoint's files, noted when it is complete: what is shorter or gone later is damaged.

NeMo-RL reads a checkpoint's optimizer only after all of Ray and the model are up. Contents are not compared:
a checkpoint of an 8B model has 100 GB.
"""

import json
from pathlib import Path

from safety_worker.artifacts.files import atomic_write_text
from safety_worker.training.nemo_rl.layout import INFO_NAME

SIZES_NAME = "sizes.json"
"""In the folder of the checkpoint; NeMo-RL takes no notice of it."""


def seal_new(checkpoints: Path) -> None:
    """Note the sizes of the checkpoints that have none yet."""
    for path in checkpoints.glob("step_*"):
        if (path / INFO_NAME).is_file() and not (path / SIZES_NAME).exists():
            _seal(path)


def _seal(path: Path) -> None:
    try:
        sizes = {
            file.relative_to(path).as_posix(): file.stat().st_size
            for file in path.rglob("*")
            if file.is_file()
        }
        atomic_write_text(path / SIZES_NAME, json.dumps(sizes, sort_keys=True))
    except FileNotFoundError:
        return  # NeMo-RL removes what it does not keep


def find_damage(path: Path) -> str:
    """The first file that is not as long as it was; empty if there is none, or nothing was noted."""
    try:
        sizes = json.loads((path / SIZES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    for name, size in sizes.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            return f"{name} is {'cut off' if file.is_file() else 'gone'}"
    return ""
