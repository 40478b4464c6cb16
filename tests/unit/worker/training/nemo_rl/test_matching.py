"""Rows against what a server sends, by templates of several kinds."""

from typing import Any

import jinja2
import pytest

from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.matching import require_match

TURNS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
BEGIN = "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
PLAIN = TURNS + BEGIN
OPENS_THINK = PLAIN.replace("<|assistant|>\n{% endif", "<|assistant|>\n<think>\n{% endif")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ refuse('no system role') }}{% endif %}" + PLAIN
HIDES_PROMPT = "{% if add_generation_prompt %}<hidden>{% endif %}" + PLAIN


class Tokenizer:
    """A template."""

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


def test_a_few_rows_that_differ_are_a_warning() -> None:
    thought = [*[row("<think>\nHm.\n</think>\nSo.")] * 199, row("So.")]
    (said,) = require_match(Tokenizer(OPENS_THINK), thought, "train.jsonl")
    assert said.startswith("train.jsonl: 1 of 200 rows begin otherwise")


def test_a_row_that_the_template_refuses_is_named() -> None:
    with pytest.raises(InputError, match=r"train.jsonl, row 2: .*no system role") as caught:
        require_match(Tokenizer(NO_SYSTEM), ROWS, "train.jsonl")
    assert caught.value.reason == "TemplateRefusesRow"
