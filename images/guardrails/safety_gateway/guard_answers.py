"""What guards answer, read strictly: an answer in another form is no verdict, and closes the request.

NeMo Guardrails' own parsers take some such answers for a verdict: ``not safe`` is safe to one of them, and
reasoning that was cut off may hold the word that another one looks for.
"""

import re
from collections.abc import Callable, Sequence

Parsed = Sequence[bool | str]
"""Whether the text is safe, then the categories that it violates."""
Parser = Callable[[str], Parsed]

_REASONING = re.compile(r"<think>.*?</think>", re.DOTALL)
_EDGES = " \t\r\n.!,\"'*"
HARM = {"harmful": False, "unharmful": True}
NO_WORDS = "the guard's answer has another form than its kind"
"""Never the answer itself: it may quote what the guard read."""


def behind_reasoning(answer: str) -> str:
    """The answer without its reasoning. Raises ValueError where that has no end."""
    text = _REASONING.sub("", answer)
    if "<think>" in text:
        raise ValueError(NO_WORDS)
    return text.rpartition("</think>")[2].strip()


def yes_or_no(answer: str) -> Parsed:
    """Of a self-check, ``Does it break the rules?``. Raises ValueError for any but these two words."""
    word = behind_reasoning(answer).strip(_EDGES).lower()
    if word not in {"yes", "no"}:
        raise ValueError(NO_WORDS)
    return [word == "no"]


def llama_guard(answer: str) -> Parsed:
    """``safe``, or ``unsafe`` and a line of categories. Raises ValueError for anything else."""
    first, _, rest = behind_reasoning(answer).partition("\n")
    word, codes = first.strip(_EDGES).lower(), [code.strip() for code in rest.split(",") if code.strip()]
    if word == "safe" and not codes:
        return [True]
    if word == "unsafe":
        return [False, *codes]
    raise ValueError(NO_WORDS)


def harm_of(field: str) -> Parser:
    """Reads one line of the reasoning guard, such as ``Prompt harm: unharmful``."""
    line = re.compile(rf"^\W*{field}\s*:\s*(\w+)", re.IGNORECASE | re.MULTILINE)

    def parse(answer: str) -> Parsed:
        found = line.findall(behind_reasoning(answer))
        if len(found) != 1 or found[0].lower() not in HARM:
            raise ValueError(NO_WORDS)
        return [HARM[found[0].lower()]]

    return parse


PARSERS: dict[str, Parser] = {
    "yes_or_no": yes_or_no,
    "llama_guard": llama_guard,
    "reasoning_request": harm_of("Prompt harm"),
    "reasoning_response": harm_of("Response harm"),
}
"""By the name that prompts give."""
TOPICS = frozenset({"on-topic", "off-topic"})
"""Answers of a topic-control model. To the library every other one is on topic."""


def is_topic_verdict(answer: str | None) -> bool:
    """Whether a topic-control model gave a verdict."""
    return (answer or "").lower().strip() in TOPICS
