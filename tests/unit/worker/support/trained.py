"""A trained model as it is in the store, in two shards, with its card."""

import json
import traceback
from typing import Any

from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.weights import tensors

from safety_records.result import StageResult
from safety_worker.artifacts.digests import build_manifest
from safety_worker.models.model_folder import model_files

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TRAINED = "demo/safetyfinetune/small/run/train-1"


def files_of(fill: int = 0) -> dict[str, bytes]:
    """Content by name; another fill, other weights."""
    weights = [tensors(bytes([fill, index]) * 300_000, names=(name,)) for index, name in enumerate("vw")]
    index = {"metadata": {}, "weight_map": dict(zip("vw", SHARDS, strict=True))}
    return {
        "config.json": b'{"max_position_embeddings": 64}',
        **dict(zip(SHARDS, weights, strict=True)),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "tokenizer.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "README.md": b"# the card",
        "metrics.jsonl": b"no part of it",
    }


PUSHED = {*files_of(), "manifest.json"} - {"metrics.jsonl"}
"""Names that are at a target in the end."""


def train(workplace: Workplace, fill: int = 0) -> str:
    """Put a model into the store; gives its digest."""
    folder = workplace.artifacts / TRAINED
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files_of(fill).items():
        (folder / name).write_bytes(content)
    return build_manifest(folder, paths=model_files(folder)).digest


def push(workplace: Workplace, uri: str, **fields: Any) -> StageResult:
    """Push the model that is in the store now. Each call is another stage, unless ``out`` says otherwise."""
    folder = workplace.artifacts / TRAINED
    digest = build_manifest(folder, paths=model_files(folder)).digest
    number = len(list(folder.parent.glob("push-*")))
    settings = {"model": TRAINED, "digest": digest, "uri": uri, "token_env": "TOKEN", "replace": False}
    out = f"demo/safetyfinetune/small/run/push-{number}"
    return workplace.run("push", **{**settings, "out": out, **fields})


def check_fetched(workplace: Workplace, uri: str, digest: str, **fields: Any) -> None:
    """What was pushed is fetched with the digest that it had."""
    fetched = workplace.run("fetch", uri=uri, **fields).output
    assert fetched is not None
    assert fetched.digest == digest


def words_of(error: BaseException) -> str:
    """All that would be in a log of an error."""
    return "".join(traceback.format_exception(error))
