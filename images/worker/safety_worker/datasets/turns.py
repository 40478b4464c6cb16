"""Turns of conversations as data sets write them: what is understood, and what is said of the others.

A turn is an object with ``role`` and ``content``; content is a text, or a list of parts that are all text.
"""

from collections.abc import Mapping
from typing import Any

from safety_worker.empty_answers import has_text, is_one_mark
from safety_worker.generation.completion import REASONING_FIELDS
from safety_worker.text import has_lone_surrogates

ROLES = frozenset({"system", "user", "assistant"})

TOOL_KEYS = ("tool_calls", "function_call")
"""Fields of a turn that change what it says."""

TOOL_ROLES = frozenset({"tool", "function", "ipython"})


def turns_of(cell: object) -> object:
    """A list of turns from an object of lists, as ``datasets`` keeps a sequence; anything else as it is."""
    lists = list(cell.values()) if isinstance(cell, Mapping) else []
    if not lists or not all(isinstance(items, list) and len(items) == len(lists[0]) for items in lists):
        return cell
    return [dict(zip(cell, turn, strict=True)) for turn in zip(*lists, strict=True)]  # type: ignore[call-overload]


def turn_text(content: object) -> object:
    """The text of a content in parts, joined by line ends as vLLM does; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [_part(part) for part in content]
    return content if None in texts else "\n".join(text for text in texts if text is not None)


def _part(part: object) -> str | None:
    if not isinstance(part, Mapping) or part.get("type", "text") not in {"text", "input_text", "output_text"}:
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def turn_problem(turn: object) -> str:
    """Why a turn cannot be learnt from; empty if it can. Never quotes it."""
    if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
        return "a message needs role and content"
    role, content = turn["role"], turn_text(turn.get("content"))
    if role in TOOL_ROLES or any(turn.get(key) for key in TOOL_KEYS):
        return (
            "a message calls a tool or is a tool's answer (tool_calls), which is not learnt from: leave such "
            "rows out, or write the call into content"
        )
    if role not in ROLES:
        return "a message has another role than system, user or assistant"
    if not isinstance(content, str):
        return "a message needs role and content, and content is a text or a list of parts of type text"
    return _text_problem(role, content) or _unheeded(turn)


def _text_problem(role: str, content: str) -> str:
    if has_lone_surrogates(content):
        return "a message holds lone surrogates, which are no text"
    if role == "assistant" and not has_text(content) and not is_one_mark(content):
        return "a message of the assistant is empty, but for special tokens or reasoning"
    return ""


def _unheeded(turn: Mapping[str, Any]) -> str:
    """Why a field of a turn would be lost that changes what is learnt; empty if none would."""
    named = next((name for name in REASONING_FIELDS if turn.get(name)), "")
    if named:
        return (
            f"a message has reasoning in a field of its own ({named}), which is not learnt from: write it "
            "into content as the model does, or take the field out"
        )
    if turn.get("weight") == 0:
        return "a message has weight 0, which is not heeded: leave such rows out"
    return ""


def plain_turn(turn: Mapping[str, Any]) -> dict[str, str]:
    """Role and text of a turn without problem."""
    return {"role": turn["role"], "content": str(turn_text(turn["content"]))}
