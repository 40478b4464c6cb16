"""Rows as tokens and batches, without a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from safety_worker.errors import InputError
from safety_worker.models import rendering
from safety_worker.rows import Message
from safety_worker.screening.anchors import Anchor
from safety_worker.screening.encoding import batches_by_length, common_prefix, encode_rows

CAT = Anchor(name="", prompt="what is it", answer="a cat")


class WordTokenizer:
    """A token per word."""

    def __init__(self, beginning: str = "<a>") -> None:
        self.words: dict[str, int] = {}
        self.beginning = beginning

    def apply_chat_template(self, turns, *, tokenize, add_generation_prompt):
        assert not tokenize
        if turns[0]["role"] == "system":
            raise TemplateError("no system turns, please")
        marks = {"user": "<u>", "assistant": "<a>"}
        text = " ".join(f"{marks[m['role']]} {m['content']} <end>" for m in turns)
        return f"{text} {self.beginning}" if add_generation_prompt else text

    def __call__(self, texts, *, add_special_tokens):
        assert not add_special_tokens
        ids = [[self.words.setdefault(w, len(self.words)) for w in text.split()] for text in texts]
        return {"input_ids": ids}


def test_the_response_begins_behind_the_templates_beginning_of_an_answer() -> None:
    (row,) = encode_rows(WordTokenizer(), [CAT])
    assert len(row.ids) == len(["<u>", "what", "is", "it", "<end>", "<a>", "a", "cat", "<end>"])
    assert row.start == len(["<u>", "what", "is", "it", "<end>", "<a>"])


def test_the_response_closes_reasoning_that_the_template_opens() -> None:
    tokenizer = WordTokenizer("<a> <think>")
    (row,) = encode_rows(tokenizer, [CAT])
    words = ["<u>", "what", "is", "it", "<end>", "<a>", "<think>", "</think>", "a", "cat", "<end>"]
    assert row.ids == [tokenizer.words[word] for word in words]
    assert row.start == 7


def test_earlier_turns_are_part_of_the_row_and_the_response_is_its_last_turn() -> None:
    earlier = (Message(role="user", content="hello"), Message(role="assistant", content="good day"))
    tokenizer = WordTokenizer()
    (row,) = encode_rows(tokenizer, [CAT.model_copy(update={"context": earlier})])
    words = [
        "<u>",
        "hello",
        "<end>",
        "<a>",
        "good",
        "day",
        "<end>",
        "<u>",
        "what",
        "is",
        "it",
        "<end>",
        "<a>",
        "a",
        "cat",
        "<end>",
    ]
    assert row.ids == [tokenizer.words[word] for word in words]
    assert row.start == words.index("cat") - 1


def test_a_row_that_the_template_refuses_has_no_tokens_and_spoils_no_other() -> None:
    system = CAT.model_copy(update={"context": (Message(role="system", content="be kind"),)})
    rows = encode_rows(WordTokenizer(), [CAT, system, CAT])
    assert [len(row.ids) for row in rows] == [9, 0, 9]
    assert [row.start for row in rows] == [6, 0, 6]


def test_no_rows_are_no_tokens() -> None:
    assert encode_rows(WordTokenizer(), []) == []


@pytest.mark.parametrize(
    ("one", "other", "length"), [([1, 2], [1, 2, 3], 2), ([1, 9], [1, 2], 1), ([], [1], 0), ([1], [1], 1)]
)
def test_common_prefix(one: list[int], other: list[int], length: int) -> None:
    assert common_prefix(one, other) == length


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(16, 600))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = batches_by_length(lengths, budget)
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= budget
    flat = [lengths[n] for batch in batches for n in batch]
    assert flat == sorted(flat, reverse=True)


def test_rows_of_like_length_waste_little() -> None:
    lengths = [20 + (n * 37) % 180 for n in range(256)]
    batches = batches_by_length(lengths, 4096)
    padded = sum(len(batch) * max(lengths[n] for n in batch) for batch in batches)
    assert padded < 1.15 * sum(lengths)


def test_a_template_that_costs_too_much_ends_the_stage_at_its_first_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "MAX_CHARACTERS", 10)
    with pytest.raises(InputError, match=r"screening: .* 24 characters .*set model.chatTemplate") as caught:
        encode_rows(WordTokenizer(), [CAT])
    assert caught.value.reason == "InvalidChatTemplate"
