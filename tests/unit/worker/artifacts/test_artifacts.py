"""The artifact store and the fetch stage: exact, atomic, idempotent."""

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_hub import FakeHub
from tests.unit.worker.support.weights import gguf, tensors

from safety_records.manifest import ManifestFile
from safety_records.result import StageResult
from safety_worker.artifacts.digests import build_manifest, digest_of
from safety_worker.artifacts.files import atomic_write, inside
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.models.model_folder import max_length
from safety_worker.stages.fetch import model_lock

MODEL = {
    "config.json": json.dumps({"max_position_embeddings": 2048}),
    "model.safetensors": tensors(b"weights").decode(),
    "tokenizer.json": "{}",
    "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}),
}


def result(inputs_hash: str = "h") -> StageResult:
    return StageResult(stage="generate", inputs_hash=inputs_hash)


def test_the_digest_is_the_documented_one() -> None:
    a, b = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    files = [ManifestFile(path="b/y", size=1, sha256=b), ManifestFile(path="a", size=1, sha256=a)]
    expected = hashlib.sha256(f"a\0{a}\nb/y\0{b}\n".encode()).hexdigest()
    assert digest_of(files) == f"sha256:{expected}"
    assert digest_of(reversed(files)) == digest_of(files)


@given(
    st.dictionaries(
        st.from_regex(r"[a-zé]{1,4}(/[a-z]{1,3})?", fullmatch=True), st.binary(max_size=9), max_size=5
    )
)
def test_the_digest_depends_on_names_and_content_only(tmp_path_factory: Any, files: dict[str, bytes]) -> None:
    files = {name: data for name, data in files.items() if not any(o.startswith(f"{name}/") for o in files)}
    manifests = []
    for order in (list(files), list(files)[::-1]):
        folder = tmp_path_factory.mktemp("d")
        for name in order:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(files[name])
        (folder / ".tmp-half").write_bytes(b"unfinished")
        manifests.append(build_manifest(folder))
    assert manifests[0] == manifests[1]
    assert [file.path for file in manifests[0].files] == sorted(files, key=str.encode)


def test_readers_of_a_file_that_is_written_again_and_again_never_see_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([n]) * 100_000 for n in range(8)]
    atomic_write(path, versions[0])
    seen = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions * 5:
        atomic_write(path, version)
    done.set()
    reader.join()
    assert seen <= set(versions)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd"])
