"""Fetching against tools that are not ours, as ratios in one run: cp for a disk, curl for a link.

Every pair is measured in turn, --rounds times; the ratio is that of the medians. Links:

``unlimited``
    What this machine's loopback gives: processors are the limit, and client, server and disk share them.
``link``
    --link MiB/s for all connections together: the ratio says how much of the link is used.
``each``
    --each MiB/s for every connection, as most stores do: what several connections are for.

Time counts until the file is on the disk (fsync). The server sends a file with sendfile, in a process of its
own. Ends with 1 where less than 0.9 of the disk or the link is used.
"""

# ruff: noqa: T201 - it prints

import argparse
import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

from safety_worker.artifacts.digests import build_manifest  # noqa: E402
from safety_worker.transport.meter import Meter  # noqa: E402
from safety_worker.transport.places import FolderPlace  # noqa: E402
from safety_worker.transport.web import WebPlace  # noqa: E402

MIB = 1024**2
PIECE = MIB // 4
"""Bytes that are sent at a time."""
GOAL = 0.9


class Bucket:
    """Gives bytes at a rate; 0: at any."""

    def __init__(self, rate: float) -> None:
        self._rate, self._lock, self._free_at = rate, threading.Lock(), time.monotonic()

    def take(self, num_bytes: int) -> None:
        if not self._rate:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + num_bytes / self._rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))


def serve(path: str, link: float, each: float, port: "Queue[int]") -> None:
    together, size = Bucket(link), Path(path).stat().st_size

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            begin = int(found[1]) if found else 0
            end = int(found[2]) + 1 if found and found[2] else size
            self.send_response(206 if found else 200)
            self.send_header("ETag", '"v1"')
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - begin))
            if found:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.end_headers()
            alone = self.connection_bucket()
            with Path(path).open("rb") as file, contextlib.suppress(ConnectionError):
                while begin < end:
                    num_bytes = min(PIECE, end - begin)
                    together.take(num_bytes)
                    alone.take(num_bytes)
                    begin += os.sendfile(self.connection.fileno(), file.fileno(), begin, num_bytes)

        def connection_bucket(self) -> Bucket:
            if not hasattr(self, "_alone"):
                self._alone = Bucket(each)
            return self._alone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
    port.put(server.server_address[1])
    server.serve_forever()


def seconds(run: Callable[[Path], None]) -> float:
    """Time of a run into an empty folder, which has to leave everything on the disk."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        os.sync()
        start = time.perf_counter()
        run(Path(folder))
        return time.perf_counter() - start


def synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def compare(
    name: str, rounds: int, theirs: Callable[[Path], None], ours: Callable[[Path], None]
) -> tuple[float, float]:
    """Their time over ours (above 1: ours is faster), and what ours gives in MiB/s."""
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
    other, own = (statistics.median(times) for times in zip(*pairs, strict=True))
    speeds = f"{SIZE / MIB / other:8.0f} {SIZE / MIB / own:8.0f} MiB/s"
    print(f"{name:<40} {speeds}   ratio {other / own:5.2f}", flush=True)
    return other / own, SIZE / MIB / own


def from_web(url: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        place = WebPlace(url)
        place.get(place.files(), folder, Meter())

    return run


def by_curl(url: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        subprocess.run(["curl", "-sS", "--fail", "-o", str(folder / "x.bin"), url], check=True)
        synced(folder / "x.bin")

    return run


def by_cp(source: Path) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        subprocess.run(["cp", "--reflink=never", str(source), str(folder / "x.bin")], check=True)
        synced(folder / "x.bin")

    return run


def from_folder(source: Path) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        place = FolderPlace(source.parent)
        place.get(place.files(), folder, Meter())
        synced(folder / source.name)

    return run


def hashing(source: Path, rounds: int) -> None:
    """What the digest of a model in place costs, against sha256sum; one file, so one core."""

    def digest(_folder: Path) -> None:
        build_manifest(source.parent, paths=[source.name])

    def sha256sum(_folder: Path) -> None:
        subprocess.run(["sha256sum", str(source)], check=True, stdout=subprocess.DEVNULL)

    compare("digest of one file: sha256sum, ours", rounds, sha256sum, digest)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--link", type=float, default=60)
    parser.add_argument("--each", type=float, default=15)
    parser.add_argument("--folder", default=None, help="on the disk to measure")
    options = parser.parse_args()
    global FOLDER, SIZE
    FOLDER, SIZE = options.folder, options.mib * MIB
    work = Path(tempfile.mkdtemp(dir=FOLDER))
    source = work / "source/x.bin"
    source.parent.mkdir()
    source.write_bytes(os.urandom(SIZE))
    print(f"{'':<40} {'theirs':>8} {'ours':>8}")
    failed = compare("disk: cp, ours", options.rounds, by_cp(source), from_folder(source))[0] < GOAL
    hashing(source, options.rounds)
    for name, link, each in (
        ("unlimited", 0.0, 0.0),
        ("link", options.link, 0.0),
        ("each", 0.0, options.each),
    ):
        ports: Queue[int] = Queue()
        server = Process(target=serve, args=(str(source), link * MIB, each * MIB, ports), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{ports.get(timeout=60)}/x.bin"
        _, speed = compare(f"{name}: curl, ours", options.rounds, by_curl(url), from_web(url))
        if name == "link":
            print(f"{'share of the link':<58} {speed / link:6.2f}")
            failed |= speed / link < GOAL
        server.terminate()
        server.join()
    shutil.rmtree(work)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
