"""A judge of the user's own: a Jinja template, a parser (regular expression or JSON path), a map of labels.

The template comes from the specification and runs in a sandbox; prompt and answer are values in it. Outputs
are matched, never evaluated; a label that the map does not have is no verdict.
"""

import re
from collections.abc import Mapping
from typing import Literal

from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.jsonpath import JSONPath
from jsonpath_ng.parser import parse as parse_path

from safety_records.judges import CustomJudge
from safety_worker.errors import InputError
from safety_worker.judging.base import Pair
from safety_worker.judging.formats.base import Question, chat, conversation_prompt, defused
from safety_worker.judging.formats.reading import (
    EDGES,
    after_reasoning,
    denies,
    is_doubtful,
    is_part,
    plain,
    read_json,
    says_any,
    scalar,
    undecorated,
    word,
)
from safety_worker.rows import Message, Verdict
from safety_worker.templates import compile_template

Meaning = Literal["safe", "unsafe", "refusal"]

WHERE = "judges[].custom"
VARIABLES = ("prompt", "answer", "messages")
"""What a template may use: the prompt behind its earlier turns, the answer, and the turns one by one."""


class Custom:
    """Asks and reads as the specification says.

    Raises
    ------
    InputError
        If the template, the pattern or the path is wrong.
    """

    def __init__(self, spec: CustomJudge) -> None:
        self._spec = spec
        self._render = compile_template(f"{WHERE}.template", spec.template, ("answer", "messages"), VARIABLES)
        self._pattern = compile_pattern(spec.parser.regex) if spec.parser.regex else None
        self._path = compile_path(spec.parser.json_path) if spec.parser.json_path else None
        self._labels = fold_labels(spec.labels)
        self._sees_refusals = "refusal" in self._labels.values()
        self.max_tokens = spec.max_tokens

    def ask(self, pair: Pair) -> Question:
        """The rendered template, as a user message or as a raw prompt."""
        turns = [
            {"role": message.role, "content": defused(message.content)}
            for message in (
                *pair.context,
                Message(role="user", content=pair.prompt),
                Message(role="assistant", content=pair.answer),
            )
        ]
        text = self._render(prompt=conversation_prompt(pair), answer=defused(pair.answer), messages=turns)
        return text if self._spec.endpoint == "completions" else chat(text)

    def read(self, output: str) -> Verdict | None:
        """The label that the parser finds, as the map means it; none where it finds several meanings."""
        meanings = {self._labels.get(word(label)) for label in self._find(output)}
        known = meanings - {None}
        if len(known) != 1 or (self._path is not None and None in meanings):
            return None
        meaning = known.pop()
        refused = meaning == "refusal" if self._sees_refusals else None
        return Verdict(safe=meaning != "unsafe", refused=refused, detail=f"label {meaning}")

    def _find(self, output: str) -> list[str]:
        text = plain(output)
        if text is None:
            return []
        if self._path is not None:
            return self._in_json(text, self._path)
        bare = undecorated(text)
        said = (after_reasoning(output) or "").strip()
        tries = (self._matches(form) for form in (said, text, bare, bare.strip(EDGES)))
        return next((labels for labels in tries if labels), [])

    def _matches(self, text: str) -> list[str]:
        """Labels that the pattern finds, if the first of them has a meaning and none is doubtful."""
        assert self._pattern is not None
        group = 1 if self._pattern.groups else 0
        matches = [match for match in self._pattern.finditer(text) if not is_part(match)]
        labels = [match.group(group) or "" for match in matches]
        if not labels or word(labels[0]) not in self._labels:
            return []
        return [] if any(is_doubtful(match, group) for match in matches) else labels

    def _in_json(self, text: str, path: JSONPath) -> list[str]:
        """The label under the path, and those of another meaning that stand behind the object."""
        value, after = read_json(text)
        try:
            found = [scalar(match.value) for match in path.find(value)] if value is not None else []
        except RecursionError:
            return []
        if len(found) != 1 or found[0] is None or denies(after, word(found[0])):
            return []
        return [found[0], *(label for label in self._labels if says_any(after, (label,)))]


def fold_labels(labels: Mapping[str, Meaning]) -> dict[str, Meaning]:
    """Labels in the form in which they are compared.

    Raises
    ------
    InputError
        If two are the same in it and mean different things.
    """
    folded: dict[str, Meaning] = {}
    for label, meaning in labels.items():
        if folded.setdefault(word(label), meaning) != meaning:
            raise InputError(
                "InvalidJudge",
                f"{WHERE}.labels: {label!r} is there in another spelling, with another meaning",
            )
    return folded


def compile_pattern(source: str) -> re.Pattern[str]:
    """A regular expression with at most one group: the label."""
    try:
        pattern = re.compile(source, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError("InvalidPattern", f"{WHERE}.parser.regex: {error}") from error
    if pattern.groups > 1:
        raise InputError(
            "InvalidPattern", f"{WHERE}.parser.regex has {pattern.groups} groups: mark the label with one"
        )
    return pattern


def compile_path(source: str) -> JSONPath:
    """A JSON path."""
    try:
        return parse_path(source)
    except (JSONPathError, RecursionError) as error:
        raise InputError("InvalidPattern", f"{WHERE}.parser.jsonPath: {error}") from error
