"""What an engine compiles while it starts, kept on a volume for the next start of the same model.

Compiled code is code: who can write it runs in the next server. So a server never works in the volume. It
copies what is there to a folder of its own, and when it is ready, puts what it has into the volume once,
under a name that appears with all of it or not at all. Nothing that is there is ever changed, so servers may
start, end and be killed in any order. The volume's folder belongs to one model, image and way of serving.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

SHARED, LOCAL, READY_URL = "SAFETY_START_CACHE", "SAFETY_START_CACHE_LOCAL", "SAFETY_START_CACHE_READY"
"""Variables: the volume's folder, the engine's own, and an address that answers once the engine does."""
COMPLETE = "complete"
"""The folder's content."""
USED = "used"
"""A file that says by its time when a server last started (``start_cache_cleaning``)."""
PART = ".part-"
"""Beginning of names of what is being written."""
PART_SECONDS = 86_400
"""Age from which an unfinished part is a leftover of a server that was killed."""
WAIT_SECONDS = 7_200
"""Longest time to wait for the engine; a start takes minutes."""
POLL_SECONDS = 5.0


def begin() -> None:
    """Take what is there, and start a process that keeps what the engine makes. Nothing without a volume."""
    shared, local, url = (os.environ.get(name, "") for name in (SHARED, LOCAL, READY_URL))
    if not (shared and local and url):
        return
    _stamp(Path(shared))
    take(Path(shared), Path(local))
    if not (Path(shared) / COMPLETE).exists():
        subprocess.Popen([sys.executable, "-P", str(Path(__file__).absolute())])


def _stamp(shared: Path) -> None:
    with contextlib.suppress(OSError):  # of a volume that cannot be written, keeping will speak
        (shared / USED).touch()


def take(shared: Path, local: Path) -> bool:
    """Copy what another start has left; whether there was something. Trouble with it is no reason to fail.

    What a container of this pod left that was killed, perhaps in the middle of a file, goes first.
    """
    shutil.rmtree(local, ignore_errors=True)
    try:
        shutil.copytree(shared / COMPLETE, local)
    except FileNotFoundError:
        return False
    except (OSError, shutil.Error) as error:
        sys.stderr.write(f"start cache: {shared} cannot be read, everything is compiled anew: {error}\n")
        shutil.rmtree(local, ignore_errors=True)
        return False
    return True


def keep(shared: Path, local: Path) -> bool:
    """Put the engine's folder into the volume, unless another was first; whether it is there now."""
    _remove_leftovers(shared)
    part = shared / f"{PART}{uuid.uuid4().hex}"
    try:
        shutil.copytree(local, part)
        part.rename(shared / COMPLETE)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(part, ignore_errors=True)
        if not (shared / COMPLETE).exists():
            sys.stderr.write(f"start cache: nothing could be kept in {shared}: {error}\n")
            return False
    return True


def _remove_leftovers(shared: Path) -> None:
    for part in shared.glob(f"{PART}*"):
        try:
            old = time.time() - part.stat().st_mtime > PART_SECONDS
        except FileNotFoundError:  # another server was first
            continue
        if old:
            shutil.rmtree(part, ignore_errors=True)


def wait_until_ready(url: str, seconds: float = WAIT_SECONDS, pause: float = POLL_SECONDS) -> bool:
    """Whether the engine answers before the time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=pause or 1) as answer:  # noqa: S310 - this pod's own address
                if answer.status == 200:  # noqa: PLR2004 - OK
                    return True
        except OSError:
            pass
        time.sleep(pause)
    return False


if __name__ == "__main__" and wait_until_ready(os.environ[READY_URL]):
    keep(Path(os.environ[SHARED]), Path(os.environ[LOCAL]))
