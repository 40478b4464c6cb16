"""A field that a resource has and a stage gets has one default, or none in the stage."""

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from safety_operator.api.kinds import KINDS
from safety_records.stages import StageSpec

Declared = dict[str, dict[str, Any]]

SAYS_NOTHING = (None, "", (), [], {}, False)

OTHER_MEANING = {
    "CustomJudge.max_tokens": "of a judge's answer; a resource's is the longest row",
    "Sampling.max_tokens": "of an answer",
    "ScreenSettings.max_tokens": "of a row that is screened",
    "TrainSettings.launcher": "what a resource's auto comes to",
    "TrainSettings.strategy": "what a resource's auto comes to",
}
"""Defaults of stages whose field has the name of a resource's field that says something else."""


def models(root: Any, found: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """All models that a type holds, with those that they inherit from."""
    if inspect.isclass(root) and issubclass(root, BaseModel):
        bases = {base for base in root.__mro__ if issubclass(base, BaseModel)}
        for model in bases - found:
            found.add(model)
            for field in model.model_fields.values():
                models(field.annotation, found)
    for part in get_args(root):
        models(part, found)
    return found


def own_fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inherited = any(name in getattr(base, "model_fields", {}) for base in model.__mro__[1:])
        if not inherited:
            yield name, field


def declared(found: set[type[BaseModel]]) -> Declared:
    """By name of the field: the defaults that say something, by the class that declares them."""
    defaults: Declared = {}
    for model in found:
        for name, field in own_fields(model):
            default = None if field.is_required() else field.default
            if default not in SAYS_NOTHING and not isinstance(default, BaseModel):
                defaults.setdefault(name, {})[f"{model.__name__}.{name}"] = default
    return defaults


IN_STAGES = models(StageSpec, set())
SPECS = set().union(*(models(kind.spec, set()) for kind in KINDS))
STAGE_DEFAULTS = declared(IN_STAGES - SPECS)
RESOURCE_DEFAULTS = declared(SPECS)


def test_a_stage_has_no_other_default_than_the_resource_has() -> None:
    other = {
        where: default
        for name in RESOURCE_DEFAULTS.keys() & STAGE_DEFAULTS.keys()
        for where, default in STAGE_DEFAULTS[name].items()
        if where not in OTHER_MEANING and default not in RESOURCE_DEFAULTS[name].values()
    }
    assert other == {}


def test_what_is_said_to_mean_something_else_is_there() -> None:
    known = {where for found in declared(IN_STAGES).values() for where in found}
    assert known >= OTHER_MEANING.keys()
