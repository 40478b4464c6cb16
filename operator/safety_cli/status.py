"""``kubectl safety status``: all resources on one page, or one in full."""

from collections.abc import Mapping, Sequence
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
            console.print(_complaint(resource))
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


def _complaint(resource: Resource) -> Text:
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
    for title, table in (
        ("Conditions", _conditions(status, console.width)),
        ("Stages", _stages(status, console.width)),
        ("Scores", _scores(status, console.width)),
        ("Thresholds", _thresholds(status, console.width)),
    ):
        if table is not None:
            console.print()
            console.print(Text(title, style="bold"))
            console.print(Padding(table, (0, 0, 0, 2), expand=False))
        if title == "Scores" and status.get("omittedScores"):
            console.print(f"  and {status['omittedScores']} of single probes, which only the report has")
    for text in _warnings(status):
        console.print()
        console.print(Text.assemble(("Warning: ", "bold yellow"), clean(text)), overflow="fold")
    for title, value in _facts(resource):
        console.print()
        console.print(Text.assemble((f"{title}: ", "bold"), clean(value)), overflow="fold")


def _conditions(status: Mapping[str, Any], width: int) -> Table | None:
    rows = items_of(status.get("conditions"))
    if not rows:
        return None
    columns = [
        TableColumn("TYPE", [word(row.get("type")) for row in rows]),
        TableColumn("STATUS", [word(row.get("status")) for row in rows]),
        TableColumn("REASON", [word(row.get("reason")) for row in rows], drop=1),
        TableColumn("SINCE", [word(age(row.get("lastTransitionTime"))) for row in rows], drop=2),
    ]
    return build_table(columns, width - 2)


def _stages(status: Mapping[str, Any], width: int) -> Table | None:
    rows = items_of(value_at(status, "rerun", "stages")) or items_of(status.get("stages"))
    if not rows:
        return None
    columns = [
        TableColumn("STAGE", [word(row.get("name")) for row in rows]),
        TableColumn("STATE", [word(row.get("state")) for row in rows]),
        TableColumn("FINISHED", [word(age(row.get("finishedAt"))) for row in rows], drop=1),
        TableColumn("JOB", [word(row.get("job", "")) for row in rows], drop=2),
    ]
    return build_table(columns, width - 2)


def _scores(status: Mapping[str, Any], width: int) -> Table | None:
    rows = items_of(status.get("scores"))
    if not rows:
        return None
    columns = [
        TableColumn("METRIC", [word(row.get("metric"), "") for row in rows]),
        TableColumn("VALUE", [word(row.get("value") or "missing", "") for row in rows], right=True),
        TableColumn("95 % INTERVAL", [word(interval(row)) for row in rows], drop=1),
        TableColumn("SAMPLES", [word(row.get("samples", ""), "") for row in rows], drop=2, right=True),
        TableColumn(
            "UNREADABLE", [word(row.get("unparsed") or "", "yellow") for row in rows], drop=3, right=True
        ),
        TableColumn(
            "TRUNCATED", [word(row.get("truncated") or "", "yellow") for row in rows], drop=3, right=True
        ),
        TableColumn("ASKED", [word(row.get("drawn", ""), "") for row in rows], drop=5),
        TableColumn("JUDGE", [word(row.get("judge", ""), "") for row in rows], drop=4),
        TableColumn("WHY MISSING", [word(row.get("missing", ""), "yellow") for row in rows], drop=6),
    ]
    return build_table(columns, width - 2)


def interval(score: Mapping[str, Any]) -> str:
    """The interval of a score in words; empty where it has none."""
    return f"{score['lower']} to {score['upper']}" if score.get("lower") and score.get("upper") else ""


def _thresholds(status: Mapping[str, Any], width: int) -> Table | None:
    rows = items_of(status.get("thresholds"))
    if not rows:
        return None
    columns = [
        TableColumn("METRIC", [word(row.get("metric"), "") for row in rows]),
        TableColumn("PASSED", [word(row.get("passed")) for row in rows]),
        TableColumn("WANTED", [word(row.get("wanted", ""), "") for row in rows], drop=1),
        TableColumn("GOT", [word(row.get("got", ""), "") for row in rows], drop=2),
    ]
    return build_table(columns, width - 2)


def _warnings(status: Mapping[str, Any]) -> list[str]:
    found = status.get("warnings")
    return [str(text) for text in found] if isinstance(found, list) else []


def _facts(resource: Resource) -> list[tuple[str, str]]:
    """Where things are: model, output, report, endpoint."""
    status = status_of(resource)
    found = [
        (
            "Model",
            " ".join(str(value_at(status, "target", key, default="")) for key in ("uri", "digest")).strip(),
        ),
        ("Output", str(value_at(status, "output", "uri", default=""))),
        ("Endpoint", str(status.get("endpoint") or "")),
        ("Next run", str(value_at(status, "schedule", "next", default=""))),
    ]
    return [(title, value) for title, value in found if value]
