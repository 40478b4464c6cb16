"""CEL as in the API server: Google's own implementation, with those of Kubernetes' functions that rules call.

Kubernetes' functions: https://kubernetes.io/docs/reference/using-api/cel/. A quantity is its text here, as
the library has no types of ours.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from safety_operator.api.quantities import amount


def evaluate(expression: str, value: Any) -> Any:
    """The value of an expression about ``self``; None where it has none, as after a division by zero.

    Raises
    ------
    RuntimeError
        If the expression is no CEL, or calls a function that is not known here.
    """
    result = _compile(expression).eval(data={"self": value})
    return None if result.type().name() == "ERROR" else result.plain_value()


@cache
def _compile(expression: str) -> Any:
    return _environment().compile(expression)


@cache
def _environment() -> Any:
    # 13 MiB that a running operator does without, as long as no resource is older than a rule.
    from cel_expr_python import cel  # noqa: PLC0415

    text, number, truth = cel.Type.STRING, cel.Type.INT, cel.Type.BOOL

    def declare(name: str, call: Callable[..., Any], gives: Any, *takes: Any, member: bool = True) -> Any:
        overload = cel.Overload(name, return_type=gives, parameters=takes, is_member=member, impl=call)
        return cel.FunctionDecl(name, [overload])

    functions = [
        declare("find", _find, text, text, text),
        declare("replace", str.replace, text, text, text, text),
        declare("isQuantity", lambda given: amount(given) is not None, truth, text, member=False),
        declare("quantity", str, text, text, member=False),
        declare("compareTo", _compare, number, text, text),
        declare("isInteger", _is_integer, truth, text),
        declare("asInteger", lambda given: int(amount(given) or 0), number, text),
    ]
    return cel.NewEnv(variables={"self": cel.Type.DYN}, functions=functions)


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _compare(one: str, other: str) -> int:
    left, right = amount(one) or 0, amount(other) or 0
    return (left > right) - (left < right)


def _is_integer(text: str) -> bool:
    value = amount(text)
    return value is not None and value == int(value)
