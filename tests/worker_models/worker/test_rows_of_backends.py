"""NeMo-RL learns the tokens that TRL learns, by chat templates of published models."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from safety_records.nemo_rl.rendering import JOINING
from safety_worker.training.data import IGNORED, arrange, has_generation_marks
from safety_worker.training.encoding import EncodedFile, encode_conversations, learn_marked
from safety_worker.training.nemo_rl.rows import keep_rows

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OF_TRL = (
    *("llama3", "llama3_1", "deepseek_r1_distill", "qwen3", "qwen3_5_think", "nemotron_3_nano", "phi3"),
    *("llama3_training", "qwen2_5_training", "qwen3_training", "deepseek_r1_distill_training"),
)
TEMPLATES = {"smollm2": SMOLLM2} | {
    name: resources.files("trl").joinpath("chat_templates", f"{name}.jinja").read_text(encoding="utf-8")
    for name in OF_TRL
}
SPECIAL = (
    *("<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *(
        "<|eot_id|>",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cUser\uff5c>",
        "<\uff5cAssistant\uff5c>",
    ),
    *("<think>", "</think>"),
)
ENDS = {
    "smollm2": "<|im_end|>",
    "qwen": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "deepseek": "<\uff5cend\u2581of\u2581sentence\uff5c>",
}
ASKED, SAID = {"role": "user", "content": "Why <é>?\n"}, {"role": "assistant", "content": " No.\nI will not."}
THOUGHT = {"role": "assistant", "content": "<think>\nHm, why?\n</think>\n\nSo it is."}
SYSTEM = {"role": "system", "content": "Be short."}
TALKS = (
    [ASKED, SAID],
    [ASKED, THOUGHT],
    [SYSTEM, ASKED, SAID],
    [ASKED, THOUGHT, ASKED, THOUGHT],
    [ASKED, SAID, ASKED, SAID, ASKED, {"role": "assistant", "content": "Because. " * 30}],
)


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*SPECIAL], initial_alphabet=alphabet)
    texts = [turn["content"] for talk in TALKS for turn in talk]
    model.train_from_iterator([*texts * 2, "\n\n", " assistant\n", " user\n"], trainer)
    end = next((token for key, token in ENDS.items() if name.startswith(key)), "<|im_end|>")
    begin = (
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>" if name.startswith("deepseek") else "<|begin_of_text|>"
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=model, bos_token=begin, eos_token=end)
    fast.chat_template = TEMPLATES[name]
    return fast


def as_nemo_rl(tokenizer: Any, messages: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Tokens and labels as ``get_formatted_message_log`` and the loss mask of NeMo-RL 0.7.0 make them."""
    ids: list[int] = []
    labels: list[int] = []
    before = ""
    for number, turn in enumerate(messages, 1):
        text = tokenizer.apply_chat_template(
            list(messages[:number]), chat_template=JOINING, tokenize=False, add_special_tokens=False
        )
        found = tokenizer(text=text[len(before) :], add_special_tokens=False)["input_ids"]
        ids += found
        labels += found if turn["role"] == "assistant" else [IGNORED] * len(found)
        before = text
    assert messages[-1]["role"] == "assistant"
    return ids, labels


def as_trl(row: dict[str, Any], limit: int) -> tuple[list[int], list[int]]:
    """Tokens and labels, up to the last that is learnt."""
    ids, labels = row["input_ids"][:limit], row["labels"][:limit]
    end = max(place for place, label in enumerate(labels, 1) if label != IGNORED)
    return ids[:end], labels[:end]


def as_transformers(tokenizer: Any, messages: Sequence[Any]) -> dict[str, Any]:
    """A row by the marks of transformers itself."""
    found = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(found["input_ids"], found["assistant_masks"], strict=True)
    return {"input_ids": found["input_ids"], "labels": [one if mask else IGNORED for one, mask in pairs]}


@pytest.mark.parametrize("limit", [4096, 120])
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_both_backends_learn_the_same_tokens(name: str, limit: int) -> None:
    tokenizer = tokenizer_of(name)
    talks = [list(talk) for talk in TALKS]
    encoded = encode_conversations(tokenizer, talks, "train")
    marked = all(row.whole for row in encoded) and has_generation_marks(TEMPLATES[name])
    file = EncodedFile("train", talks, encoded)
    kept = keep_rows(tokenizer, file, marked=marked, max_length=limit, refuse=False)
    rows = arrange(encoded, learn_marked(tokenizer, file) if marked else None, max_length=limit)
    if marked and not rows.too_long:
        assert rows.rows == [as_transformers(tokenizer, talk) for talk in talks]

    expected = [as_trl(row, limit) for row in rows.rows]
    assert [as_nemo_rl(tokenizer, row) for row in kept.rows] == expected
    assert (kept.left_out, kept.differing) == (rows.too_long, 0)
    assert kept.tokens == sum(len(ids) for ids, _ in expected)
    assert kept.trained == sum(label != IGNORED for _, labels in expected for label in labels)
    assert kept.longest <= limit


@pytest.mark.parametrize("name", ["smollm2", "llama3", "deepseek_r1_distill", "qwen3"])
def test_a_row_ends_with_the_end_of_a_turn_once(name: str) -> None:
    tokenizer = tokenizer_of(name)
    file = EncodedFile("train", [TALKS[0]], encode_conversations(tokenizer, [TALKS[0]], "train"))
    (row,) = keep_rows(tokenizer, file, marked=False, max_length=4096, refuse=False).rows
    assert row[-1]["content"].count(tokenizer.eos_token) == 1
    assert row[-1]["content"].rstrip().endswith(tokenizer.eos_token)
