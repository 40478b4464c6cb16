"""Rows as NeMo-RL gets them: what a server sends, what is learnt behind it, and what of it fits."""

import jinja2
import pytest

from safety_worker.errors import InputError
from safety_worker.training.encoding import EncodedFile, encode_conversations
from safety_worker.training.nemo_rl.rows import Kept, keep_rows

PLAIN = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
OPENS = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content.split('</think>')[-1] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> <think>\n{% endif %}"
)


class Words:
    """A token a word; with ``begin``, one more before every text, as some tokenizers have it."""

    special_tokens_map: dict[str, str] = {}

    def __init__(self, template: str = PLAIN, *, begin: bool = False) -> None:
        self._template = jinja2.Environment(autoescape=False).from_string(template)
        self._begin = ["_"] if begin else []

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt):
        assert not tokenize
        return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt)

    def __call__(self, text, *, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [*self._begin, *text.split()]}

    def decode(self, ids, **_):
        return " ".join(token for token in ids if token != "_")


def conversation(*lengths):
    roles = ("user", "assistant") * len(lengths)
    return [{"role": role, "content": " ".join("w" * n)} for role, n in zip(roles, lengths, strict=False)]


def keep(*conversations, tokenizer=None, max_length=99, refuse=False) -> Kept:
    words = tokenizer or Words()
    file = EncodedFile("train", list(conversations), encode_conversations(words, conversations, "train"))
    return keep_rows(words, file, marked=False, max_length=max_length, refuse=refuse)


def contents(kept: Kept):
    return [[(turn["role"], " ".join(turn["content"].split())) for turn in row] for row in kept.rows]


def test_a_row_is_a_servers_prompt_and_behind_it_the_last_answer():
    kept = keep(conversation(2, 3, 1, 1))
    prompt = "<user> w w <end> <assistant> w w w <end> <user> w <end> <assistant>"
    assert contents(kept) == [[("user", prompt), ("assistant", "w <end>")]]
    assert (kept.tokens, kept.trained, kept.longest, kept.differing) == (15, 2, 15, 0)


def test_reasoning_that_the_prompt_opens_is_closed_or_gone_on_with():
    thoughtful = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\nt </think> a"}]
    kept = keep(conversation(1, 1), thoughtful, tokenizer=Words(OPENS))
    prompts = ["<user> w <end> <assistant> <think>", "<user> q <end> <assistant> <think>"]
    answers = ["</think> w <end>", "t </think> a <end>"]
    assert contents(kept) == [
        [("user", prompt), ("assistant", answer)] for prompt, answer in zip(prompts, answers, strict=True)
    ]


def test_a_long_answer_is_cut_at_its_end_and_a_long_prompt_costs_the_row():
    kept = keep(conversation(2, 3), conversation(2, 30), conversation(30, 1), max_length=9)
    assert [row[-1][1] for row in contents(kept)] == ["w w w <end>", "w w w w"]
    assert (kept.cut, kept.left_out, kept.tokens, kept.trained, kept.longest) == (1, 1, 18, 8, 9)


def test_long_rows_are_refused_where_that_is_asked_for():
    with pytest.raises(InputError, match=r"1 of 2 rows have more than batch.maxSequenceLength 12 tokens"):
        keep(conversation(2, 3), conversation(2, 30), max_length=12, refuse=True)


def test_rows_that_are_other_tokens_part_by_part_are_counted():
    kept = keep(conversation(2, 3), tokenizer=Words(begin=True))
    assert (kept.differing, kept.tokens) == (1, 11)
