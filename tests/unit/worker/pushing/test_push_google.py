"""Pushing to gs://: the real gcsfs against a stand-in for Google's store."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.stand_in_google_store import GoogleStore, google_store
from tests.unit.worker.support.trained import PUSHED, SHARDS, TRAINED, push, train
from tests.unit.worker.support.weights import tensors

from safety_records.result import StageResult
from safety_worker.errors import InfrastructureError, InputError

URI = "gs://bucket/models/small"


@pytest.fixture
def store(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[GoogleStore]]:
    train(workplace)
    with google_store(monkeypatch, {}) as handler:
        yield handler


def send(workplace: Workplace, uri: str = URI, **fields: Any) -> StageResult:
    """Push with the pod's own credentials: an emulator asks for none."""
    return push(workplace, uri, token_env="", **fields)


def names(store: type[GoogleStore]) -> set[str]:
    return {name.removeprefix("models/small/") for name in store.objects}


def test_what_was_pushed_is_fetched_with_the_same_digest(
    store: type[GoogleStore], workplace: Workplace
) -> None:
    digest = train(workplace)
    pushed = send(workplace).pushed
    assert pushed is not None
    assert (pushed.uri, pushed.revision) == (URI, "")
    assert names(store) == PUSHED
    assert store.uploads[-1] == "models/small/manifest.json", "a prefix with it is complete"
    fetched = workplace.run("fetch", uri=URI).output
    assert fetched is not None
    assert fetched.digest == digest


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs sends 50 MiB at a time
def test_a_large_file_arrives_whole_and_nothing_is_sent_twice(
    store: type[GoogleStore], workplace: Workplace
) -> None:
    weights = tensors(bytes(6 * 1024 * 1024))
    (workplace.artifacts / TRAINED / SHARDS[0]).write_bytes(weights)
    send(workplace)
    assert store.objects[f"models/small/{SHARDS[0]}"] == weights
    assert f"models/small/{SHARDS[0]}" in store.parts, "sent in parts"
    assert send(workplace).rows == 0
    assert len(store.uploads) == len(PUSHED)


def test_another_model_gives_way_only_where_that_is_allowed(
    store: type[GoogleStore], workplace: Workplace
) -> None:
    store.objects |= {f"models/small/{name}": b"old" for name in ("model.safetensors", "LICENSE")}
    with pytest.raises(InputError, match="holds something else") as caught:
        send(workplace)
    assert caught.value.reason == "TargetTaken"
    send(workplace, replace=True)
    assert names(store) == {*PUSHED, "LICENSE"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_said(status: int, store: type[GoogleStore], workplace: Workplace) -> None:
    store.status = status
    with pytest.raises(InputError) as caught:
        send(workplace)
    assert caught.value.reason == "NotWritable"


@pytest.mark.usefixtures("store")
def test_a_bucket_that_does_not_exist_is_said(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="no such bucket") as caught:
        send(workplace, "gs://nobody/has/this")
    assert caught.value.reason == "TargetNotFound"


def test_a_file_that_arrives_otherwise_is_told_and_tried_again(
    store: type[GoogleStore], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = store._keep
    monkeypatch.setattr(store, "_keep", lambda self, name, content: keep(self, name, content + b"x"))
    with pytest.raises(InfrastructureError) as caught:
        send(workplace)
    assert caught.value.reason == "StorageUnreachable"
