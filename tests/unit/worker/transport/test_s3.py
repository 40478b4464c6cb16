"""Models and data from S3: the real s3fs and botocore against moto's S3 server."""

import json
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from tests.unit.worker.conftest import Workplace, resolve_files
from tests.unit.worker.support.fake_web import CuttingProxy
from tests.unit.worker.support.weights import tensors

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport import bucket, download

WEIGHTS = tensors(bytes(range(256)) * 8_000)  # 2 MB
MODEL = {
    "config.json": json.dumps({"max_position_embeddings": 64}).encode(),
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "README.md": b"no part of it",
    "sub/other.safetensors": b"of another model",
}
SECRET = "topsecret" * 3


class Store:
    """A bucket with a model, and the credentials file for it."""

    def __init__(self, url: str, client: s3fs.S3FileSystem) -> None:
        self.url = url
        self.client = client
        self.client.invalidate_cache()
        self.client.mkdir("bucket", acl="public-read")

    def put(self, prefix: str, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            self.client.pipe_file(f"bucket/{prefix}/{name}", content)

    def credentials(self, **other: str) -> str:
        values = {
            "aws_access_key_id": "AKIDEXAMPLE",
            "aws_secret_access_key": SECRET,
            "endpoint_url": self.url,
            "region": "us-east-1",
        }
        return "[default]\n" + "".join(
            f"{key} = {value}\n" for key, value in (values | other).items() if value
        )


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _no_ambient_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def client(moto: str) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(key="AKIDEXAMPLE", secret=SECRET, endpoint_url=moto, skip_instance_cache=True)


@pytest.fixture
def store(moto: str, client: s3fs.S3FileSystem, workplace: Workplace) -> Store:
    httpx.post(f"{moto}/moto-api/reset").raise_for_status()
    store = Store(moto, client)
    store.put("small", MODEL)
    workplace.environment["KEYS"] = store.credentials()
    return store


def fetch(workplace: Workplace, uri: str = "s3://bucket/small", token_env: str = "KEYS") -> Any:
    return workplace.run("fetch", uri=uri, token_env=token_env).output


def words_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.usefixtures("store")
def test_a_model_comes_from_a_store_of_ones_own(workplace: Workplace) -> None:
    output = fetch(workplace)
    folder = workplace.artifacts / output.uri
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == wanted
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert fetch(workplace, "s3://bucket/small/").digest == output.digest


def test_data_come_by_prefix_or_by_object(store: Store, workplace: Workplace) -> None:
    line = b'{"prompt": "x"}\n'
    store.put("data", {"b.jsonl": line, "more/a.jsonl": line, "notes.bin": b"no data"})
    found = resolve_files("s3://bucket/data", workplace.context, "KEYS")
    assert [file.name for file in found] == ["b.jsonl", "more/a.jsonl"]
    (one,) = resolve_files("s3://bucket/data/b.jsonl", workplace.context, "KEYS")
    assert (one.name, one.path.read_bytes()) == ("b.jsonl", line)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("uri", ["s3://bucket/nothing", "s3://nobody/has/this"])
def test_what_does_not_exist_is_said(uri: str, workplace: Workplace) -> None:
    with pytest.raises(InputError, match="check the bucket and the prefix"):
        fetch(workplace, uri)


def test_refused_credentials_are_said_and_never_shown(store: Store, workplace: Workplace) -> None:
    httpx.post(f"{store.url}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        with pytest.raises(InputError) as caught:
            fetch(workplace)
    finally:
        httpx.post(f"{store.url}/moto-api/reset-auth", content=b"inf").raise_for_status()
    assert caught.value.reason == "NotReadable"
    assert "check the credentials that tokenSecretRef names" in caught.value.message
    assert "topsecret" not in words_of(caught.value)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        f"aws_access_key_id = a\naws_secret_access_key = {SECRET}",
        f"[default]\naws_secret_access_key = {SECRET}",
        f"[default\naws_secret_access_key = {SECRET}",
        f"[default]\n{SECRET}",
        '{"json": "' + SECRET + '"}',
    ],
)
def test_credentials_of_another_form_are_said_and_never_shown(content: str, workplace: Workplace) -> None:
    workplace.environment["KEYS"] = content
    with pytest.raises(InputError) as caught:
        fetch(workplace)
    assert caught.value.reason == "InvalidCredentials"
    assert "aws_access_key_id = ..." in caught.value.message
    assert "topsecret" not in words_of(caught.value)


