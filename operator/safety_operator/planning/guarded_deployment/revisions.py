"""The revisions of a GuardedDeployment: kept in the status, and what may be gone back to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from safety_operator.api.conditions import Reason
from safety_operator.api.guarded_rollout import MAX_REVISIONS, Revision
from safety_operator.planning.engine.conditions import shorten
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.products import Model, split_artifact
from safety_operator.planning.guarded_deployment.deployment_parts import GuardedRun, status_before
from safety_operator.planning.guarded_deployment.in_service import Version
from safety_operator.planning.shared.durations import seconds_of
from safety_operator.state.reading import format_time, parse_time
from safety_records.result import ChatTemplateKind


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a version when it comes into service."""

    model_uri: str
    gate: str
    """What GatePassed says, where it is open for this very model."""
    evaluated_at: datetime | None
    opens_reasoning: bool
    why: str


def known_revisions(run: GuardedRun) -> Sequence[Revision]:
    """The revisions so far, the newest first."""
    return status_before(run).revisions


def find_pinned(run: GuardedRun, digest: str) -> Model:
    """The model that spec.rollout.modelDigest names. Raises Blocked where no such revision was proven."""
    found = next((item for item in _usable(run) if item.model_digest == digest), None)
    if found is None:
        there = ", ".join(dict.fromkeys(item.model_digest for item in _usable(run))) or "none"
        message = (
            f"spec.rollout.modelDigest: no revision of {digest} was proven (proven, and on this claim: "
            f"{there}). Name one of those, or remove the field."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))
    return as_model(found)


def find_back(run: GuardedRun, digest: str) -> Revision | None:
    """The last proven revision of another model than ``digest`` whose evaluations are not too old."""
    return next(
        (item for item in _usable(run) if item.model_digest != digest and young_enough(run, item)), None
    )


def _usable(run: GuardedRun) -> list[Revision]:
    """Proven revisions whose files are on this resource's claim."""
    return [
        item
        for item in known_revisions(run)
        if item.proven_at and split_artifact(item.model_uri)[0] == run.claim
    ]


def revision_of(run: GuardedRun, digest: str) -> Revision | None:
    """The newest revision of a model."""
    return next((item for item in known_revisions(run) if item.model_digest == digest), None)


def young_enough(run: GuardedRun, revision: Revision) -> bool:
    """Whether the evaluations that let a revision in still count by spec.gate.maxAge."""
    max_age, at = run.spec.gate.max_age, parse_time(revision.evaluated_at)
    return max_age is None or (at is not None and at + timedelta(seconds=seconds_of(max_age)) > run.now)


def as_model(revision: Revision) -> Model:
    """A revision's model, as it lies on the claim."""
    template = ChatTemplateKind(opens="<think>") if revision.opens_reasoning else None
    path = split_artifact(revision.model_uri)[1]
    return Model(path, revision.model_digest, revision.model_uri, chat_template=template)


def next_revisions(run: GuardedRun, version: Version, entry: Entry, proven_at: str) -> list[Revision]:
    """The revisions with what is in service now; ``proven_at``: when it was proven, empty where not."""
    found = list(known_revisions(run))
    if not version.model or not version.config:
        return found
    if not found or (found[0].model_digest, found[0].config_hash) != (version.model, version.config):
        found.insert(0, _new_revision(run, version, entry))
    if proven_at and not found[0].proven_at:
        found[0] = found[0].model_copy(update={"proven_at": proven_at})
    return _bounded(found)


def _new_revision(run: GuardedRun, version: Version, entry: Entry) -> Revision:
    known, earlier = known_revisions(run), revision_of(run, version.model)
    evaluated_at = format_time(entry.evaluated_at) if entry.evaluated_at else ""
    why = entry.why
    if not why:
        why = "new model" if not known or known[0].model_digest != version.model else "new guardrails"
    return Revision(
        number=known[0].number + 1 if known else 1,
        model_digest=version.model,
        model_uri=entry.model_uri,
        config_hash=version.config,
        opens_reasoning=entry.opens_reasoning,
        served_at=format_time(run.now),
        evaluated_at=evaluated_at or (earlier.evaluated_at if earlier else ""),
        gate=shorten(entry.gate or (earlier.gate if earlier else ""), 512),
        why=shorten(why, 128),
    )


def _bounded(found: list[Revision]) -> list[Revision]:
    """The newest, and among them the last that could be gone back to."""
    kept, rest = found[:MAX_REVISIONS], found[MAX_REVISIONS:]
    now = kept[0].model_digest

    def is_way_back(item: Revision) -> bool:
        return bool(item.proven_at) and item.model_digest != now

    if not any(map(is_way_back, kept)):
        kept[-1:] = next(([item] for item in rest if is_way_back(item)), kept[-1:])
    return kept
