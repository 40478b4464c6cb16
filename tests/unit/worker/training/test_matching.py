"""Rows against what a server sends, by templates of several kinds."""

from typing import Any

import jinja2
import pytest

from safety_worker.errors import InputError
from safety_worker.training.matching import Mismatch, find_mismatch, require_match, warnings_of

TURNS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
BEGIN = "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
PLAIN = TURNS + BEGIN
OPENS_THINK = PLAIN.replace("<|assistant|>\n{% endif", "<|assistant|>\n<think>\n{% endif")
WRITES_THINK = OPENS_THINK.replace(
    "\n{{ m.content }}",
    "\n{% if m.role == 'assistant' and '<think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}",
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ refuse('no system role') }}{% endif %}" + PLAIN
HIDES_PROMPT = "{% if add_generation_prompt %}<hidden>{% endif %}" + PLAIN


class Tokenizer:
    """One token a character, but for line ends: as many as follow each other are one."""

    def __init__(self, template: str) -> None:
        environment = jinja2.Environment(autoescape=False)
        environment.globals["refuse"] = self._refuse
        self._template = environment.from_string(template)

    @staticmethod
    def _refuse(words: str) -> str:
        raise jinja2.TemplateError(words)

    def apply_chat_template(self, messages: list[Any], *, tokenize: bool, **fields: Any) -> str:
        assert not tokenize
        return self._template.render(messages=messages, **fields)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[str]]:
        assert not add_special_tokens
        tokens: list[str] = []
        for char in text:
            if char == "\n" and tokens and tokens[-1].startswith("\n"):
                tokens[-1] += char
            else:
                tokens.append(char)
        return {"input_ids": tokens}


def row(answer: str, *before: tuple[str, str]) -> list[dict[str, str]]:
    turns = [*before, ("user", "Why?"), ("assistant", answer)]
    return [{"role": role, "content": content} for role, content in turns]


ROWS = [row("Because."), row("No.", ("system", "Be short."))]
EARLIER = row("And so.", ("user", "What?"), ("assistant", "That."))


@pytest.mark.parametrize("rows", [ROWS, [EARLIER], []])
def test_a_template_that_writes_the_same_in_both_is_taken(rows: list[list[dict[str, str]]]) -> None:
    assert require_match(Tokenizer(PLAIN), rows, "train.jsonl") == ()


@pytest.mark.parametrize("template", [OPENS_THINK, HIDES_PROMPT])
def test_a_template_that_opens_something_that_rows_do_not_have_is_refused(template: str) -> None:
    with pytest.raises(InputError) as caught:
        require_match(Tokenizer(template), ROWS, "train.jsonl")
    assert caught.value.reason == "ChatTemplateMismatch"
    assert "train.jsonl" in caught.value.message
    assert "2 of 2 rows (first: row 1)" in caught.value.message


def test_rows_that_come_with_the_reasoning_that_the_template_opens_are_taken() -> None:
    rows = [row("<think>\nI weigh it.\n</think>\n\nBecause.")] * 3
    assert require_match(Tokenizer(OPENS_THINK), rows, "train.jsonl") == ()


def test_a_mark_whose_line_end_merges_with_that_of_every_row_is_refused() -> None:
    """An empty trace behind the mark: its text begins alike, its tokens do not, in any row."""
    assert find_mismatch(Tokenizer(WRITES_THINK), ROWS, "t") == Mismatch(rows=2, tokens=2)
    with pytest.raises(InputError, match="merge with what follows in 2 of 2 rows"):
        require_match(Tokenizer(WRITES_THINK), ROWS, "train.jsonl")


def test_a_few_rows_that_merge_or_differ_are_a_warning() -> None:
    merged = [*[row("Because.")] * 9, row("\nBecause.")]
    (said,) = require_match(Tokenizer(PLAIN), merged, "train.jsonl")
    assert said.startswith("train.jsonl: 1 of 10 rows begin with other tokens")
    thought = [*[row("<think>\nHm.\n</think>\nSo.")] * 199, row("So.")]
    (said,) = require_match(Tokenizer(OPENS_THINK), thought, "train.jsonl")
    assert said.startswith("train.jsonl: 1 of 200 rows begin otherwise")


def test_as_many_rows_of_either_kind_are_two_warnings() -> None:
    said = warnings_of(Mismatch(rows=200, text=1, tokens=1, first=1), "train.jsonl")
    assert [text.partition(":")[2][:32] for text in said] == [
        " 1 of 200 rows begin otherwise t",
        " 1 of 200 rows begin with other ",
    ]


def test_a_row_that_the_template_refuses_is_named() -> None:
    with pytest.raises(InputError, match=r"train.jsonl, row 2: .*no system role") as caught:
        require_match(Tokenizer(NO_SYSTEM), ROWS, "train.jsonl")
    assert caught.value.reason == "TemplateRefusesRow"