def test_without_credentials_a_public_bucket_is_read(
    store: Store, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    assert fetch(workplace, token_env="").digest


def test_keys_of_the_pods_environment_are_used(
    store: Store, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": store.url,
    }.items():
        monkeypatch.setenv(name, value)
        workplace.environment[name] = value
    assert fetch(workplace, token_env="").digest


def test_a_download_that_breaks_off_goes_on_in_the_next_pod(
    store: Store, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RANGE_BYTES", 200_000)
    proxy = CuttingProxy(int(store.url.rpartition(":")[2]))
    try:
        workplace.environment["KEYS"] = store.credentials(endpoint_url=proxy.url)
        proxy.limit = 900_000
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(s3fs.S3FileSystem, "retries", 1)
            with pytest.raises(InfrastructureError):
                fetch(workplace)
        brought = proxy.passed
        assert brought > 400_000
        proxy.limit = 0
        output = fetch(workplace)
        assert (workplace.artifacts / output.uri / "model.safetensors").read_bytes() == WEIGHTS
        assert proxy.passed < len(WEIGHTS) + 600_000, "hardly anything came twice"
    finally:
        proxy.close()


def test_of_the_beginning_of_a_data_set_only_the_first_ranges_come(
    store: Store, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RANGE_BYTES", 100_000)
    content = b"".join(b'{"prompt": "number %d"}\n' % number for number in range(200_000))
    store.put("data", {"a.jsonl": content, "b.jsonl": content})
    proxy = CuttingProxy(int(store.url.rpartition(":")[2]))
    try:
        workplace.environment["KEYS"] = store.credentials(endpoint_url=proxy.url)
        (file,) = resolve_files("s3://bucket/data", workplace.context, "KEYS", max_records=20_000)
        assert file.path.read_bytes() == b"".join(content.splitlines(keepends=True)[:20_000])
        assert (file.name, file.cut) == ("a.jsonl", True)
        assert proxy.passed < 700_000 < len(content), "six ranges of 100 KB, and the listing"
    finally:
        proxy.close()


def test_a_beginning_of_an_object_that_changes_meanwhile_is_infrastructure(
    store: Store, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("data", {"a.jsonl": b'{"prompt": "x"}\n' * 10})
    ask = bucket.BucketPlace._identity
    calls = []

    def change_after_the_first(place: bucket.BucketPlace, key: str) -> str:
        if calls:
            store.put("data", {"a.jsonl": b'{"prompt": "y"}\n' * 10})
        calls.append(key)
        return ask(place, key)

    monkeypatch.setattr(bucket.BucketPlace, "_identity", change_after_the_first)
    with pytest.raises(InfrastructureError, match="changed while it was read"):
        resolve_files("s3://bucket/data", workplace.context, "KEYS", max_records=3)


def test_another_object_under_the_same_name_is_not_continued(
    store: Store, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RANGE_BYTES", 500_000)
    changed = tensors(bytes(reversed(bytes(range(256)))) * 8_000)
    ask = bucket.BucketPlace._identity
    calls = []

    def changing(place: bucket.BucketPlace, key: str) -> str:
        found = ask(place, key)
        if key.endswith("model.safetensors"):
            calls.append(key)
            if len(calls) == 1:
                store.put("small", {"model.safetensors": changed})
        return found

    monkeypatch.setattr(bucket.BucketPlace, "_identity", changing)
    with pytest.raises(InfrastructureError, match="changed while it was read"):
        fetch(workplace)
    output = fetch(workplace)
    assert (workplace.artifacts / output.uri / "model.safetensors").read_bytes() == changed


@pytest.mark.parametrize("name", ["../../evil.jsonl", "a/../../../evil.jsonl", "a\\..\\evil.jsonl"])
def test_a_listing_that_leaves_its_folder_is_refused(name: str, store: Store, workplace: Workplace) -> None:
    store.client.pipe_file(f"bucket/data/{name}", b'{"prompt": "x"}\n')
    with pytest.raises(InputError) as caught:
        resolve_files("s3://bucket/data", workplace.context, "KEYS")
    assert caught.value.reason == "UnsafePath"


def test_an_unreachable_store_is_infrastructure(store: Store, workplace: Workplace) -> None:
    workplace.environment["KEYS"] = store.credentials(endpoint_url="http://127.0.0.1:1")
    with pytest.raises(InfrastructureError) as caught:
        fetch(workplace)
    assert caught.value.reason == "StorageUnreachable"
    assert "topsecret" not in words_of(caught.value)
