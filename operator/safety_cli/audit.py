"""``kubectl safety audit NAME``: what a guarded endpoint blocked, and whether the trail of it is whole.

The trail is in the log of the guardrails' pods, or in files to which such logs were collected. Blocked texts
are hostile, and are counted only.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
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


def show(console: Console, kubectl: Kubectl, name: str, *, files: Sequence[Path]) -> int:
    """Print what was blocked and check the chains; 0 if all are whole, else 1. Raises CliError."""
    if bool(name) == bool(files):
        raise UsageError("Name a GuardedDeployment, or give --file with a collected log or a folder of them.")
    lines = _collected(console, files) if files else _of_pods(console, kubectl, name)
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


def _collected(console: Console, given: Sequence[Path]) -> Iterable[str]:
    """The lines of files and of all files in folders; a last one that is cut off is named."""
    for path in (file for item in given for file in _files(item)):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        except OSError as error:
            raise CliError(f"--file: {path}: {error.strerror}") from error
        if lines and is_torn(lines[-1]):
            console.print(Text(f"{clean(str(path))}: its last line is cut off and left out", style="yellow"))
        yield from lines


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
            yield from kubectl.run(*where, "--previous").splitlines()
        yield from kubectl.run(*where).splitlines()


def _verdict(chain: Chain) -> Text:
    words = ("BROKEN", "bold red") if chain.fault else ("whole", "bold green")
    lost = f", {chain.lost:,} older lines are not in these logs" if chain.lost else ""
    first, last = (clean(str(chain.entries[at].get("time", ""))) for at in (0, -1))
    about = f"{len(chain.entries):,} blocked from {first} to {last}{lost}"
    fault = f": {chain.fault}" if chain.fault else ""
    return Text.assemble(f"chain {clean(chain.name)[:8]} ", words, f"{fault}: {about}")
