"""Whether two evaluations measured a metric in the same way, by what their specs say. Used by ``compare``.

The operator compares identities of scores, with the digests of their data, but for ``baselineRef`` only. From
two specs one sees less: a data set that changed under the same name is not noticed.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from safety_cli.kubectl import Resource
from safety_operator.api.answer_settings import answer_settings, describe_differences
from safety_operator.api.common import Serving
from safety_operator.api.pods import EvalPods
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.state.reading import status_of, value_at

Parts = dict[str, Any]


def what_differs(a: Resource, b: Resource, metric: str) -> str:
    """What two SafetyEvals measured differently for a metric, in words; empty where nothing is seen."""
    first, second = (_parts(_spec(item), metric) for item in (a, b))
    found = [name for name in first if first[name] != second.get(name)]
    return " and ".join(found)


def served_otherwise(a: Resource, b: Resource) -> str:
    """Settings of the two servers that change answers and differ; empty where nothing is seen."""
    try:
        found = [_served_with(resource) for resource in (a, b)]
    except ValidationError:
        return ""
    return describe_differences(found[0], found[1], ("A", "B"))


def _served_with(resource: Resource) -> Mapping[str, str]:
    """As the status says, else by the spec, without what the chart sets. Raises ValidationError."""
    known = value_at(status_of(resource), "target", "serving")
    if known is not None:
        return dict(known)
    spec: Mapping[str, Any] = resource.get("spec") or {}
    pod = EvalPods.model_validate(spec.get("pod") or {})
    env = [*pod.env, *pod.roles.server.env]
    return answer_settings(Serving.model_validate(spec.get("serving") or {}), env)


def _spec(resource: Resource) -> Mapping[str, Any]:
    """The spec with its defaults; as it stands where this plugin does not know all of its fields."""
    spec: Mapping[str, Any] = resource.get("spec") or {}
    try:
        return SafetyEvalSpec.model_validate(spec).to_manifest(exclude_none=False, exclude_defaults=False)
    except ValidationError:
        return spec


def _parts(spec: Mapping[str, Any], metric: str) -> Parts:
    section, _, rest = metric.partition(".")
    return _measured(spec, section, rest) | {
        "reasoning parser": (spec.get("serving") or {}).get("reasoningParser")
    }


def _measured(spec: Mapping[str, Any], section: str, rest: str) -> Parts:
    if section == "contentSafety":
        return _suites(spec, rest)
    if section == "security":
        return {"scan": spec.get("security")}
    entries = [item for item in spec.get("accuracy") or () if _is_of(str(item.get("name")), rest)]
    return {"benchmark": entries, "sampling": spec.get("sampling")}


def _is_of(name: str, rest: str) -> bool:
    """Whether a metric belongs to an entry: an entry may have several, and ``accuracy`` is of all."""
    return not rest or rest == name or rest.startswith(f"{name}.")


def _suites(spec: Mapping[str, Any], rest: str) -> Parts:
    suites = [item for item in spec.get("contentSafety") or () if _is_of(str(item.get("name")), rest)]
    named = {name for item in suites for name in [item.get("judge"), *(item.get("judges") or ())]}
    judges = [item for item in spec.get("judges") or () if item.get("name") in named]
    deciding = {"judge", "judges", "agreement", "maxUnparsed"}
    return {
        "data": [{key: value for key, value in item.items() if key not in deciding} for item in suites],
        "judge": [judges, [{key: item.get(key) for key in sorted(deciding)} for item in suites]],
        "sampling": spec.get("sampling"),
    }
