"""Whether a tokenizer belongs to its model: an id without a row in the embeddings ends a server.

Only ``tokenizer.json`` is read; a tokenizer in another form is left to the libraries.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safety_worker.errors import InputError

SHOWN_TOKENS = 3
"""Tokens that a message names."""


def check_tokenizer_fits(folder: Path, uri: str) -> tuple[str, ...]:
    """Compare a tokenizer's ids with the number of tokens in a configuration; both files were checked.

    Returns
    -------
    tuple
        A warning where only added tokens are without embeddings, as padding of some published models is:
        nothing asks for those as a rule.

    Raises
    ------
    InputError
        If the tokenizer's own vocabulary is larger than the model's.
    """
    config, tokenizer = _read(folder / "config.json"), _read(folder / "tokenizer.json")
    rows = _num_rows(config)
    if rows is None:
        return ()
    vocabulary = tokenizer.get("model")
    largest = max(_ids(vocabulary.get("vocab") if isinstance(vocabulary, dict) else None), default=-1)
    if largest >= rows:
        raise InputError(
            "TokenizerDoesNotFit",
            f"{uri}: tokenizer.json has ids up to {largest}, but the model has {rows} embeddings by its "
            "config.json: the tokenizer is another model's, copy the right one",
        )
    added = [item for item in tokenizer.get("added_tokens") or () if isinstance(item, dict)]
    without = [
        str(item.get("content"))[:40] for item in added if _is_id(item.get("id")) and item["id"] >= rows
    ]
    if not without:
        return ()
    names = ", ".join(without[:SHOWN_TOKENS])
    return (f"{len(without)} added tokens have no embeddings ({names}): an input with them ends the server",)


def _read(path: Path) -> Mapping[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return value if isinstance(value, dict) else {}


def _num_rows(config: Mapping[str, Any]) -> int | None:
    text = config.get("text_config")
    parts = (text if isinstance(text, dict) else {}, config)
    return next((part["vocab_size"] for part in parts if _is_id(part.get("vocab_size"))), None)


def _ids(vocabulary: Any) -> Iterable[int]:
    """Ids of a vocabulary: by token, or a list of tokens in their order (Unigram)."""
    if isinstance(vocabulary, dict):
        return (value for value in vocabulary.values() if _is_id(value))
    return range(len(vocabulary)) if isinstance(vocabulary, list) else ()


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
