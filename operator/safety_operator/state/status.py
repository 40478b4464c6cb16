"""Statuses of the operator's kinds as their models, whoever wrote them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)

SINGLE_ROUNDS = 16
"""Mistakes that are left out one by one; of a status with more, whole fields are left out."""
MAX_ROUNDS = 64


def read_status(model: type[M], value: object) -> M:
    """A status as its model, parsed once.

    Another version of the operator, or a person, may have written it: what does not fit is left out, an entry
    of a list where something that it must have is missing. Nothing fits: the model's defaults.
    """
    left: Any = dict(value) if isinstance(value, Mapping) else {}
    for number in range(MAX_ROUNDS):
        try:
            return model.model_validate(left, extra="ignore")
        except ValidationError as error:
            location = error.errors(include_url=False, include_input=False)[0]["loc"]
            left = _without(left, location if number < SINGLE_ROUNDS else location[:1]) or {}
    return model()


def _without(value: Any, location: Sequence[int | str]) -> Any:
    """The value without what is at a location; None where that is missing, so that the value itself goes."""
    if not location or not isinstance(value, dict | list):
        return None
    head, rest = location[0], location[1:]
    if isinstance(value, dict):
        if head not in value:
            return None
        inner = _without(value[head], rest)
        return value | {head: inner} if inner is not None else {k: v for k, v in value.items() if k != head}
    if not isinstance(head, int) or head >= len(value):
        return None
    inner = _without(value[head], rest)
    return [*value[:head], *([inner] if inner is not None else []), *value[head + 1 :]]
