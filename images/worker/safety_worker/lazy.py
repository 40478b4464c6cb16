"""Functions that are imported only when they are called: a pod that judges must not pay for torch."""

import importlib
from collections.abc import Callable

from safety_worker.errors import InfrastructureError


def load(target: str) -> Callable[..., object]:
    """The function behind ``module:function``.

    Raises
    ------
    InfrastructureError
        If this image lacks it.
    """
    module, _, name = target.partition(":")
    try:
        function: Callable[..., object] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InfrastructureError("MissingCode", f"this image cannot load {target}: {error}") from error
    return function
