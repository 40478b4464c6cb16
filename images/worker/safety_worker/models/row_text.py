"""A conversation as training has to see it: what a server sends, and then what the model is to write.

A server renders the turns with the beginning of an answer. Some templates put more there than they render
in a whole conversation: those of DeepSeek-R1-Distill and Qwen3-Thinking open ``<think>``, and leave reasoning
out of turns that are over. A model that learns from whole conversations then learns answers behind what no
server ever sends. So a row is always the prompt of a server, whatever the template does with finished turns,
and behind it:

- the rest of the template's own text, where that goes on from the prompt and holds the whole answer;
- else the answer as a model writes it there, reasoning included, and what ends a turn. Where the prompt has
  opened reasoning and the row has none, it is closed first, as Qwen3's template writes it and as
  DeepSeek-R1 does where it does not reason: ``<think>``, an empty line, ``</think>``, an empty line.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from safety_records.result import ChatTemplateKind

Messages = Sequence[Mapping[str, str]]
Render = Callable[[Messages, bool], str]
"""A conversation's text, with the beginning of an answer if the second argument is true."""

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""What opens and closes reasoning in the templates of published models."""

_CLOSE = dict(TAGS)
_OPENED = re.compile(
    rf"\s*(?P<open>{'|'.join(re.escape(one) for one, _ in TAGS)})"
    rf"(?P<gap>\s*)(?P<closed>(?:{'|'.join(re.escape(end) for _, end in TAGS)})\s*)?\Z"
)
"""Reasoning at the end of a prompt: left open, or closed as by templates that are told not to reason."""

_TAG = re.compile("|".join(re.escape(tag) for pair in TAGS for tag in pair))
_QUESTION = {"role": "user", "content": "Which colour has the sky?"}
_ANSWER = "The sky is blue on a clear day."


class UnlearnableError(ValueError):
    """The template asks for something behind a prompt that cannot be told from whole conversations."""


class RowText(NamedTuple):
    """A row in two parts."""

    prompt: str
    """As a server sends it."""
    completion: str
    """What is learnt: the answer, and what ends the turn."""
    closes: bool = False
    """Whether the answer closes, without any, reasoning that the prompt has opened."""
    whole: bool = True
    """Whether both parts are what the template makes of the whole conversation."""


class RowWriter:
    """Writes rows by one chat template."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._frame: tuple[str, str] | None = None

    def write(self, messages: Messages) -> RowText:
        """A conversation that ends with the assistant's turn.

        Raises
        ------
        UnlearnableError
            If nobody can tell what a model writes behind the prompt.
        Exception
            What the template raises for turns that it does not take.
        """
        prompt, whole = self._render(messages[:-1], True), self._render(messages, False)
        answer = messages[-1]["content"]
        if whole.startswith(prompt) and _keeps(prompt, whole[len(prompt) :], answer):
            completion = whole[len(prompt) :]
            return RowText(prompt, completion, closes=_closes(prompt, completion))
        _check(prompt, whole)
        text, (begin, end) = _continued(prompt, answer), self._find_frame()
        return RowText(prompt, f"{begin}{text}{end}", closes=_closes(prompt, text), whole=False)

    def _find_frame(self) -> tuple[str, str]:
        """What the template writes before an answer, behind the prompt, and after it, such as a turn's end.

        Before it there is something only where a template ignores that it is to begin an answer.
        """
        if self._frame is None:
            prompt = self._render([_QUESTION], True)
            whole = self._render([_QUESTION, {"role": "assistant", "content": _ANSWER}], False)
            before, found, end = whole.rpartition(_ANSWER)
            if not found:
                raise UnlearnableError("an answer is not in the text that it gives")
            begin = before.removeprefix(prompt) if before.startswith(prompt) else ""
            self._frame = ("" if _OPENED.search(prompt) else _TAG.split(begin)[0], end)
        return self._frame


def describe_template(render: Render) -> ChatTemplateKind:
    """What a template does with a short conversation, rendered both ways.

    Raises
    ------
    Exception
        What the template raises.
    """
    asked, said = render([_QUESTION], True), {"role": "assistant", "content": _ANSWER}
    opened = _OPENED.search(asked)
    problem = ""
    try:
        RowWriter(render).write([_QUESTION, said])
    except UnlearnableError as error:
        problem = str(error)
    thoughtful = {"role": "assistant", "content": f"<think>\nColours.\n</think>\n\n{_ANSWER}"}
    later = render([_QUESTION, thoughtful, _QUESTION], True)
    return ChatTemplateKind(
        opens=opened["open"] if opened and not opened["closed"] else "",
        drops_reasoning="Colours." not in later,
        problem=problem,
    )


def _check(prompt: str, whole: str) -> None:
    """Refuse a prompt that ends with something else than reasoning where the whole conversation goes on."""
    found = _OPENED.search(prompt)
    head = prompt[: found.start()] if found else prompt.rstrip()
    if not whole.startswith(head):
        shown = prompt[_common(prompt, whole) :][:40]
        raise UnlearnableError(
            f"behind the prompt a server sends {shown!r}, which is not in whole conversations"
        )


def _common(one: str, other: str) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _continued(prompt: str, answer: str) -> str:
    """What a model writes behind a prompt to give this answer."""
    found = _OPENED.search(prompt)
    if found is None or found["closed"]:
        return answer.strip()
    close, gap = _CLOSE[found["open"]], found["gap"]
    if close in answer:
        text = answer.strip().removeprefix(found["open"])
        return text.removeprefix(gap) if text.startswith(gap) else text.lstrip()
    lines = "\n" * (2 - min(2, gap.count("\n"))) if gap else "\n\n"
    return f"{lines}{close}\n\n{answer.strip()}"


def _closes(prompt: str, completion: str) -> bool:
    found = _OPENED.search(prompt)
    if found is None or found["closed"]:
        return False
    return completion.lstrip().startswith(_CLOSE[found["open"]])


def _keeps(prompt: str, completion: str, answer: str) -> bool:
    """Whether an answer's reasoning is where a model would write it."""
    trace = _trace(answer, _OPENED.search(prompt))
    return trace in completion and not (trace and _closes(prompt, completion))


def _trace(answer: str, opened: re.Match[str] | None) -> str:
    """The reasoning that an answer begins with, without its tags; empty if it has none.

    Where the prompt has opened it, the first tag may be missing.
    """
    text = answer.lstrip()
    for start, end in TAGS:
        begins = text.startswith(start) or (opened is not None and opened["open"] == start)
        if begins and end in text:
            return text.removeprefix(start).partition(end)[0].strip()
    return ""
