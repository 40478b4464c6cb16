"""Products of other resources: models, data and scores that this one goes on with."""

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from safety_operator.api.conditions import ArtifactStatus, CommonStatus, ConditionType, Reason
from safety_operator.api.kinds import KINDS
from safety_operator.api.safety_finetune import SafetyFinetuneStatus
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.stages import Run
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.reading import generation_of, is_terminating, known_digest
from safety_operator.state.status import read_status
from safety_records.model_shape import ModelShape
from safety_records.result import ChatTemplateKind, StageResult

M = TypeVar("M", bound=CommonStatus)


@dataclass(frozen=True, slots=True)
class Model:
    """Weights in the artifact store."""

    path: str
    """Folder relative to the artifact root."""
    digest: str
    uri: str
    """What the spec calls it."""
    max_length: int | None = None
    chat_template: ChatTemplateKind | None = None
    """What its chat template does; None: it is not known."""
    shape: ModelShape | None = None
    """Its sizes; None: they are not known."""
    size: int | None = None
    """Bytes of its files."""
    free: int | None = None
    """Bytes that the store had left when it was fetched."""

    def with_sizes(self, fetched: StageResult | None) -> "Model":
        """The model with what the record of the fetch stage says that it, or its base, came by."""
        if fetched is None:
            return self
        size = fetched.output.bytes if fetched.output else None
        return replace(
            self,
            max_length=fetched.max_length,
            chat_template=fetched.chat_template,
            shape=fetched.shape,
            size=size,
        )


def wait_for(kind: str, name: str, detail: str = "", *, changing: bool = False) -> Blocked:
    """That another resource is being waited for."""
    message = f"waiting for {kind} {name}{detail}"
    return Blocked(
        Problem(Reason.WAITING_FOR_REFERENCE, message, stalled=False, reference=True, changing=changing)
    )


@dataclass(frozen=True, slots=True)
class Other(Generic[M]):
    """Another resource of the operator's kinds."""

    manifest: Manifest
    status: M

    def is_true(self, condition: ConditionType) -> bool:
        """Whether a condition is True for the present generation."""
        return self.status.is_true(condition, generation_of(self.manifest))


KIND_OF = {kind.status: kind.kind for kind in KINDS}
"""By the model of its status: a kind."""


def find_reference(run: Run[Any], status: type[M], name: str) -> Other[M]:
    """A resource of the kind that has this status. Raises Blocked while it is being waited for."""
    kind = KIND_OF[status]
    found = run.observed.references.get(Key(kind, run.owner.namespace, name))
    if found is None or is_terminating(found):
        raise wait_for(kind, name, " to be created")
    return Other(found, read_status(status, found.get("status")))


def find_finished(run: Run[Any], status: type[M], name: str, condition: ConditionType) -> Other[M]:
    """A resource with a condition that is True for its present generation. Raises Blocked before."""
    found = find_reference(run, status, name)
    check_finished(found, name, condition)
    return found


def check_finished(found: Other[Any], name: str, condition: ConditionType, *, changing: bool = False) -> None:
    """Raises Blocked where a condition is not True for the present generation.

    ``changing``: whether the resource is known to become another.
    """
    if found.is_true(condition):
        return
    state, progress = found.status.state, found.status.progress
    text = f": {progress.text}" if progress and progress.text else ""
    detail = f" ({state}{text})" if state in {"Failed", "Stalled", "Suspended"} else ""
    raise wait_for(KIND_OF[type(found.status)], name, detail, changing=changing)


def split_artifact(uri: str) -> tuple[str, str]:
    """Claim and path of ``pvc://claim/path``; empty strings for anything else."""
    if not uri.startswith("pvc://"):
        return "", ""
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    return claim, path


def find_finetuned(run: Run[Any], name: str, where: str) -> Model:
    """The product of a SafetyFinetune. Raises Blocked while there is none.

    A model that is trained counts, whether it could be pushed elsewhere or not.
    """
    found = find_reference(run, SafetyFinetuneStatus, name)
    output = found.status.output or ArtifactStatus()
    if not output.digest or found.status.observed_generation != generation_of(found.manifest):
        check_finished(found, name, ConditionType.READY)
    claim, path = split_artifact(output.uri)
    digest = known_digest(output.digest)
    if not path or not digest:
        raise wait_for("SafetyFinetune", name, " to name its output")
    check_same_claim(run, claim, f"{where}.finetuneRef", f"SafetyFinetune {name}")
    fetched = found.status.stage("fetch").record
    return Model(path, digest, f"safetyfinetune://{name}").with_sizes(fetched)


def check_same_claim(run: Run[Any], claim: str, where: str, what: str) -> None:
    """Raises Blocked where a product is on another claim than this resource's own artifacts."""
    if claim == run.claim:
        return
    message = (
        f"{where}: {what} keeps its product on the claim {claim}, this resource uses {run.claim}. "
        f"Set spec.artifacts.claimName to {claim}."
    )
    raise Blocked(Problem(Reason.INVALID_SPEC, message))
