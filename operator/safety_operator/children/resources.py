"""Requests and limits of containers: defaults, what overrides them, limits by a ratio."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from safety_operator.api.common import GPU, Resources
from safety_operator.api.pods import LimitRatio
from safety_operator.api.quantities import amount

Quantities = Mapping[str, int | str]
_ACCELERATOR = re.compile(r"gpu|/mig-|gaudi|neuron|/tpu|/npu|ascend", re.IGNORECASE)
"""Names of extended resources that stand for GPUs: time-sliced, partitioned, or of other makers."""


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """Requests and limits of a container."""

    requests: dict[str, int | str] = field(default_factory=dict)
    limits: dict[str, int | str] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """As in a container; limits only where there are some."""
        found: dict[str, Any] = {"requests": dict(self.requests)}
        if self.limits:
            found["limits"] = dict(self.limits)
        return found

    def under(self, given: Resources | None) -> "ResourceSet":
        """What was given over this, name by name. A default that contradicts it gives way."""
        if given is None:
            return self
        requests, limits = self.requests | given.requests, self.limits | given.limits
        for name in requests.keys() & limits.keys():
            if _exceeds(requests[name], limits[name]):
                if name in given.limits:
                    requests[name] = limits[name]
                else:
                    limits[name] = requests[name]
        return ResourceSet(requests, limits)

    def with_gpus(self, count: int) -> "ResourceSet":
        """With so many GPUs, unless it names accelerators of its own."""
        named = any(_ACCELERATOR.search(name) for name in (*self.requests, *self.limits))
        return self if named or not count else ResourceSet(self.requests, self.limits | {GPU: count})

    def with_cpus(self, count: int) -> "ResourceSet":
        """With so many CPUs more than it asks for, which are whole ones."""
        asked = int(self.requests["cpu"]) + count if count else self.requests["cpu"]
        return ResourceSet(self.requests | {"cpu": str(asked)}, self.limits)

    def settled(self) -> "ResourceSet":
        """With limits for what Kubernetes never overcommits, where only a request was given."""
        whole = {
            name: value
            for name, value in self.requests.items()
            if "/" in name or name.startswith("hugepages-")
        }
        return ResourceSet(self.requests, whole | self.limits)

    def limited(self, ratio: LimitRatio | None) -> "ResourceSet":
        """With limits of cpu and memory where there are none, as multiples of what is requested."""
        factors = {"cpu": ratio.cpu, "memory": ratio.memory} if ratio else {}
        more: dict[str, int | str] = {
            name: text
            for name, factor in factors.items()
            if factor and name not in self.limits and (text := _times(name, self.requests.get(name), factor))
        }
        return ResourceSet(self.requests, self.limits | more)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a container is to have: a role's default, what the spec says, and GPUs."""

    default: ResourceSet
    own: Resources | None = None
    gpus: int = 0

    def settle(self, of_role: Resources | None) -> ResourceSet:
        """All layers together; ``of_role`` stands between the default and what is the container's own."""
        return self.default.under(of_role).under(self.own).with_gpus(self.gpus).settled()


def merge(base: Resources, over: Resources) -> Resources:
    """One layer of resources over another, name by name."""
    return Resources(requests=base.requests | over.requests, limits=base.limits | over.limits)


def _exceeds(request: int | str, limit: int | str) -> bool:
    wanted, most = amount(request), amount(limit)
    return wanted is not None and most is not None and wanted > most


def _times(name: str, request: int | str | None, factor: str) -> str:
    """A quantity times a factor, rounded up to a millicore or a mebibyte; empty if it is none.

    Written as the API server writes it, so that a live object compares as equal.
    """
    value = amount(request) if request is not None else None
    if value is None or value <= 0:
        return ""
    small, large, per, unit = (
        ("m", "", 1000, Decimal("0.001")) if name == "cpu" else ("Mi", "Gi", 1024, Decimal(2**20))
    )
    count = math.ceil(value * Decimal(factor) / unit)
    return f"{count}{small}" if count % per else f"{count // per}{large}"
