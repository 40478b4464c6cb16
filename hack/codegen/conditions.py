"""The page of conditions and reasons, from the enums and the docstrings of their members."""

import ast
import inspect
from enum import StrEnum

from hack.codegen.reference import NOTE

from safety_operator.api.conditions import ConditionType, Reason

INTRODUCTION = """# Conditions and reasons

Every kind reports in `status.conditions`. A condition speaks of the generation in its `observedGeneration`,
so `kubectl wait --for=condition=Ready` and kstatus never take an old one for the present. A failed worker
gives a reason and a message of its own; all other reasons are listed here.
"""


def member_docs(enum: type[StrEnum]) -> dict[str, str]:
    """Value of each member and the docstring below it; raises ValueError where one is missing."""
    tree = ast.parse(inspect.getsource(enum)).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for statement, follower in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            member = enum[statement.targets[0].id]
            docs[member.value] = " ".join(_text(follower, member).split())
    return docs


def _text(node: ast.stmt | None, member: StrEnum) -> str:
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return node.value.value
    raise ValueError(f"{type(member).__name__}.{member.name} has no docstring")


def build_conditions_page() -> str:
    """The page in Markdown."""
    parts = [NOTE, INTRODUCTION]
    for title, enum in (("Conditions", ConditionType), ("Reasons", Reason)):
        rows = "\n".join(f"| `{value}` | {text} |" for value, text in member_docs(enum).items())
        parts.append(f"## {title}\n\n| {title[:-1]} | Meaning |\n|---|---|\n{rows}\n")
    return "\n".join(parts)
