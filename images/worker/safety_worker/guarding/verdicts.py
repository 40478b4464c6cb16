"""The question that the rails ask and the answer in NemoGuard's form.

The rails' prompt is a JSON document, ``{"conversation": [{"role": ..., "content": ...}], "response":
"..."}``, and nothing else: texts are encoded, so none of them can end its own quotation and pose as another
part. What is no such document is not guessed at: it is unsafe.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from safety_worker.guarding.parts import cut_answer, cut_request, windows
from safety_worker.judging.classifier import Predict

CATEGORY = "Other"
"""The classifier names no categories."""

ROLES = frozenset({"system", "user", "assistant"})
"""Roles that the guarded endpoint lets through."""

MAX_PARTS = 1000
"""A conversation with more is not judged but refused: about 80,000 characters, a minute of the classifier."""


class Turn(NamedTuple):
    """One message of the conversation."""

    role: str
    content: str


class RailsQuestion(NamedTuple):
    """What has to be judged."""

    conversation: tuple[Turn, ...]
    """Every message of the request, with the answers that the client says were given."""
    response: str | None
    """The model's answer; None when the request is checked before the model is asked."""


class Thresholds(NamedTuple):
    """Probabilities, 0..1, from which a text is unsafe."""

    request: float
    answer: float


class Part(NamedTuple):
    """A text that the classifier sees, and the probability from which it is unsafe."""

    text: str
    threshold: float


class NotJudgeable(ValueError):  # noqa: N818 - a verdict, not a fault
    """There is no question in it; the verdict is unsafe."""


def parse_question(prompt: str) -> RailsQuestion:
    """The question in a prompt.

    Raises
    ------
    NotJudgeable
        If the prompt is anything but the document that our rails send.
    """
    try:
        document = json.loads(prompt, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise NotJudgeable(f"no JSON document: {error}") from error
    if not isinstance(document, dict) or not {"conversation"} <= set(document) <= {
        "conversation",
        "response",
    }:
        raise NotJudgeable("not the fields conversation and response")
    conversation, response = document["conversation"], document.get("response")
    if not isinstance(conversation, list) or not conversation:
        raise NotJudgeable("conversation has to be a list with at least one message")
    if "response" in document and not isinstance(response, str):
        raise NotJudgeable("response has to be a text")
    return RailsQuestion(tuple(map(parse_turn, conversation)), response)


def parse_turn(value: object) -> Turn:
    """One message.

    Raises
    ------
    NotJudgeable
        If it is not just a role and a text.
    """
    if not isinstance(value, dict) or set(value) != set(Turn._fields):
        raise NotJudgeable("a message has to have role and content")
    role, content = value["role"], value["content"]
    if not isinstance(role, str) or role not in ROLES or not isinstance(content, str):
        raise NotJudgeable("a message has to have a known role and a text")
    return Turn(role, content)


def judge(prompt: str, predict: Predict, thresholds: Thresholds) -> dict[str, str]:
    """The verdict in NemoGuard's form: unsafe if any part of any text is, and in every doubt."""
    try:
        question = parse_question(prompt)
        user_safe = all_safe(conversation_parts(question.conversation, thresholds), predict)
        answer_safe = None
        if question.response is not None:
            texts = cut_answer(last_request(question.conversation), question.response)
            answer_safe = all_safe((Part(text, thresholds.answer) for text in texts), predict)
    except NotJudgeable:
        return verdict(user_safe=False, answer_safe=False)
    return verdict(user_safe=user_safe, answer_safe=answer_safe)


def conversation_parts(turns: tuple[Turn, ...], thresholds: Thresholds) -> Iterable[Part]:
    """Every message by itself, and all requests together, for one that is spread over several turns."""
    request = ""
    for turn in turns:
        if turn.role == "assistant":
            for text in cut_answer(request, turn.content):
                yield Part(text, thresholds.answer)
        else:
            request = turn.content if turn.role == "user" else request
            for text in cut_request(turn.content):
                yield Part(text, thresholds.request)
    for text in windows("\n".join(turn.content for turn in turns if turn.role != "assistant")):
        yield Part(text, thresholds.request)


def last_request(turns: tuple[Turn, ...]) -> str:
    """What an answer after these turns answers; empty without any request."""
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")


def all_safe(parts: Iterable[Part], predict: Predict) -> bool:
    """Whether each part's probability is below its threshold.

    Raises
    ------
    NotJudgeable
        If there are too many, or the classifier does not give one number for each.
    """
    unique: dict[Part, None] = {}
    for part in parts:
        unique[part] = None
        if len(unique) > MAX_PARTS:
            raise NotJudgeable(f"more than {MAX_PARTS} parts")
    scores = predict([part.text for part in unique])
    if len(scores) != len(unique) or not all(map(math.isfinite, scores)):
        raise NotJudgeable("the classifier gave no probability")
    return all(score < part.threshold for score, part in zip(scores, unique, strict=True))


def verdict(*, user_safe: bool, answer_safe: bool | None) -> dict[str, str]:
    """NemoGuard's JSON; categories are left out when all is safe."""
    words = {True: "safe", False: "unsafe"}
    result = {"User Safety": words[user_safe]}
    if answer_safe is not None:
        result["Response Safety"] = words[answer_safe]
    if "unsafe" in result.values():
        result["Safety Categories"] = CATEGORY
    return result


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; one that stands there twice could be read in two ways."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field stands there twice")
    return fields
