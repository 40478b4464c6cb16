"""Mistakes of ``spec.pod`` and of each ``serving`` in a spec, in words: what the schema's rules refuse too.

Asked before each planner, because a resource may be older than a rule.
"""

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from safety_operator.api.common import GPU, Resources, Serving
from safety_operator.api.pods import Placement, PodOptions, reserved
from safety_operator.api.quantities import amount
from safety_operator.api.run import RunSpec
from safety_operator.api.safety_blend import ScreeningCompute
from safety_operator.api.safety_finetune import Compute
from safety_operator.api.serving_args import gpu_factor, refuse_args


def check_pods(spec: RunSpec) -> str:
    """The first mistake, empty if there is none."""
    return next((mistake for where, part in _parts(spec, "spec") if (mistake := _check(part, where))), "")


def _parts(model: BaseModel, where: str) -> Iterator[tuple[str, BaseModel]]:
    """The model and all models inside it, each with its path."""
    yield where, model
    for name in type(model).model_fields:
        value = getattr(model, name)
        path = f"{where}.{to_camel(name)}"
        if isinstance(value, BaseModel):
            yield from _parts(value, path)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _parts(item, f"{path}[{index}]")


def _check(part: BaseModel, where: str) -> str:
    match part:
        case Serving():
            return _check_serving(part, where)
        case Compute() if part.device != "cpu":
            return _check_gpus(part.resources, part.gpus_per_node, where, "gpusPerNode")
        case ScreeningCompute():
            return _check_gpus(part.resources, 1, where, "the one of a pod")
        case Placement():
            return _check_keys(part, where)
    return ""


def _check_serving(serving: Serving, where: str) -> str:
    refused = refuse_args(serving.args)
    if refused:
        return f"{where}.args: {refused}."
    count = serving.tensor_parallel_size * gpu_factor(serving.args)
    return _check_gpus(serving.resources, count, where, "tensorParallelSize")


def _check_gpus(resources: Resources | None, count: int, where: str, field: str) -> str:
    """GPUs that are named beside the field that sets them are as many."""
    for part in ("requests", "limits") if resources else ():
        given = getattr(resources, part).get(GPU)
        if given is not None and amount(given) != count:
            return (
                f"{where}.resources.{part}: {given} of {GPU}, which is another number than {field} gives "
                f"({count}). Set that, and leave {GPU} out."
            )
    return ""


def _check_keys(part: Placement, where: str) -> str:
    for field, keys in (("labels", part.labels), ("annotations", part.annotations)):
        for key in keys:
            if reserved(key, label=field == "labels"):
                queue = " Name a queue in spec.queueName." if key.startswith("kueue.") else ""
                return f"{where}.{field}: {key} is not yours to set: pods are found by it. Remove it.{queue}"
    resources = getattr(part, "resources", None)
    if isinstance(part, PodOptions) or resources is None:
        return ""
    named = GPU in {**resources.requests, **resources.limits}
    return f"{where}.resources: leave {GPU} out: it follows tensorParallelSize." if named else ""
