"""``kubectl safety audit NAME``: what a guarded endpoint blocked, and whether the trail of it is whole.

The trail is in the log of the guardrails' pods, or in files to which such logs were collected. Blocked texts
are hostile, and are counted only.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from safety_cli.errors import EXIT_FAILED, CliError, UsageError
from safety_cli.kubectl import Kubectl
from safety_cli.terminal import clean
from safety_operator.state.labels import LABEL_KIND, LABEL_NAME, LABEL_ROLE
from safety_records.audit import Chain, is_torn, read_chains

CONTAINER = "guardrails"
"""Of the pods that have the trail in their logs."""
Starts = list[tuple[int, Path]]
"""Places of files' first lines among all lines."""


def show(
    console: Console, kubectl: Kubectl, name: str, *, files: Sequence[Path], retention_days: int | None = None
) -> int:
    """Print what was blocked and check the chains; 0 if all are whole, else 1. Raises CliError.

    ``retention_days``: lines that are younger may not be missing, not even at the beginning of a chain.
    """
    if bool(name) == bool(files):
        raise UsageError("Name a GuardedDeployment, or give --file with a collected log or a folder of them.")
    if name and retention_days is not None:
        raise UsageError("--retention-days is about files of audit.claim: give them with --file.")
    starts: Starts = []
    lines = _collected(console, files, starts) if files else _of_pods(console, kubectl, name)
    chains = [_with_lost(chain, retention_days) for chain in read_chains(lines)]
    if not chains:
        console.print("Nothing was blocked, as far as these logs go back.")
        return 0
    for chain in chains:
        console.print(_verdict(chain, _place(starts, chain.fault_line)))
    console.print()
    for title, field in (("rail", "rail"), ("caller", "caller"), ("direction", "direction")):
        counts = Counter(str(entry.get(field) or "none") for chain in chains for entry in chain.entries)
        for value, count in counts.most_common():
            console.print(f"{title:<10} {count:>7,}  {clean(value)}", overflow="fold")
    return EXIT_FAILED if any(chain.fault for chain in chains) else 0


def _with_lost(chain: Chain, days: int | None) -> Chain:
    """The chain; broken where lines are missing before its first that are too young for retention."""
    if days is None or chain.fault or not chain.lost_since(datetime.now(UTC) - timedelta(days=days)):
        return chain
    return replace(chain, fault=f"lines before {chain.lost} are missing that are younger than {days} days")


def _place(starts: Starts, line: int) -> str:
    """File and line, by the place among all lines; empty without one."""
    at = bisect_right(starts, line, key=lambda start: start[0]) - 1
    return f" ({starts[at][1]}, line {line - starts[at][0] + 1})" if at >= 0 else ""


def _collected(console: Console, given: Sequence[Path], starts: Starts) -> Iterable[str]:
    """The lines of files and of all files in folders, whose first lines' places are added to ``starts``.

    A last one that is cut off is named.
    """
    count = 0
    for path in (file for item in given for file in _files(item)):
        starts.append((count, path))
        line = ""
        try:
            with path.open(encoding="utf-8", errors="replace", newline="\n") as content:
                for line in content:
                    count += 1
                    yield line
        except OSError as error:
            raise CliError(f"--file: {path}: {error.strerror}") from error
        if is_torn(line):
            console.print(Text(f"{clean(str(path))}: its last line is cut off and left out", style="yellow"))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(item for item in path.rglob("*") if item.is_file())
    if not found:
        raise CliError(f"--file: {path}: no file is in this folder")
    return found


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
            yield from kubectl.run(*where, "--previous").split("\n")
        yield from kubectl.run(*where).split("\n")


def _verdict(chain: Chain, place: str) -> Text:
    words = ("BROKEN", "bold red") if chain.fault else ("whole", "bold green")
    lost = f", {chain.lost:,} older lines are not in these logs" if chain.lost else ""
    first, last = (clean(str(chain.entries[at].get("time", ""))) for at in (0, -1))
    about = f"{len(chain.entries):,} blocked from {first} to {last}{lost}"
    fault = f": {chain.fault}{clean(place)}" if chain.fault else ""
    end = f"; the last is {chain.entries[-1]['number']}, hash {clean(chain.entries[-1]['hash'])[:64]}"
    return Text.assemble(f"chain {clean(chain.name)[:8]} ", words, f"{fault}: {about}{end}")
