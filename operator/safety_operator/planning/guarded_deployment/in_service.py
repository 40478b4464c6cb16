"""What of a guarded model answers now: while an update comes up, and when it does not, the version before.

Proofs, digests in the status and the Available condition speak of this version; Ready speaks of the one that
the spec asks for.
"""

from dataclasses import dataclass

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_deployment import ServedStatus
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.guarded_deployment.deployment_parts import Parts, status_before
from safety_operator.planning.guarded_deployment.endpoint import known_identity
from safety_operator.planning.guarded_deployment.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Version:
    """A model behind a configuration of rails; empty: none of it answers."""

    model: str = ""
    """Digest of the model."""
    config: str = ""
    """Hash of the guardrails' configuration."""


@dataclass(frozen=True, slots=True)
class InService:
    """The newest version that pods were told to be, and the one that answers."""

    newest: Version
    version: Version
    answers: bool
    """Whether model, rails and guard all have a pod that is ready."""
    updating: bool
    """Whether pods of an earlier template are left."""
    down: tuple[str, ...] = ()
    """Those that have none, in words for people."""


def find_in_service(parts: Parts, server: Rollout, rails: Rollout, guard: Rollout | None) -> InService:
    """What answers now, from the Deployments and from the last status.

    ``server``: of the model; the guardrails' own where they ask a server of others.
    """
    known = status_before(parts.run).served or ServedStatus()
    newest = Version(parts.rolled_model(), parts.rolled_config())
    front = (rails,) if guard is None else (rails, guard)
    down = tuple(dict.fromkeys(rollout.what for rollout in (server, *front) if not rollout.answers))
    version = Version(
        _present(newest.model, known_identity(known.model_digest), server),
        _present(newest.config, known.config_hash, *front),
    )
    updating = any(rollout.has_old for rollout in (server, *front))
    return InService(newest, version, not down, updating, down)


def _present(newest: str, known: str, *rollouts: Rollout) -> str:
    """The newest once no older pod is left and it answers; before, the last known if its pods are left."""
    if not rollouts[0].exists:
        return ""
    if any(rollout.has_old for rollout in rollouts):
        return known
    if all(rollout.answers for rollout in rollouts):
        return newest
    return known if known == newest else ""


def available(parts: Parts, now: InService) -> ConditionUpdate:
    """The Available condition; Unknown before anything was ever in service."""
    type_ = ConditionType.AVAILABLE
    version = now.version
    if parts.run.spec.suspend:
        return ConditionUpdate(type_, "False", Reason.SUSPENDED, "spec.suspend is true: nothing is served.")
    if now.answers and version.model:
        before = ", the version before: the update is not in service yet" if now.updating else ""
        return ConditionUpdate(
            type_, "True", Reason.SERVING, f"{parts.endpoint_url} answers with {version.model}{before}."
        )
    ever = version.config or status_before(parts.run).revisions
    if not version.model or not ever:
        return ConditionUpdate(type_, "Unknown", Reason.PENDING, "Nothing is in service yet.")
    return ConditionUpdate(type_, "False", Reason.NOT_READY, f"No pod is ready of: {', '.join(now.down)}.")
