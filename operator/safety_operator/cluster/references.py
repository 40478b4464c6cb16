"""Who waits for whom: from a thing that is referred to, to the resources that refer to it."""

from collections import defaultdict

from safety_operator.state.keys import Key
from safety_operator.state.observed import Needs


def keys_of(needs: Needs, namespace: str) -> frozenset[Key]:
    """Everything that a resource refers to, as keys; Secrets, ConfigMaps and claims by their kind."""
    return frozenset(
        (
            *needs.references,
            *(Key("Secret", namespace, name) for name in needs.secrets),
            *(Key("ConfigMap", namespace, name) for name in needs.config_maps),
            *(Key("PersistentVolumeClaim", namespace, name) for name in needs.claims),
        )
    )


class ReferenceIndex:
    """A relation that can be read from both ends."""

    def __init__(self) -> None:
        self._to: dict[Key, frozenset[Key]] = {}
        self._from: defaultdict[Key, set[Key]] = defaultdict(set)

    def put(self, key: Key, targets: frozenset[Key]) -> None:
        """Say what ``key`` refers to now; nothing once it is gone, and who refers to it still does."""
        before = self._to.get(key, frozenset())
        if before == targets:
            return
        for gone in before - targets:
            self._from[gone].discard(key)
            if not self._from[gone]:
                del self._from[gone]
        for new in targets - before:
            self._from[new].add(key)
        if targets:
            self._to[key] = targets
        else:
            self._to.pop(key, None)

    def referers(self, target: Key) -> frozenset[Key]:
        """Give who refers to ``target``; empty if nobody does."""
        return frozenset(self._from.get(target, ()))
