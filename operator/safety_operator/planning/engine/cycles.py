"""Resources that wait for each other: found in the graph of references, told before anything starts.

``cluster.gather`` looks with what is known of all resources, ``planning.dispatch`` tells.
"""

from collections.abc import Callable, Iterable, Sequence

from safety_operator.api.conditions import CommonStatus, ConditionType
from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.observed import Observed
from safety_operator.state.reading import generation_of

Targets = Callable[[Key], Iterable[Key]]
"""What a resource refers to; empty for one that does not exist."""


THROUGH_THE_GATE = "Evaluate the model itself for the gate, and the deployment in another SafetyEval."
"""What helps where a gate waits for an evaluation through the rails that it would open."""


def find_cycle(start: Key, targets: Targets) -> tuple[Key, ...]:
    """The shortest way along references from a resource back to itself, which is its first and last entry.

    Empty where there is none, also where a resource only waits for others that wait for each other.
    """
    came_from: dict[Key, Key] = {}
    reached = [start]
    for key in reached:
        for target in sorted(targets(key)):
            if target == start:
                return (*_way(start, key, came_from), start)
            if target not in came_from:
                came_from[target] = key
                reached.append(target)
    return ()


def _way(start: Key, end: Key, came_from: dict[Key, Key]) -> Sequence[Key]:
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


def explain_cycle(cycle: Sequence[Key]) -> str:
    """What is wrong, spelt out, and what to do."""
    first, *others = (f"{key.kind} {key.name}" for key in cycle)
    if len(others) == 1:
        return f"{first} waits for itself. Name another resource in its spec."
    chain = ", which waits for ".join(others)
    what = f"{first} waits for {chain}: none of them can ever start."
    if {key.kind for key in cycle} == {"SafetyEval", "GuardedDeployment"}:
        return f"{what} {THROUGH_THE_GATE}"
    return f"{what} Take one of these references away."


def is_held_up(observed: Observed, before: CommonStatus) -> bool:
    """Whether the resource is in a cycle and not past it.

    What was finished for its present spec, and a model that is served already, stay as they are: the one
    whose spec closed the cycle is told.
    """
    finished = before.is_true(ConditionType.SUCCEEDED, generation_of(observed.resource))
    return bool(observed.cycle) and not finished and not _has_servers(observed.children)


def _has_servers(children: Iterable[ObjectKey]) -> bool:
    return any(key.kind == "Deployment" for key in children)