def test_paths_stay_inside_their_root(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not inside"):
        inside(tmp_path, path)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/root")


def test_a_completed_folder_gives_its_result_back(store: ArtifactStore) -> None:
    folder = store.output("ns/run/stage")
    (folder / "deep").mkdir()
    (folder / "deep/rows.jsonl").write_text("row\n")
    assert store.load_result("ns/run/stage", "h") is None
    done = store.complete("ns/run/stage", result())
    assert done.output.bytes == 4
    assert store.load_result("ns/run/stage", "h") == done
    assert store.load_result("ns/run/stage", "other") is None
    assert (store.input("ns/run/stage") / "deep/rows.jsonl").read_text() == "row\n"


def test_a_folder_without_a_manifest_is_not_read(workplace: Workplace) -> None:
    (workplace.context.store.output("ns/s") / "rows").write_text("x")
    with pytest.raises(InfrastructureError, match=r"manifest\.json"):
        workplace.context.store.input("ns/s")


@pytest.mark.parametrize("damage", ["longer", "flipp", None])
def test_a_damaged_folder_is_not_read(damage: str | None, workplace: Workplace) -> None:
    store = workplace.context.store
    path = store.output("ns/s") / "rows"
    path.write_text("intac")
    store.complete("ns/s", result())
    path.unlink() if damage is None else path.write_text(damage)
    with pytest.raises(InfrastructureError, match="ns/s/rows"):
        store.input("ns/s")


@pytest.mark.parametrize("root", ["s3://bucket/x", "artifacts", "file://host/x"])
def test_a_store_that_is_no_folder_is_an_input_error(root: str) -> None:
    with pytest.raises(InputError, match="claim"):
        ArtifactStore(root)


def write_model(folder: Path, **changes: str | None) -> Path:
    folder.mkdir(parents=True)
    for name, content in (MODEL | changes).items():
        if content is not None:
            (folder / name).write_text(content)
    (folder / "README.md").write_text("not part of the model")
    return folder


def fetch(workplace: Workplace, uri: str, **fields: Any) -> StageResult:
    return workplace.run("fetch", uri=uri, **fields)


def test_a_fetched_model_is_under_its_digest(workplace: Workplace) -> None:
    write_model(workplace.inputs / "small")
    got = fetch(workplace, f"file://{workplace.inputs}/small")
    assert got.max_length == 2048
    assert got.output.uri == f"demo/models/{got.output.digest.removeprefix('sha256:')}"
    folder = workplace.context.store.input(got.output.uri)
    assert sorted(p.name for p in folder.iterdir()) == sorted([*MODEL, "manifest.json"])
    assert build_manifest(folder).digest == got.output.digest
    leftovers = [p.name for p in (workplace.artifacts / "demo/models").iterdir() if p.name.startswith(".tmp")]
    assert not leftovers


def test_the_same_model_from_two_places_is_stored_once(workplace: Workplace) -> None:
    write_model(workplace.inputs / "a")
    write_model(workplace.inputs / "b")
    one = fetch(workplace, f"file://{workplace.inputs}/a", out="demo/e/1/fetch")
    two = fetch(workplace, f"file://{workplace.inputs}/b", out="demo/e/2/fetch")
    assert one.output == two.output
    assert len([p for p in (workplace.artifacts / "demo/models").iterdir() if p.name != "by-source"]) == 1


def test_one_pod_at_a_time_fetches_a_model(tmp_path: Path) -> None:
    lock = tmp_path / "by-source/model.lock"
    waited = threading.Event()
    order: list[str] = []

    def second() -> None:
        with model_lock(lock, waited.set):
            order.append("second")

    with model_lock(lock, lambda: None):
        other = threading.Thread(target=second)
        other.start()
        assert waited.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_changed_model_has_another_digest(workplace: Workplace) -> None:
    folder = write_model(workplace.inputs / "pvc/a/m")
    one = fetch(workplace, "pvc://a/m", out="demo/e/1/fetch")
    (folder / "model.safetensors").write_bytes(tensors(b"other weights"))
    two = fetch(workplace, "pvc://a/m", out="demo/e/2/fetch", inputs_hash="two")
    assert one.output.digest != two.output.digest


def test_a_half_installed_model_is_replaced(workplace: Workplace) -> None:
    write_model(workplace.inputs / "pvc/a/m")
    one = fetch(workplace, "pvc://a/m", out="demo/e/1/fetch")
    folder = workplace.context.store.path(one.output.uri)
    (folder / "manifest.json").unlink()
    (folder / "model.safetensors").unlink()
    fetch(workplace, "pvc://a/m", out="demo/e/2/fetch")
    assert (workplace.context.store.input(one.output.uri) / "model.safetensors").read_bytes() == tensors(
        b"weights"
    )


@pytest.mark.parametrize("config", ["text_config", "no object", "flag"])
def test_a_configuration_without_a_length_says_none(config: str, workplace: Workplace) -> None:
    content = {
        "text_config": {"text_config": ["x"]},
        "no object": {"text_config": "x"},
        "flag": {"n_positions": True},
    }[config]
    write_model(workplace.inputs / "pvc/a/m", **{"config.json": json.dumps(content)})
    assert fetch(workplace, "pvc://a/m").max_length is None


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({"config.json": None}, "NoModelConfig", "config.json"),
        ({"config.json": "{"}, "UnreadableModel", "no valid JSON"),
        ({"model.safetensors": None}, "NoSafetensors", "no weights"),
        ({"model.safetensors": None, "pytorch_model.bin": "x"}, "NoSafetensors", "convert them"),
        ({"tokenizer.json": None}, "NoTokenizer", "tokenizer.json"),
        ({"tokenizer_config.json": "{}"}, "NoChatTemplate", "instruction-tuned"),
    ],
)
def test_what_a_model_lacks_is_said(
    changes: dict[str, str | None], reason: str, remedy: str, workplace: Workplace
) -> None:
    write_model(workplace.inputs / "pvc/a/m", **changes)
    with pytest.raises(InputError, match=remedy) as caught:
        fetch(workplace, "pvc://a/m")
    assert caught.value.reason == reason
    assert "pvc://a/m" in caught.value.message


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_a_chat_template_may_have_its_own_file(name: str, workplace: Workplace) -> None:
    write_model(workplace.inputs / "pvc/a/m", **{"tokenizer_config.json": "{}", name: "{}"})
    assert fetch(workplace, "pvc://a/m").rows == 5


