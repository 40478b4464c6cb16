"""Pushing to S3: the real s3fs and botocore against moto's S3 server."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.trained import (
    PUSHED,
    SHARDS,
    TRAINED,
    check_fetched,
    files_of,
    push,
    train,
    words_of,
)
from tests.unit.worker.support.weights import tensors

from safety_worker.errors import InfrastructureError, InputError

URI = "s3://bucket/models/small"
SECRET = "topsecret" * 3


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(moto: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    s3fs.S3FileSystem.clear_instance_cache()
    httpx.post(f"{moto}/moto-api/reset").raise_for_status()
    workplace.environment["TOKEN"] = credentials(moto)
    train(workplace)
    client = s3fs.S3FileSystem(key="a", secret="b", endpoint_url=moto, skip_instance_cache=True)
    client.mkdir("bucket")
    return client


def credentials(url: str) -> str:
    lines = [f"aws_access_key_id = AKID\naws_secret_access_key = {SECRET}", f"endpoint_url = {url}"]
    return "\n".join(["[default]", *lines, "region = us-east-1\n"])


def at(client: s3fs.S3FileSystem, prefix: str = "models/small") -> dict[str, bytes]:
    client.invalidate_cache()
    base = f"bucket/{prefix}/"
    return {key.removeprefix(base): client.cat_file(key) for key in client.find(base)}


def test_what_was_pushed_is_fetched_with_the_same_digest(
    client: s3fs.S3FileSystem, workplace: Workplace
) -> None:
    digest = train(workplace)
    result = push(workplace, URI)
    assert {*at(client)} == PUSHED
    assert digest.encode() in at(client)["manifest.json"]
    assert result.pushed is not None
    assert (result.pushed.uri, result.pushed.revision) == (URI, "")
    check_fetched(workplace, URI, digest, token_env="TOKEN")


def test_a_file_that_goes_in_parts_has_its_digest_as_well(
    client: s3fs.S3FileSystem, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda *_, **__: 5 * 1024 * 1024)
    weights = tensors(bytes(11 * 1024 * 1024))
    (workplace.artifacts / TRAINED / SHARDS[0]).write_bytes(weights)
    push(workplace, URI)
    assert at(client)[SHARDS[0]] == weights
    assert client.info(f"bucket/models/small/{SHARDS[0]}")["ETag"].endswith('-3"'), "in three parts"
    assert push(workplace, URI).rows == 0


def test_what_is_there_is_not_sent_again(client: s3fs.S3FileSystem, workplace: Workplace) -> None:
    push(workplace, URI)
    before = client.info(f"bucket/models/small/{SHARDS[0]}")
    assert push(workplace, f"{URI}/").rows == 0
    client.invalidate_cache()
    assert client.info(f"bucket/models/small/{SHARDS[0]}") == before


def test_a_push_that_broke_off_goes_on_with_the_files_that_are_missing(
    client: s3fs.S3FileSystem, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put = s3fs.S3FileSystem._put_file

    async def put_until(system: Any, local: str, remote: str, **more: Any) -> None:
        if len(sent) == 3:
            raise OSError("the node is gone")
        await put(system, local, remote, **more)
        sent.append(remote)

    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_put_file", put_until)
        with pytest.raises(InfrastructureError, match="the node is gone"):
            push(workplace, URI)
    s3fs.S3FileSystem.clear_instance_cache()
    assert len(at(client)) == 3
    assert "manifest.json" not in at(client), "it says that all is there"
    assert push(workplace, URI).rows == len(PUSHED) - 3
    assert {*at(client)} == PUSHED


def test_another_model_is_refused_and_left_as_it_is(client: s3fs.S3FileSystem, workplace: Workplace) -> None:
    push(workplace, URI)
    before = at(client)
    train(workplace, fill=1)
    with pytest.raises(InputError, match=r"set output\.push\.replace to true") as caught:
        push(workplace, URI)
    assert caught.value.reason == "TargetTaken"
    assert at(client) == before


def test_a_prefix_that_begins_with_the_same_letters_is_another_one(
    client: s3fs.S3FileSystem, workplace: Workplace
) -> None:
    client.pipe_file("bucket/models/small-2/model.safetensors", b"old")
    push(workplace, URI)
    assert {*at(client, "models/small-2")} == {"model.safetensors"}


def test_another_model_gives_way_where_that_is_allowed_without_a_rest_of_it(
    client: s3fs.S3FileSystem, workplace: Workplace
) -> None:
    for name in ("model.safetensors", "README.md", "LICENSE", "manifest.json"):
        client.pipe_file(f"bucket/models/small/{name}", b"old")
    push(workplace, URI, replace=True)
    assert {*at(client)} == {*PUSHED, "LICENSE"}
    assert at(client)[SHARDS[0]] == files_of()[SHARDS[0]]


@pytest.mark.usefixtures("client")
def test_a_bucket_that_does_not_exist_is_said(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="there is no such bucket: create it") as caught:
        push(workplace, "s3://nobody/has/this")
    assert caught.value.reason == "TargetNotFound"


@pytest.mark.usefixtures("client")
def test_refused_credentials_are_said_and_never_shown(moto: str, workplace: Workplace) -> None:
    httpx.post(f"{moto}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        with pytest.raises(InputError, match="let tokenSecretRef name credentials that may list") as caught:
            push(workplace, URI)
    finally:
        httpx.post(f"{moto}/moto-api/reset-auth", content=b"inf").raise_for_status()
    assert caught.value.reason == "NotWritable"
    assert "topsecret" not in words_of(caught.value)


@pytest.mark.usefixtures("client")
def test_a_store_without_room_is_said(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_arguments: Any, **_more: Any) -> None:
        raise OSError("An error occurred (QuotaExceeded) when calling the PutObject operation")

    monkeypatch.setattr(s3fs.S3FileSystem, "_put_file", refuse)
    with pytest.raises(InputError, match="free some, or raise its quota") as caught:
        push(workplace, URI)
    assert caught.value.reason == "TargetFull"


@pytest.mark.usefixtures("client")
def test_an_unreachable_store_is_infrastructure(workplace: Workplace) -> None:
    workplace.environment["TOKEN"] = credentials("http://127.0.0.1:1")
    with pytest.raises(InfrastructureError) as caught:
        push(workplace, URI)
    assert caught.value.reason == "StorageUnreachable"
    assert "topsecret" not in words_of(caught.value)
