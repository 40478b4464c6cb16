"""The audit trail: what was blocked, for whom and by which rail, as lines that nobody can change unseen.

Each line holds the hash of the line before it: one that is missing, changed or moved breaks the chain. A
process begins a chain of its own, whose first line has the number 0. The text itself is kept only where the
settings say so; its digest always is. The time of the line before tells how old lines were that retention
removed.
"""

import hashlib
import json
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from safety_gateway.rails import Verdict

FIRST = "0" * 64
"""What stands in for the hash before the first line."""
Direction = Literal["input", "output"]
MARK = "audit"
"""Key of a line of the trail in the log."""


def line_hash(entry: dict[str, Any]) -> str:
    """The hash of an entry without its own, in hexadecimal digits."""
    rest = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Sink(Protocol):
    """Where lines are kept besides standard output."""

    def write(self, line: str) -> None:
        """Take a line, without waiting."""

    def close(self) -> None:
        """Keep what was taken, and end."""


def new_chain() -> str:
    """The name of a chain that there is nowhere else."""
    return uuid.uuid4().hex


class AuditTrail:
    """Writes the lines of one process.

    Parameters
    ----------
    keep_text
        Whether the blocked text stands in the line.
    write
        Takes a line; standard output where absent.
    chain
        Name of the chain; a new one where absent.
    sink
        Gets the same lines.
    """

    def __init__(
        self,
        *,
        keep_text: bool = False,
        write: Callable[[str], None] | None = None,
        chain: str = "",
        sink: Sink | None = None,
    ) -> None:
        self._keep_text = keep_text
        self._write = write or _to_stdout
        self._sink = sink
        self._chain = chain or new_chain()
        self._number = 0
        self._previous = FIRST
        self._previous_time = ""

    def blocked(
        self, verdict: Verdict, text: str, *, direction: Direction, caller: str, request_id: str
    ) -> None:
        """Write that a request (``input``) or an answer to it (``output``) was blocked."""
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "chain": self._chain,
            "number": self._number,
            "previous": self._previous,
            "previousTime": self._previous_time,
            "caller": caller,
            "request": request_id,
            "direction": direction,
            "rail": verdict.rail,
            "categories": list(verdict.categories),
            "digest": f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}",
        }
        if self._keep_text:
            entry["text"] = text
        entry["hash"] = line_hash(entry)
        self._number += 1
        self._previous, self._previous_time = entry["hash"], entry["time"]
        line = json.dumps({MARK: entry}, ensure_ascii=True)
        if self._sink is not None:
            self._sink.write(line)
        self._write(line)

    def close(self) -> None:
        """Keep what was written, and end."""
        if self._sink is not None:
            self._sink.close()


def _to_stdout(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