def test_a_guard_that_gets_raw_prompts_needs_no_chat_template(workplace: Workplace) -> None:
    write_model(workplace.inputs / "pvc/a/m", **{"tokenizer_config.json": "{}"})
    assert fetch(workplace, "pvc://a/m", chat=False).rows == 4


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("pvc://nothing/here", "NotFound"),
        ("configmap://a/b", "UnknownScheme"),
        ("package://json/decoder.py", "NotAModel"),
        ("memory://empty/model", "NotFound"),
    ],
)
def test_a_uri_that_names_no_model_is_said(uri: str, reason: str, workplace: Workplace) -> None:
    with pytest.raises(InputError) as caught:
        fetch(workplace, uri)
    assert caught.value.reason == reason


def test_a_model_comes_from_a_bucket(workplace: Workplace) -> None:
    memory = fsspec.filesystem("memory")
    for name, content in MODEL.items():
        memory.pipe_file(f"/models/small/{name}", content.encode())
    memory.pipe_file("/models/small/README.md", b"no part of it")
    write_model(workplace.inputs / "pvc/a/m")
    there = fetch(workplace, "memory://models/small", out="demo/e/1/fetch")
    assert there.output.digest == fetch(workplace, "pvc://a/m", out="demo/e/2/fetch").output.digest


@pytest.fixture
def hub(workplace: Workplace) -> Iterator[FakeHub]:
    files = {name: content.encode() for name, content in MODEL.items()}
    with FakeHub({**files, "pytorch_model.bin": b"code"}, revision="v1") as server:
        workplace.environment["HF_ENDPOINT"] = server.endpoint
        yield server


def test_a_hub_model_is_downloaded_once_per_commit(workplace: Workplace, hub: FakeHub) -> None:
    one = fetch(workplace, "hf://org/small@v1", out="demo/e/1/fetch")
    two = fetch(workplace, "hf://org/small@v1", out="demo/e/2/fetch")
    assert one.output == two.output
    assert sorted(hub.downloads) == sorted(MODEL)
    hub.files["model.safetensors"], hub.commit = tensors(b"others"), "b" * 40
    three = fetch(workplace, "hf://org/small@v1", out="demo/e/3/fetch")
    assert three.output.digest != one.output.digest


def test_a_guard_in_the_store_cannot_be_asked_to_chat(workplace: Workplace, hub: FakeHub) -> None:
    hub.files["tokenizer_config.json"] = b"{}"
    fetch(workplace, "hf://org/small@v1", out="demo/e/1/fetch", chat=False)
    with pytest.raises(InputError, match="instruction-tuned"):
        fetch(workplace, "hf://org/small@v1", out="demo/e/2/fetch")


def test_two_pods_that_want_the_same_model_download_it_once(
    workplace: Workplace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_worker.models.model_store.LOCK_POLL_SECONDS", 0.01)
    results: dict[int, StageResult] = {}

    def pod(number: int) -> None:
        results[number] = fetch(workplace, "hf://org/small@v1", out=f"demo/e/{number}/fetch")

    pods = [threading.Thread(target=pod, args=(number,)) for number in range(3)]
    for thread in pods:
        thread.start()
    for thread in pods:
        thread.join()
    assert len({result.output.digest for result in results.values()}) == 1
    assert len(results) == 3
    assert sorted(hub.downloads) == sorted(MODEL)


@pytest.mark.usefixtures("hub")
def test_a_missing_hub_token_is_said(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="TOKEN"):
        fetch(workplace, "hf://org/small@v1", token_env="TOKEN")


def test_a_gguf_file_is_converted(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace.inputs / "pvc/a").mkdir(parents=True)
    (workplace.inputs / "pvc/a/m.gguf").write_bytes(gguf())

    def convert(path: Path, folder: Path) -> None:
        assert path.name == "m.gguf"
        for name, content in MODEL.items():
            (folder / name).write_text(content)

    monkeypatch.setattr("safety_worker.models.sources.load", lambda _: convert)
    assert fetch(workplace, "pvc://a/m.gguf").max_length == 2048


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
        ({}, None),
        ({"max_position_embeddings": "many"}, None),
    ],
)
def test_the_longest_sequence_comes_from_the_configuration(
    config: dict[str, Any], expected: int | None
) -> None:
    assert max_length(config) == expected
