"""Delete what nothing has started from for long on a volume of start caches, before a server of it starts.

``python3 -I start_cache_cleaning.py ROOT OWN``, in an init container: a server sees its own folder only. Any
number may run at once, beside servers that start: a folder leaves its name by one rename and is deleted then.
A server whose folder goes works on in its copy, and the next one compiles. Never an error: a volume that
cannot be written stops no server.
"""

import shutil
import sys
import time
import uuid
from pathlib import Path

USED = "used"
"""Stamp in a folder, touched by each server that starts."""
GONE = ".gone-"
"""Beginning of names of what is being deleted."""
DAY = 86_400
UNUSED_SECONDS = 30 * DAY
"""Time without a start after which a folder goes."""
KEPT = 20
"""Folders that stay at most, the last used ones."""
YOUNG_SECONDS = DAY
"""However many there are, one that was used so lately stays: its first server may still compile."""


def clean(root: Path, own: str, now: float) -> list[str]:
    """Delete what is old or too much below ``root``, but never ``own``; the names that went."""
    for leftover in root.glob(f"{GONE}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    names = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(GONE)]
    ages = sorted((now - _last_use(root / name), name) for name in names if name != own)
    due = [name for place, (age, name) in enumerate(ages, start=1) if _is_due(place, age)]
    return [name for name in due if _delete(root, name)]


def _is_due(place: int, age: float) -> bool:
    """Of the folder that was the ``place``-th last used of all others."""
    return age > UNUSED_SECONDS or (place >= KEPT and age > YOUNG_SECONDS)


def _last_use(folder: Path) -> float:
    """The latest of what says something about it; 0 for one that another has just deleted."""
    times = [0.0]
    for path in (folder, folder / USED):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _delete(root: Path, name: str) -> bool:
    gone = root / f"{GONE}{uuid.uuid4().hex}"
    try:
        (root / name).rename(gone)
    except OSError as error:
        if (root / name).exists():
            sys.stderr.write(f"start cache: {name} could not be deleted: {error}\n")
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def main(root: Path, own: str) -> None:
    """Clean, and say what went or why nothing could."""
    try:
        gone = clean(root, own, time.time())
    except OSError as error:
        sys.stderr.write(f"start cache: {root} cannot be looked through: {error}\n")
        return
    sys.stdout.write(f"start cache: deleted {len(gone)} folders that nothing started from for long\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
