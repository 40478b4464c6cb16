"""``kubectl safety audit NAME``: what a guarded endpoint blocked, and whether the trail of it is whole.

The trail is in the log of the guardrails' pods, or in files to which such logs were collected. Blocked texts
are hostile, and are counted only.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from safety_cli.errors import EXIT_FAILED, CliError, UsageError
from safety_cli.kubectl import Kubectl
from safety_cli.terminal import clean
from safety_operator.state.labels import LABEL_KIND, LABEL_NAME, LABEL_ROLE

FIRST = "0" * 64
"""What stands in for the hash before the first line of a chain."""
MARK = '"audit"'
CONTAINER = "guardrails"
"""Of the pods that have the trail in their logs."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """The lines of one process of a gateway."""

    name: str
    entries: tuple[Entry, ...]
    fault: str = ""
    """Where it is broken; empty: whole as far as it is there."""

    @property
    def lost(self) -> int:
        """Lines before the first that is there, which a log that was rotated does not have any more."""
        return int(self.entries[0]["number"])


def show(console: Console, kubectl: Kubectl, name: str, *, files: Sequence[Path]) -> int:
    """Print what was blocked and check the chains; 0 if all are whole, else 1. Raises CliError."""
    if bool(name) == bool(files):
        raise UsageError("Name a GuardedDeployment, or give --file with a collected log.")
    lines = _collected(files) if files else _of_pods(console, kubectl, name)
    chains = read_chains(lines)
    if not chains:
        console.print("Nothing was blocked, as far as these logs go back.")
        return 0
    for chain in chains:
        console.print(_verdict(chain))
    console.print()
    for title, field in (("rail", "rail"), ("caller", "caller"), ("direction", "direction")):
        counts = Counter(str(entry.get(field) or "none") for chain in chains for entry in chain.entries)
        for value, count in counts.most_common():
            console.print(f"{title:<10} {count:>7,}  {clean(value)}", overflow="fold")
    return EXIT_FAILED if any(chain.fault for chain in chains) else 0


def _collected(files: Sequence[Path]) -> Iterable[str]:
    for path in files:
        try:
            yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise CliError(f"--file: {path}: {error.strerror}") from error


def _of_pods(console: Console, kubectl: Kubectl, name: str) -> Iterable[str]:
    """The logs of all guardrails pods that are there, those of restarted containers included.

    A pod that has not started, in a rollout say, has blocked nothing, and is named.
    """
    kubectl.resource("guardeddeployments", name)
    labels = {LABEL_KIND: "GuardedDeployment", LABEL_NAME: name, LABEL_ROLE: "guardrails"}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    for pod in kubectl.json("get", "pods", f"--selector={selector}")["items"]:
        where = ("logs", pod["metadata"]["name"], f"--container={CONTAINER}")
        statuses = pod.get("status", {}).get("containerStatuses", ())
        own: dict[str, Any] = next((one for one in statuses if one["name"] == CONTAINER), {})
        if not own.get("restartCount") and "waiting" in own.get("state", {"waiting": {}}):
            console.print(f"pod {clean(pod['metadata']['name'])} has not started", style="dim")
            continue
        if own.get("restartCount"):
            yield from kubectl.run(*where, "--previous").splitlines()
        yield from kubectl.run(*where).splitlines()


def read_chains(lines: Iterable[str]) -> list[Chain]:
    """The chains in the lines of logs, each in the order of its numbers; what is there twice counts once."""
    found: defaultdict[str, dict[tuple[int, str], Entry]] = defaultdict(dict)
    for line in lines:
        entry = _read_entry(line)
        if entry is not None:
            found[entry["chain"]][entry["number"], entry["hash"]] = entry
    ordered = {name: tuple(entries[key] for key in sorted(entries)) for name, entries in found.items()}
    return [Chain(name, entries, find_fault(entries)) for name, entries in ordered.items()]


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


def find_fault(entries: Sequence[Entry]) -> str:
    """Where a chain is broken; empty if it is not."""
    before: Entry | None = None
    for entry in entries:
        number = entry["number"]
        if line_hash(entry) != entry["hash"]:
            return f"line {number} was changed"
        if before is not None and number != before["number"] + 1:
            twice = number == before["number"]
            return f"line {number} is there twice" if twice else f"lines are missing before {number}"
        expected = before["hash"] if before is not None else FIRST if number == 0 else entry["previous"]
        if entry["previous"] != expected:
            return f"line {number} does not follow the one before it"
        before = entry
    return ""


def line_hash(entry: Entry) -> str:
    """The hash of an entry without its own, as the gateway makes it."""
    rest = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _verdict(chain: Chain) -> Text:
    words = ("BROKEN", "bold red") if chain.fault else ("whole", "bold green")
    lost = f", {chain.lost:,} older lines are not in these logs" if chain.lost else ""
    first, last = (clean(str(chain.entries[at].get("time", ""))) for at in (0, -1))
    about = f"{len(chain.entries):,} blocked from {first} to {last}{lost}"
    fault = f": {chain.fault}" if chain.fault else ""
    return Text.assemble(f"chain {clean(chain.name)[:8]} ", words, f"{fault}: {about}")
