"""Resources of the four kinds: finding one by the name that a person types, and short words for it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from safety_cli.errors import CliError
from safety_cli.kubectl import Kubectl, Resource
from safety_operator.api.kind_names import EVAL, KIND_NAMES, KindNames
from safety_operator.state.reading import condition_of, integer, items_of, parse_time, status_of, value_at

ENDED = frozenset({"Succeeded", "Failed", "Stalled", "Suspended", "Serving"})
"""States in which nothing is about to happen."""
VERDICTS = {"True": "passed", "False": "not passed"}


def kind_named(text: str) -> KindNames | None:
    """A kind by any name that kubectl takes: safetyeval, safetyevals, seval, SafetyEval."""
    wanted = text.lower().partition(".")[0]
    return next((kind for kind in KIND_NAMES if wanted in {kind.kind.lower(), kind.plural, kind.short}), None)


def find(kubectl: Kubectl, text: str, kinds: Collection[str] = ()) -> Resource:
    """The resource that ``NAME`` or ``KIND/NAME`` means.

    Parameters
    ----------
    kinds
        Those that can be meant where only a name is given; empty: all.

    Raises
    ------
    CliError
        If there is none, or several kinds have one of that name.
    """
    kind_text, slash, name = text.rpartition("/")
    if slash:
        kind = kind_named(kind_text)
        if kind is None:
            kinds = ", ".join(item.kind.lower() for item in KIND_NAMES)
            raise CliError(
                f"{kind_text}: no kind of this operator. Write one of {kinds}, a slash, and the name."
            )
        return kubectl.resource(kind.plural, name)
    found = ordered([item for item in kubectl.resources() if item["metadata"]["name"] == name])
    if not found:
        raise CliError(
            f"There is no resource {name} in this namespace. See what there is: kubectl safety status -A"
        )
    meant = [item for item in found if item["kind"] in kinds] or found
    if len(meant) > 1:
        names = " or ".join(label(item) for item in meant)
        raise CliError(f"Several kinds have a resource {name}: write {names}.")
    return meant[0]


def find_eval(kubectl: Kubectl, text: str) -> Resource:
    """The SafetyEval that a name, with or without its kind, means. Raises CliError."""
    kind_text, slash, name = text.rpartition("/")
    kind = kind_named(kind_text) if slash else EVAL
    if kind is None or kind.kind != "SafetyEval":
        raise CliError(f"{text}: only a SafetyEval has a report. Write its name.")
    return kubectl.resource(kind.plural, name)


def label(resource: Resource) -> str:
    """``kind/name`` in lower case, as kubectl takes it."""
    return f"{resource['kind'].lower()}/{resource['metadata']['name']}"


def namespace_of(resource: Resource) -> str:
    """Its namespace."""
    return str(value_at(resource, "metadata", "namespace", default=""))


def ready_of(resource: Resource) -> str:
    """Status of Ready, ``Unknown`` while the operator has not looked at this generation."""
    if is_unseen(resource):
        return "Unknown"
    return str(condition_of(resource, "Ready").get("status", "Unknown"))


def is_unseen(resource: Resource) -> bool:
    """Whether the operator has not looked at the present spec yet."""
    seen = integer(status_of(resource).get("observedGeneration"))
    return seen < integer(value_at(resource, "metadata", "generation"))


def state_of(resource: Resource) -> str:
    """The word for its state."""
    return "Pending" if is_unseen(resource) else str(status_of(resource).get("state") or "Pending")


def message_of(resource: Resource) -> str:
    """What Ready says for people."""
    return str(condition_of(resource, "Ready").get("message", ""))


def progress_text(resource: Resource) -> str:
    """What it does or waits for."""
    if is_unseen(resource):
        return "not seen by the operator yet"
    return str(value_at(status_of(resource), "progress", "text", default=""))


@dataclass(frozen=True, slots=True)
class StageShare:
    """How far a resource is over all its stages."""

    done: int
    """Stages that are finished or skipped."""
    stages: int
    value: float
    """0 to 1; the running stage counts by its own share."""


def share_of(resource: Resource) -> StageShare:
    """How far it is. Of a schedule's repetition: how far that is."""
    status = status_of(resource)
    stages = items_of(value_at(status, "rerun", "stages")) or items_of(status.get("stages"))
    done = sum(stage.get("state") in {"Succeeded", "Skipped"} for stage in stages)
    if not stages:
        return StageShare(0, 0, 0.0)
    current = str(value_at(status, "progress", "stage", default=""))
    running = any(stage.get("name") == current and stage.get("state") == "Running" for stage in stages)
    part = integer(value_at(status, "progress", "percent")) / 100 if running else 0.0
    return StageShare(done, len(stages), min(1.0, (done + part) / len(stages)))


def result_of(resource: Resource) -> str:
    """What came out so far, in a few words; empty while nothing did."""
    return _RESULTS[resource["kind"]](resource) if resource["kind"] in _RESULTS else ""


def _eval_result(resource: Resource) -> str:
    status = status_of(resource)
    names = {"contentSafety": "content", "security": "security", "accuracy": "accuracy"}
    numbers = [
        f"{word} {value}" for key, word in names.items() if (value := value_at(status, "summary", key))
    ]
    decided = condition_of(resource, "SafetyPassed").get("status") in VERDICTS
    return ", ".join([*([verdict_of(resource)] if numbers or decided else []), *numbers])


def verdict_of(resource: Resource) -> str:
    """passed, not passed or no verdict."""
    return VERDICTS.get(str(condition_of(resource, "SafetyPassed").get("status")), "no verdict")


def _blend_result(resource: Resource) -> str:
    summary = value_at(status_of(resource), "summary", default={})
    parts = {"rows": "rows", "kept": "kept", "screened": "screened"}
    return ", ".join(f"{word} {summary[key]}" for key, word in parts.items() if summary.get(key))


def _finetune_result(resource: Resource) -> str:
    status = status_of(resource)
    if not status.get("step"):
        return ""
    steps = f"/{status['steps']}" if status.get("steps") else ""
    losses = {"loss": "loss", "validationLoss": "validation loss"}
    numbers = [f"{word} {status[key]}" for key, word in losses.items() if status.get(key)]
    return ", ".join([f"step {status['step']}{steps}", *numbers])


def _guarded_result(resource: Resource) -> str:
    proof = value_at(status_of(resource), "proof", default={})
    parts = []
    if proof.get("unsafeBlocked"):
        parts.append(f"blocked {proof['unsafeBlocked']}")
    if proof.get("benignAnswered"):
        parts.append(f"answered {proof['benignAnswered']}")
    if proof.get("bypass"):
        parts.append(f"bypass {str(proof['bypass']).lower()}")
    return ", ".join(parts)


_RESULTS: dict[str, Callable[[Resource], str]] = {
    "SafetyEval": _eval_result,
    "SafetyBlend": _blend_result,
    "SafetyFinetune": _finetune_result,
    "GuardedDeployment": _guarded_result,
}


def age(value: Any, now: datetime | None = None) -> str:
    """Time since a Kubernetes time in the manner of kubectl: 45s, 12m, 3h, 9d; empty where there is none."""
    born = parse_time(value)
    if born is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - born).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def ordered(resources: Sequence[Resource]) -> list[Resource]:
    """By namespace, then in the order in which the kinds build on each other, then by name."""
    ranks = {kind.kind: index for index, kind in enumerate(KIND_NAMES)}
    return sorted(
        resources, key=lambda item: (namespace_of(item), ranks.get(item["kind"], 9), item["metadata"]["name"])
    )
