"""Models and data from gs://: the real gcsfs against a fake of Google's JSON interface."""

import base64
import contextlib
import hashlib
import importlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from tests.unit.worker.conftest import Workplace, resolve_files
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


class Handler(BaseHTTPRequestHandler):
    """Objects of one bucket: lists, describes and gives them."""

    objects: ClassVar[dict[str, bytes]] = {}
    ranges: ClassVar[list[str]] = []
    status: ClassVar[int] = 200

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has enough
            super().handle()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = re.fullmatch(r"(/download)?/storage/v1/b/bucket(/o)?(?:/(.+))?", parts.path)
        if self.status != 200 or found is None:
            self._answer(self.status if self.status != 200 else 404, b'{"error": {"message": "no"}}')
        elif found[3] is None:
            prefix = parse_qs(parts.query).get("prefix", [""])[0]
            items = [self._describe(name) for name in sorted(self.objects) if name.startswith(prefix)]
            self._answer(200, json.dumps({"kind": "storage#objects", "items": items}).encode())
        elif unquote(found[3]) not in self.objects:
            self._answer(404, b'{"error": {"message": "no such object"}}')
        elif found[1]:
            self._content(self.objects[unquote(found[3])])
        else:
            self._answer(200, json.dumps(self._describe(unquote(found[3]))).encode())

    def _describe(self, name: str) -> dict[str, Any]:
        digest = base64.b64encode(hashlib.md5(self.objects[name], usedforsecurity=False).digest()).decode()
        size = str(len(self.objects[name]))
        return {"name": name, "bucket": "bucket", "size": size, "md5Hash": digest, "etag": digest}

    def _content(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        self.ranges.append(self.headers.get("Range", ""))
        start, end = (int(wanted[1]), int(wanted[2] or len(content) - 1)) if wanted else (0, len(content) - 1)
        self._answer(206 if wanted else 200, content[start : end + 1])

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    handler = type("Own", (Handler,), {"objects": dict(MODEL), "ranges": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv(
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false"
    )  # as BucketPlace does, which sets it for good
    importlib.import_module("gcsfs").GCSFileSystem.clear_instance_cache()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_comes_in_ranges(
    store: type[Handler], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RANGE_BYTES", 200_000)
    output = workplace.run("fetch", uri="gs://bucket/small").output
    assert output is not None
    folder = workplace.artifacts / output.uri
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == wanted
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert {"bytes=0-199999", "bytes=200000-399999", f"bytes=400000-{len(WEIGHTS) - 1}"} <= set(store.ranges)


def test_data_come_by_prefix_and_by_object(store: type[Handler], workplace: Workplace) -> None:
    store.objects["data/a.jsonl"] = store.objects["data/more/b.jsonl"] = b'{"prompt": "x"}\n'
    found = resolve_files("gs://bucket/data", workplace.context)
    assert [file.name for file in found] == ["a.jsonl", "more/b.jsonl"]
    (one,) = resolve_files("gs://bucket/data/a.jsonl", workplace.context)
    assert one.name == "a.jsonl"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_said(status: int, store: type[Handler], workplace: Workplace) -> None:
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
