"""Training rows hold, token by token, what a server sends."""

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest

from safety_worker.errors import InputError
from safety_worker.models import rendering
from safety_worker.training.encoding import encode_conversations, read_rows, warn_of_closed_reasoning

TURNS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
BEGIN = "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
PLAIN = TURNS + BEGIN
OPENS = PLAIN.replace("<|assistant|>\n{% endif", "<|assistant|>\n<think>\n{% endif")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ refuse('no system role') }}{% endif %}" + PLAIN
OTHER = "{% if add_generation_prompt %}<hidden>{% endif %}" + PLAIN


class Tokenizer:
    """One token a character, but for line ends: as many as follow each other are one."""

    def __init__(self, template: str, prefix: str = "") -> None:
        environment = jinja2.Environment(autoescape=False)
        environment.globals["refuse"] = self._refuse
        self.chat_template = template
        self._template = environment.from_string(template)
        self._prefix = prefix

    @staticmethod
    def _refuse(words: str) -> str:
        raise jinja2.TemplateError(words)

    def apply_chat_template(self, messages: list[Any], *, tokenize: bool, **fields: Any) -> str:
        assert not tokenize
        return self._template.render(messages=messages, **fields)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[str]]:
        assert not add_special_tokens
        tokens: list[str] = [self._prefix] if self._prefix else []
        for char in text:
            if char == "\n" and tokens and tokens[-1].startswith("\n"):
                tokens[-1] += char
            else:
                tokens.append(char)
        return {"input_ids": tokens}

    def decode(self, ids: list[str]) -> str:
        return "".join(ids)


def row(answer: str, *before: tuple[str, str]) -> list[dict[str, str]]:
    turns = [*before, ("user", "Why?"), ("assistant", answer)]
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize("template", [PLAIN, OPENS])
@pytest.mark.parametrize("answer", ["Because.", "\nBecause.", "<think>\nHm.\n</think>\n\nBecause."])
def test_a_row_begins_with_the_tokens_of_a_servers_prompt(template: str, answer: str) -> None:
    tokenizer = Tokenizer(template)
    talk = row(answer, ("user", "What?"), ("assistant", "That."))
    (found,) = encode_conversations(tokenizer, [talk], "train")
    sent = tokenizer.apply_chat_template(talk[:-1], tokenize=False, add_generation_prompt=True)
    assert found.ids[: found.start] == tokenizer(sent, add_special_tokens=False)["input_ids"]
    assert "Because.<|end|>" in "".join(found.ids[found.start :])
    assert "What?" not in "".join(found.ids[found.start :])


def test_rows_without_reasoning_are_counted_where_the_template_opens_it() -> None:
    rows = [row("No."), row("<think>\nHm.\n</think>\n\nNo.")]
    (warning,) = warn_of_closed_reasoning(encode_conversations(Tokenizer(OPENS), rows, "train"), "train")
    assert "1 of 2 rows have no reasoning" in warning
    assert warn_of_closed_reasoning(encode_conversations(Tokenizer(PLAIN), rows, "train"), "train") == ()


@pytest.mark.parametrize(
    ("tokenizer", "talk", "reason", "words"),
    [
        (Tokenizer(OTHER), row("No."), "ChatTemplateMismatch", "train, row 1: .*set model.chatTemplate"),
        (Tokenizer(PLAIN, "_"), row("\nNo."), "ChatTemplateMismatch", "cannot be told apart"),
        (Tokenizer(NO_SYSTEM), row("No.", ("system", "x")), "TemplateRefusesRow", "no system role"),
    ],
)
def test_a_row_that_cannot_be_made_is_refused(tokenizer: Any, talk: Any, reason: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        encode_conversations(tokenizer, [talk], "train")
    assert caught.value.reason == reason


def test_a_template_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "{% for a in range(10 ** 9) %}{% endfor %}"
    monkeypatch.setattr(rendering, "SECONDS", 0.05)
    with pytest.raises(InputError, match=r"train, row 1: .*takes more than") as caught:
        encode_conversations(Tokenizer(endless), [row("No.")], "train")
    assert caught.value.reason == "TemplateRefusesRow"


def test_all_files_are_read_the_same_and_marks_count_only_where_rows_are_whole(tmp_path: Path) -> None:
    marked = PLAIN.replace("{{ m.content }}", "{# {% generation %} #}{{ m.content }}")
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / name).write_text(json.dumps({"messages": row("No.")}) + "\n", encoding="utf-8")
    files = [tmp_path / "train.jsonl", tmp_path / "validation.jsonl"]
    found = read_rows(Tokenizer(marked), files)
    assert [(file.name, len(file.rows)) for file in found.files] == [(file.name, 1) for file in files]
    assert (found.marked, found.warnings) == (True, ())
    opening = read_rows(Tokenizer(marked.replace(BEGIN, "") + OPENS.removeprefix(TURNS)), files)
    assert not opening.marked
    assert len(opening.warnings) == len(files)


def test_a_model_without_a_chat_template_is_refused() -> None:
    with pytest.raises(InputError, match="NoChatTemplate"):
        read_rows(Tokenizer(""), [])
