"""Rows as NeMo-RL tokenises them, turn by turn, and what becomes of those that are too long."""

import pytest
from jinja2 import TemplateError

from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.rows import Ends, count_tokens, keep_rows


class Words:
    """A tokenizer of words whose template writes turns as ``role: words .`` and asks with ``assistant:``."""

    bos_token, eos_token = "<s>", "."

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt=False):
        assert not tokenize
        if len(messages) == 1 and messages[0]["role"] == "system":
            raise TemplateError("a system turn alone")
        text = "".join(f"{m['role']}: {m['content']} . " for m in messages)
        return text.rstrip(" ") + (" assistant: " if add_generation_prompt else "")

    def __call__(self, text, *, add_special_tokens):
        return {"input_ids": text.split()}


def conversation(*lengths):
    roles = ("user", "assistant") * len(lengths)
    return [{"role": role, "content": "w " * n} for role, n in zip(roles, lengths, strict=False)]


def test_the_beginning_of_an_answer_belongs_to_the_turn_that_asks():
    found = count_tokens(Words(), conversation(2, 3), "here")
    assert found.turns == (5, 4)  # user: w w . assistant: | w w w .
    assert found.trained == 4


def test_marks_of_beginning_and_end_are_counted_where_they_are_added():
    rows = conversation(2, 3)
    assert count_tokens(Words(), rows, "here", Ends(bos=True)).total == 9  # it joins the first word
    tokenizer = Words()
    tokenizer.eos_token = " </s>"
    assert count_tokens(tokenizer, rows, "here").total == 10
    assert count_tokens(tokenizer, rows, "here", Ends(eos=False)).total == 9


def test_a_long_conversation_loses_turns_and_a_long_first_answer_its_row():
    rows = [conversation(2, 3), conversation(2, 3, 2, 9), conversation(2, 30)]
    kept = keep_rows(Words(), rows, "train", max_length=12, refuse=False)
    assert [len(row) for row in kept.rows] == [2, 2]
    assert (kept.cut, kept.left_out, kept.longest) == (1, 1, 9)
    assert (kept.tokens, kept.trained) == (18, 8)


def test_a_row_of_as_many_tokens_as_the_sequence_is_too_long():
    kept = keep_rows(Words(), [conversation(2, 3)], "train", max_length=9, refuse=False)
    assert kept.rows == ()


def test_long_rows_are_refused_where_that_is_asked_for():
    with pytest.raises(InputError, match=r"1 of 2 rows have batch.maxSequenceLength 12 tokens or more"):
        keep_rows(Words(), [conversation(2, 3), conversation(2, 30)], "train", max_length=12, refuse=True)


def test_a_template_that_cannot_write_a_beginning_is_refused():
    system = {"role": "system", "content": "be good"}
    with pytest.raises(InputError, match="row 1: the model's chat template refuses its first 1 turns"):
        keep_rows(Words(), [[system, *conversation(1, 1)]], "train", max_length=99, refuse=False)
