"""``kubectl safety status``: all resources on one page, or one in full."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safety_cli.kubectl import Kubectl, Resource
from safety_cli.resources import (
    age,
    find,
    is_unseen,
    label,
    message_of,
    namespace_of,
    ordered,
    progress_text,
    ready_of,
    result_of,
    state_of,
)
from safety_cli.terminal import TableColumn, build_table, clean, word
from safety_operator.state.reading import items_of, status_of, value_at

NOTHING = (
    "No resources here. Look in all namespaces with -A, or make one: kubectl apply -f FILE. "
    "See beforehand what a manifest would create: kubectl safety render -f FILE"
)


def show(console: Console, kubectl: Kubectl, name: str, *, everywhere: bool) -> int:
    """Print the table, or one resource; 0."""
    if name:
        show_one(console, find(kubectl, name))
        return 0
    found = ordered(kubectl.resources(everywhere=everywhere))
    if not found:
        console.print(NOTHING)
        return 0
    console.print(build_overview(found, console.width, namespaces=everywhere))
    for resource in found:
        if ready_of(resource) == "False":
            console.print()
            console.print(_problem(resource))
        if count := len(_warnings(status_of(resource))):
            console.print()
            console.print(_noted(resource, count))
    return 0


def build_overview(resources: Sequence[Resource], width: int, *, namespaces: bool) -> Table:
    """One line for each resource."""
    columns = [
        TableColumn("RESOURCE", [word(label(item), "") for item in resources], shrink=True),
        TableColumn("READY", [word(ready_of(item)) for item in resources], drop=3),
        TableColumn("STATE", [word(state_of(item)) for item in resources]),
        TableColumn("RESULT", [word(result_of(item), "") for item in resources], drop=1),
        TableColumn("PROGRESS", [word(_doing(item), "") for item in resources], drop=2),
        TableColumn(
            "AGE", [word(age(item["metadata"].get("creationTimestamp"))) for item in resources], drop=4
        ),
    ]
    if namespaces:
        columns.insert(0, TableColumn("NAMESPACE", [word(namespace_of(item), "") for item in resources]))
    return build_table(columns, width)


def _doing(resource: Resource) -> str:
    """Progress where that says more than the state."""
    text = progress_text(resource)
    return "" if text in {"done", "serving", "suspended", message_of(resource)} else text


def _problem(resource: Resource) -> Text:
    return Text.assemble((label(resource), "bold"), ": ", clean(message_of(resource)))


def _noted(resource: Resource, count: int) -> Text:
    """That there are warnings, and where they stand in full."""
    words = f"{count} warning{'s' if count > 1 else ''}"
    where = f"kubectl safety status {label(resource)} -n {namespace_of(resource)}"
    return Text.assemble((clean(label(resource)), "bold"), f": {words}, see {clean(where)}")


def show_one(console: Console, resource: Resource) -> None:
    """A resource in full: what it says, its stages, its numbers."""
    status = status_of(resource)
    console.print(
        Text.assemble(
            (f"{clean(label(resource))}", "bold"),
            f" in {clean(namespace_of(resource))}: ",
            word(state_of(resource)),
            *([f", {clean(result_of(resource))}"] if result_of(resource) else []),
        )
    )
    if message_of(resource):
        console.print(Padding(Text(clean(message_of(resource))), (0, 0, 0, 2), expand=False))
    if is_unseen(resource):
        console.print("  The operator has not looked at the present spec yet.")
    for title, items, fields in (
        ("Conditions", status.get("conditions"), CONDITIONS),
        ("Stages", value_at(status, "rerun", "stages") or status.get("stages"), STAGES),
        ("Scores", status.get("scores"), SCORES),
        ("Thresholds", status.get("thresholds"), THRESHOLDS),
    ):
        if rows := items_of(items):
            console.print()
            console.print(Text(title, style="bold"))
            table = build_table([field.column(rows) for field in fields], console.width - 2)
            console.print(Padding(table, (0, 0, 0, 2), expand=False))
        if title == "Scores" and status.get("omittedScores"):
            console.print(f"  and {status['omittedScores']} of single probes, which only the report has")
    for text in _warnings(status):
        console.print()
        console.print(Text.assemble(("Warning: ", "bold yellow"), clean(text)), overflow="fold")
    for title, value in _facts(resource):
        console.print()
        console.print(Text.assemble((f"{title}: ", "bold"), clean(value)), overflow="fold")


def interval(score: Mapping[str, Any]) -> str:
    """The interval of a score in words; empty where it has none."""
    return f"{score['lower']} to {score['upper']}" if score.get("lower") and score.get("upper") else ""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a list in a status."""

    title: str
    read: str | Callable[[Mapping[str, Any]], object]
    """What it shows of an item: a key of it, or more than that."""
    drop: int = 0
    """As in TableColumn."""
    style: str | None = None
    right: bool = False

    def column(self, items: Sequence[Mapping[str, Any]]) -> TableColumn:
        """The column with a cell for each item."""
        texts = [
            (item.get(self.read) or "") if isinstance(self.read, str) else self.read(item) for item in items
        ]
        return TableColumn(self.title, [word(text, self.style) for text in texts], self.drop, self.right)


CONDITIONS = (
    Field("TYPE", "type"),
    Field("STATUS", "status"),
    Field("REASON", "reason", drop=1),
    Field("SINCE", lambda item: age(item.get("lastTransitionTime")), drop=2),
)
STAGES = (
    Field("STAGE", "name"),
    Field("STATE", "state"),
    Field("FINISHED", lambda item: age(item.get("finishedAt")), drop=1),
    Field("JOB", "job", drop=2),
)
SCORES = (
    Field("METRIC", "metric"),
    Field("VALUE", lambda item: item.get("value") or "missing", right=True),
    Field("95 % INTERVAL", interval, drop=1),
    Field("SAMPLES", "samples", drop=2, right=True),
    Field("UNREADABLE", "unparsed", drop=3, style="yellow", right=True),
    Field("TRUNCATED", "truncated", drop=3, style="yellow", right=True),
    Field("ASKED", "drawn", drop=5),
    Field("JUDGE", "judge", drop=4),
    Field("WHY MISSING", "missing", drop=6, style="yellow"),
)
THRESHOLDS = (
    Field("METRIC", "metric"),
    Field("PASSED", "passed"),
    Field("WANTED", "wanted", drop=1),
    Field("GOT", "got", drop=2),
)


def _warnings(status: Mapping[str, Any]) -> list[str]:
    found = status.get("warnings")
    return [str(text) for text in found] if isinstance(found, list) else []


def _facts(resource: Resource) -> list[tuple[str, str]]:
    """Where things are: model, output, where that was pushed to, endpoint."""
    status = status_of(resource)

    def words(*keys: str) -> str:
        return str(value_at(status, *keys, default=""))

    pushed = words("output", "pushed", "uri")
    found = [
        ("Model", f"{words('target', 'uri')} {words('target', 'digest')}".strip()),
        ("Output", f"{words('output', 'uri')} {words('output', 'digest')}".strip()),
        ("Pushed", f"{pushed}, {age(words('output', 'pushed', 'at'))} ago" if pushed else ""),
        ("Endpoint", str(status.get("endpoint") or "")),
        ("Next run", str(value_at(status, "schedule", "next", default=""))),
    ]
    return [(title, value) for title, value in found if value]
