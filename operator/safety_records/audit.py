"""The audit trail of a guarded endpoint, read: entries in logs, and whether their chains are whole.

For the plugin, and for workers that read blocked texts. The gateway's image has its own code that writes it.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FIRST = "0" * 64
"""What stands in for the hash before the first line of a chain."""
MARK = '"audit"'
_HEAD = f"{{{MARK}"
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """The lines of one process of a gateway."""

    name: str
    entries: tuple[Entry, ...]
    fault: str = ""
    """Where it is broken; empty: whole as far as it is there."""
    fault_line: int = -1
    """Place, among the lines that were read, of the entry that shows the fault."""

    @property
    def lost(self) -> int:
        """Lines before the first that is there, which a log that was rotated does not have any more."""
        return int(self.entries[0]["number"])

    def lost_since(self, oldest: datetime) -> bool:
        """Whether the last of the lines before the first is younger, so that no retention removed it."""
        if not self.lost:
            return False
        try:
            return datetime.fromisoformat(str(self.entries[0].get("previousTime"))) > oldest
        except (ValueError, TypeError):
            return True


def read_chains(lines: Iterable[str]) -> list[Chain]:
    """The chains in the lines of logs, each in the order of its numbers; what is there twice counts once."""
    found: defaultdict[str, dict[tuple[int, str], tuple[Entry, int]]] = defaultdict(dict)
    for place, line in enumerate(lines):
        entry = _read_entry(line)
        if entry is not None:
            found[entry["chain"]][entry["number"], entry["hash"]] = entry, place
    return [_chain(name, [read[key] for key in sorted(read)]) for name, read in found.items()]


def _chain(name: str, read: Sequence[tuple[Entry, int]]) -> Chain:
    entries = tuple(entry for entry, _ in read)
    at, fault = find_fault(entries)
    return Chain(name, entries, fault, read[at][1] if fault else -1)


def _read_entry(line: str) -> Entry | None:
    """The entry in a line of a log, which collectors may have put a prefix before; None: it has none."""
    start = line.find("{")
    if start < 0 or MARK not in line:
        return None
    try:
        entry = json.loads(line[start:])["audit"]
        whole = all(isinstance(entry[name], str) for name in ("chain", "previous", "hash"))
        return entry if whole and type(entry["number"]) is int else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def is_torn(line: str) -> bool:
    """Whether a file's last line is the beginning of an entry, cut off when its process was killed."""
    begins = MARK in line or line.strip() in {_HEAD[:length] for length in range(1, len(_HEAD))}
    return begins and not line.endswith("\n") and _read_entry(line) is None


def find_fault(entries: Sequence[Entry]) -> tuple[int, str]:
    """The place of the entry that shows where a chain is broken, and how; no words if it is not."""
    before: Entry | None = None
    for at, entry in enumerate(entries):
        number = entry["number"]
        if line_hash(entry) != entry["hash"]:
            return at, f"line {number} was changed"
        if before is not None and number != before["number"] + 1:
            twice = number == before["number"]
            return at, f"line {number} is there twice" if twice else f"lines are missing before {number}"
        expected = before["hash"] if before is not None else FIRST if number == 0 else entry["previous"]
        if entry["previous"] != expected:
            return at, f"line {number} does not follow the one before it"
        before = entry
    return -1, ""


def line_hash(entry: Entry) -> str:
    """The hash of an entry without its own, as the gateway makes it."""
    rest = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
