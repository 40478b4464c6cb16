"""How the Deployments of a guarded model are."""

from collections.abc import Sequence
from dataclasses import dataclass

from safety_operator.api.guarded_deployment import GuardedDeploymentStatus
from safety_operator.planning.engine.problems import Problem
from safety_operator.planning.engine.servers import PodCounts, count_pods, deployment_problem, is_seen
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.planning.guarded_deployment.guards import ASKS, KIND, Guard, guard_words
from safety_operator.planning.guarded_deployment.roles import CLASSIFIER_ROLE, MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.scaling import autoscalings
from safety_operator.state.keys import Key
from safety_operator.state.reading import value_at
from safety_operator.state.status import read_status

GUARD = "guard"
"""In place of a role: whichever guard is furthest behind."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a Deployment is."""

    what: str
    """What it is to people, such as ``the model server``."""
    pods: PodCounts | None = None
    """None where it does not exist."""
    complete: bool = False
    """Whether exactly the wanted pods of the newest template are ready, and no others are left."""
    problem: Problem | None = None
    recreate: bool = False
    """Whether an update takes all old pods away before it starts a new one."""
    wait: str = ""
    """What a new pod does before it starts, where nothing is wrong."""

    @property
    def exists(self) -> bool:
        """Whether there is a Deployment."""
        return self.pods is not None

    @property
    def answers(self) -> bool:
        """Whether any pod is ready, of whatever template."""
        return self.pods is not None and self.pods.ready > 0

    @property
    def has_old(self) -> bool:
        """Whether pods of an earlier template are left."""
        return self.pods is not None and self.pods.old > 0

    @property
    def text(self) -> str:
        """What is being waited for."""
        if self.pods is None:
            return f"starting {self.what}"
        if self.recreate and self.has_old:
            return f"waiting for the old pods of {self.what} to end: they go first ({self.pods.old} left)"
        new = "new " if self.has_old else ""
        text = f"waiting for {self.what} ({self.pods.new_ready}/{self.pods.wanted} {new}pods)"
        return f"{text}: {self.wait}" if self.wait else text


def rollouts_of(parts: Parts) -> dict[str, Rollout]:
    """How the Deployments of a track are, by role."""
    guards = [rollout_of(parts, CLASSIFIER_ROLE, "the classifier")] if parts.uses_classifier else []
    guards += [rollout_of_guard(parts, guard) for guard in parts.guards]
    return {
        MODEL_ROLE: rollout_of(parts, MODEL_ROLE, "the model server"),
        RAILS_ROLE: rollout_of(parts, RAILS_ROLE, "the guardrails"),
        **furthest_behind(guards),
    }


def furthest_behind(guards: Sequence[Rollout]) -> dict[str, Rollout]:
    """The guard of these that all wait for; empty where there is none."""
    worst = min(guards, key=lambda item: (item.answers, not item.has_old, item.complete), default=None)
    return {GUARD: worst} if worst else {}


def rollout_of_guard(parts: Parts, guard: Guard) -> Rollout:
    """How a guard is; of another GuardedDeployment's only whether it is ready."""
    if not guard.shared:
        return rollout_of(parts, guard.role, guard.words)
    pods = PodCounts(wanted=1, new=int(guard.ready), old=0, ready=int(guard.ready))
    return Rollout(guard.words, pods, guard.ready, wait=guard.wait)


def asked_of_others(parts: Parts) -> list[Rollout]:
    """Others' guards that the newest guardrails ask, where the spec still names who serves them.

    Of one that is gone no pod is ready.
    """
    labels = value_at(parts.deployment(RAILS_ROLE), "spec", "template", "metadata", "labels", default={})
    found = []
    for label, name in sorted(labels.items()):
        key, rail = Key(KIND, parts.run.owner.namespace, str(name)), label.removeprefix(ASKS)
        if label.startswith(ASKS) and key in parts.run.observed.references:
            owner = parts.run.observed.references[key]
            status = read_status(GuardedDeploymentStatus, value_at(owner, "status"))
            ready = any(guard.rail == rail and guard.ready for guard in status.guards)
            pods = PodCounts(wanted=1, new=int(ready), old=0, ready=int(ready))
            found.append(Rollout(guard_words(rail, str(name)), pods, ready))
    return found


def has_newest(parts: Parts, role: str) -> bool:
    """Whether a pod of the newest template of a role's Deployment is ready."""
    child = parts.deployment(role)
    return child is not None and is_seen(child) and count_pods(child).new_ready > 0


def rollout_of(parts: Parts, role: str, what: str) -> Rollout:
    """How the Deployment of a role is; for more pods than an autoscaler's fewest nobody waits."""
    child = parts.deployment(role)
    if child is None:
        return Rollout(what)
    pods = count_pods(child)
    scaling = autoscalings(parts.run.spec).get(role)
    fewest = min(pods.wanted, scaling.min_replicas) if scaling else pods.wanted
    complete = is_seen(child) and pods.old == 0 and fewest <= pods.new_ready <= pods.new <= pods.wanted
    problem = None if complete else deployment_problem(parts.run.observed, child, what)
    recreate = value_at(child, "spec", "strategy", "type") == "Recreate"
    wait = parts.run.observed.waits.get(parts.name(role), "")
    return Rollout(what, pods, complete and pods.wanted > 0, problem, recreate, wait)
