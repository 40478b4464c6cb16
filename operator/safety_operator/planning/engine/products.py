"""Products of other resources: models, data and scores that this one goes on with."""

from dataclasses import dataclass
from typing import Any

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.stages import Run
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.reading import (
    digest_at,
    is_terminating,
    is_true,
    parse_result,
    recorded_stage,
    value_at,
)
from safety_records.result import StageResult


@dataclass(frozen=True, slots=True)
class Model:
    """Weights in the artifact store."""

    path: str
    """Folder relative to the artifact root."""
    digest: str
    uri: str
    """What the spec calls it."""
    max_length: int | None = None


def wait_for(kind: str, name: str, detail: str = "", *, changing: bool = False) -> Blocked:
    """That another resource is being waited for."""
    message = f"waiting for {kind} {name}{detail}"
    return Blocked(
        Problem(Reason.WAITING_FOR_REFERENCE, message, stalled=False, reference=True, changing=changing)
    )


def find_reference(run: Run[Any], kind: str, name: str) -> Manifest:
    """A resource of the operator's kinds. Raises Blocked while it is being waited for."""
    found = run.observed.references.get(Key(kind, run.owner.namespace, name))
    if found is None or is_terminating(found):
        raise wait_for(kind, name, " to be created")
    return found


def find_finished(
    run: Run[Any], kind: str, name: str, condition: ConditionType, *, changing: bool = False
) -> Manifest:
    """A resource with a condition that is True for its present generation. Raises Blocked before.

    ``changing``: whether it is known to become another.
    """
    found = find_reference(run, kind, name)
    if is_true(found, condition):
        return found
    state = str(value_at(found, "status", "state", default=""))
    text = str(value_at(found, "status", "progress", "text", default=""))
    detail = f" ({state}{f': {text}' if text else ''})" if state in {"Failed", "Stalled", "Suspended"} else ""
    raise wait_for(kind, name, detail, changing=changing)


def stage_record(resource: Manifest, name: str) -> StageResult | None:
    """The record of a resource's stage, None where it has none."""
    return parse_result(recorded_stage(resource, name).get("result"))


def split_artifact(uri: Any) -> tuple[str, str]:
    """Claim and path of ``pvc://claim/path``; empty strings for anything else."""
    text = uri if isinstance(uri, str) else ""
    if not text.startswith("pvc://"):
        return "", ""
    claim, _, path = text.removeprefix("pvc://").partition("/")
    return claim, path


def find_finetuned(run: Run[Any], name: str, where: str) -> Model:
    """The product of a SafetyFinetune. Raises Blocked while there is none."""
    found = find_finished(run, "SafetyFinetune", name, ConditionType.READY)
    claim, path = split_artifact(value_at(found, "status", "output", "uri"))
    digest = digest_at(found, "status", "output", "digest")
    if not path or not digest:
        raise wait_for("SafetyFinetune", name, " to name its output")
    check_same_claim(run, claim, f"{where}.finetuneRef", f"SafetyFinetune {name}")
    fetched = stage_record(found, "fetch")
    return Model(path, digest, f"safetyfinetune://{name}", fetched.max_length if fetched else None)


def check_same_claim(run: Run[Any], claim: str, where: str, what: str) -> None:
    """Raises Blocked where a product is on another claim than this resource's own artifacts."""
    if claim == run.claim:
        return
    message = (
        f"{where}: {what} keeps its product on the claim {claim}, this resource uses {run.claim}. "
        f"Set spec.artifacts.claimName to {claim}."
    )
    raise Blocked(Problem(Reason.INVALID_SPEC, message))
