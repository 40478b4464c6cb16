"""``kubectl safety rollout ACTION NAME``: the revisions of a GuardedDeployment, and the way back to one."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_cli.errors import EXIT_FAILED, CliError, UsageError
from safety_cli.kubectl import GROUP, Kubectl, Resource
from safety_cli.terminal import clean
from safety_operator.state.labels import ANNOTATION_RETRY_ROLLOUT
from safety_operator.state.reading import items_of, status_of, value_at

PLURAL = "guardeddeployments"
NOTHING = "Nothing was in service yet."


def show(
    console: Console,
    kubectl: Kubectl,
    name: str,
    *,
    action: Literal["status", "history", "undo", "resume", "retry"],
    number: int | None,
) -> int:
    """Carry out the action; its exit code. Raises CliError."""
    if number is not None and action != "undo":
        raise UsageError("--to-revision belongs to undo: leave it out.")
    resource = kubectl.resource(PLURAL, name)
    if action == "status":
        return _status(console, resource)
    if action == "history":
        return _history(console, resource)
    if action == "retry":
        return _retry(console, kubectl, name, resource)
    digest = _way_back(resource, number) if action == "undo" else None
    _serve(kubectl, name, digest)
    console.print(f"{name}: {digest} is to be served" if digest else f"{name}: spec.model is to be served")
    return 0


def _status(console: Console, resource: Resource) -> int:
    """What is in service, and whether that is what the spec asks for; 0 if it is and is proven."""
    served = value_at(status_of(resource), "served", default={})
    for title, now, wanted in (
        ("model", "modelDigest", "wantedModelDigest"),
        ("guardrails", "configHash", "wantedConfigHash"),
    ):
        there, asked = (clean(str(served.get(field) or "none")) for field in (now, wanted))
        rest = "" if there == asked else f", wanted: {asked}"
        console.print(f"{title:<11} {there}{rest}", overflow="fold")
    for line in _tracks(value_at(status_of(resource), "rollout", default={})):
        console.print(clean(line), overflow="fold")
    seen = status_of(resource).get("observedGeneration") == value_at(resource, "metadata", "generation")
    conditions = {item.get("type"): item for item in items_of(status_of(resource).get("conditions"))}
    for type_ in ("GatePassed", "ModelReady", "GuardrailsReady", "Promoted", "RailsProven", "BypassClosed"):
        found = conditions.get(type_, {})
        if type_ == "Promoted" and not found:
            continue
        words = clean(str(found.get("message", "")))
        console.print(f"{type_:<15} {found.get('status', 'Unknown'):<8}{words}", overflow="fold")
    return 0 if seen and conditions.get("Ready", {}).get("status") == "True" else EXIT_FAILED


def _tracks(rollout: Mapping[str, Any]) -> Iterator[str]:
    """What is on each track, where a version comes up next to the one that serves."""
    for title, field, words in (
        ("live", "live", "has the requests of the Service"),
        ("previous", "previous", "kept until a proof at the endpoint is good"),
        ("candidate", "candidate", "is to take the requests"),
        ("failed", "failed", "gets no requests (see Promoted)"),
    ):
        item = value_at(rollout, field, default={})
        if item:
            share = f", {item['weight']} % of the HTTPRoute's requests" if item.get("weight") else ""
            yield f"{title:<11} {item.get('track')}: {item.get('modelDigest') or 'none'}, {words}{share}"


def _history(console: Console, resource: Resource) -> int:
    table = Table(box=None, pad_edge=False)
    for title in ("REVISION", "MODEL", "GUARDRAILS", "SERVED", "PROVEN", "WHY"):
        table.add_column(title, overflow="fold")
    for item in _revisions(resource):
        model, config = (str(item.get(field, "")) for field in ("modelDigest", "configHash"))
        cells = (item.get("number"), model.removeprefix("sha256:")[:12], config[:12])
        times = (item.get("servedAt"), item.get("provenAt") or "never", item.get("why"))
        table.add_row(*(Text(clean(str(cell))) for cell in (*cells, *times)))
    console.print(table if table.rows else NOTHING)
    return 0


def _revisions(resource: Resource) -> list[Any]:
    return list(items_of(status_of(resource).get("revisions")))


def _way_back(resource: Resource, number: int | None) -> str:
    """The digest of the revision to go back to. Raises CliError where there is none that was proven."""
    found = _revisions(resource)
    if number is not None:
        found = [item for item in found if item.get("number") == number]
        if not found:
            raise CliError(f"There is no revision {number}: kubectl safety rollout history lists them.")
        if not found[0].get("provenAt"):
            raise CliError(f"Revision {number} was never proven: name another one.")
        return str(found[0]["modelDigest"])
    now = value_at(status_of(resource), "served", "modelDigest")
    digests = (str(item["modelDigest"]) for item in found if item.get("provenAt"))
    digest = next((item for item in digests if item != now), None)
    if digest is None:
        raise CliError("No revision of another model was proven, so there is nothing to go back to.")
    return digest


def _retry(console: Console, kubectl: Kubectl, name: str, resource: Resource) -> int:
    """Have the version that failed tried again. Raises CliError where none did."""
    failed = value_at(status_of(resource), "rollout", "failed", default={})
    if not failed:
        raise CliError("No version failed (rollout.strategy BlueGreen), so there is nothing to try again.")
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    _patch(kubectl, name, {"metadata": {"annotations": {ANNOTATION_RETRY_ROLLOUT: now}}})
    console.print(
        f"{name}: {clean(str(failed.get('modelDigest') or 'the version that failed'))} is tried again"
    )
    return 0


def _serve(kubectl: Kubectl, name: str, digest: str | None) -> None:
    _patch(kubectl, name, {"spec": {"rollout": {"modelDigest": digest}}})


def _patch(kubectl: Kubectl, name: str, change: Mapping[str, Any]) -> None:
    patch = json.dumps(change)
    kubectl.run("patch", f"{PLURAL}.{GROUP}", name, "--type=merge", f"--patch={patch}")
