"""Models and data from gs://: the real gcsfs against a fake of Google's JSON interface."""

import json
from collections.abc import Iterator

import pytest
from tests.unit.worker.conftest import Workplace, resolve_files
from tests.unit.worker.stand_in_google_store import GoogleStore, google_store
from tests.unit.worker.support.weights import tensors

from safety_worker.errors import InputError
from safety_worker.transport import bucket

WEIGHTS = tensors(bytes(range(256)) * 2_000)
MODEL = {
    "small/config.json": json.dumps({"max_position_embeddings": 64}).encode(),
    "small/model.safetensors": WEIGHTS,
    "small/tokenizer.json": b"{}",
    "small/chat_template.jinja": b"{{ messages }}",
    "small/README.md": b"no part of it",
}
SECRET = "topsecret" * 3


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[GoogleStore]]:
    with google_store(monkeypatch, MODEL) as handler:
        yield handler


def test_a_model_comes_in_ranges(
    store: type[GoogleStore], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RANGE_BYTES", 200_000)
    output = workplace.run("fetch", uri="gs://bucket/small").output
    assert output is not None
    folder = workplace.artifacts / output.uri
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == wanted
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert {"bytes=0-199999", "bytes=200000-399999", f"bytes=400000-{len(WEIGHTS) - 1}"} <= set(store.ranges)


def test_data_come_by_prefix_and_by_object(store: type[GoogleStore], workplace: Workplace) -> None:
    store.objects["data/a.jsonl"] = store.objects["data/more/b.jsonl"] = b'{"prompt": "x"}\n'
    found = resolve_files("gs://bucket/data", workplace.context)
    assert [file.name for file in found] == ["a.jsonl", "more/b.jsonl"]
    (one,) = resolve_files("gs://bucket/data/a.jsonl", workplace.context)
    assert one.name == "a.jsonl"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_said(status: int, store: type[GoogleStore], workplace: Workplace) -> None:
    store.status = status
    with pytest.raises(InputError) as caught:
        workplace.run("fetch", uri="gs://bucket/small")
    assert caught.value.reason == "NotReadable"


@pytest.mark.usefixtures("store")
def test_what_does_not_exist_is_said(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="check the bucket and the prefix"):
        workplace.run("fetch", uri="gs://bucket/nothing")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("content", [SECRET, f'["{SECRET}"]', f'{{"private_key": "{SECRET}"}}'])
def test_credentials_of_another_form_are_said_and_never_shown(content: str, workplace: Workplace) -> None:
    workplace.environment["KEYS"] = content
    with pytest.raises(InputError, match="JSON of a service account") as caught:
        workplace.run("fetch", uri="gs://bucket/small", token_env="KEYS")
    assert "topsecret" not in caught.value.message
