"""Tokenizers that belong to another model: refused before a server or a trainer finds an id without a row."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.weights import tensors

from safety_worker.errors import InputError

BPE = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2}}}
UNIGRAM = {"model": {"type": "Unigram", "vocab": [["a", 0.1], ["b", 0.2], ["c", 0.3]]}}


def fetch(workplace: Workplace, config: dict[str, Any], tokenizer: dict[str, Any]) -> Any:
    folder: Path = workplace.inputs / "pvc/models/small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(tensors(b"weights", names=("w",)))
    return workplace.run("fetch", uri="pvc://models/small", chat=False)


@pytest.mark.parametrize("tokenizer", [BPE, UNIGRAM, {}, {"model": {"vocab": {"a": "x"}}}])
@pytest.mark.parametrize(
    "config", [{"vocab_size": 3}, {"vocab_size": 64}, {"text_config": {"vocab_size": 3}}, {}]
)
def test_a_tokenizer_that_fits_says_nothing(
    config: dict[str, Any], tokenizer: dict[str, Any], workplace: Workplace
) -> None:
    assert fetch(workplace, config, tokenizer).warnings == ()


@pytest.mark.parametrize("tokenizer", [BPE, UNIGRAM])
@pytest.mark.parametrize("config", [{"vocab_size": 2}, {"vocab_size": 99, "text_config": {"vocab_size": 2}}])
def test_a_vocabulary_that_is_larger_than_the_embeddings_is_refused(
    config: dict[str, Any], tokenizer: dict[str, Any], workplace: Workplace
) -> None:
    with pytest.raises(InputError, match=r"ids up to 2, but the model has 2 embeddings"):
        fetch(workplace, config, tokenizer)


def test_added_tokens_without_embeddings_are_a_warning(workplace: Workplace) -> None:
    tokenizer = {**BPE, "added_tokens": [{"id": 2, "content": "c"}, {"id": 3, "content": "<pad>"}]}
    (warning,) = fetch(workplace, {"vocab_size": 3}, tokenizer).warnings
    assert "1 added tokens have no embeddings (<pad>)" in warning
