"""Options of pods from their layers: the chart's, the chart's for a role, the spec's, its own for a role."""

from typing import Any

from safety_operator.api.common import NamedRef
from safety_operator.api.pods import LimitRatio, PodOptions, PodRole, PodSecurity, RoleOptions
from safety_operator.children.resources import merge


class EffectiveOptions(RoleOptions):
    """All that a pod of one role is to have."""

    image_pull_secrets: list[NamedRef] = []
    security_context: PodSecurity | None = None
    limit_ratio: LimitRatio | None = None


MAPS = ("node_selector", "labels", "annotations")
"""Options that are merged name by name; so are env and resources. Others are replaced."""


def effective_options(chart: PodOptions, spec: PodOptions, role: PodRole) -> EffectiveOptions:
    """What pods of a role are to have; later layers win."""
    found: dict[str, Any] = {}
    for layer in (chart, chart.of_role(role), spec, spec.of_role(role)):
        for name in EffectiveOptions.model_fields:
            over = getattr(layer, name, None)
            if over is None or over in ([], {}):
                continue
            found[name] = _put(name, found.get(name), over)
    return EffectiveOptions.model_construct(**found)


def _put(name: str, base: Any, over: Any) -> Any:
    if base is None:
        return over
    if name in MAPS:
        return base | over
    if name == "env":
        return list({var.name: var for var in (*base, *over)}.values())
    return merge(base, over) if name == "resources" else over
