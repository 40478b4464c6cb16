"""Files of models that are not what their names say, refused before they get a digest."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_hub import FakeHub
from tests.unit.worker.support.weights import gguf, tensors, with_header

from safety_worker.errors import InputError
from safety_worker.models.gguf_header import check_gguf
from safety_worker.models.weights import INDEX, read_tensors

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 7\n" % (b"1f" * 32)
GOOD = {
    "config.json": b'{"max_position_embeddings": 64}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": tensors(b"first", b"second", names=("a", "b"), metadata=True),
}
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SHARDED = {name: content for name, content in GOOD.items() if name != "model.safetensors"} | {
    INDEX: json.dumps({"metadata": {}, "weight_map": {"a": ONE, "b": TWO}}).encode(),
    ONE: tensors(b"first", names=("a",)),
    TWO: tensors(b"second", names=("b",)),
}


def put(workplace: Workplace, files: dict[str, bytes], folder: str = "pvc/models/small") -> Path:
    target = workplace.inputs / folder
    for name, content in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return target


def fetch(workplace: Workplace, uri: str = "pvc://models/small", **fields: Any) -> list[str]:
    output = workplace.run("fetch", uri=uri, **fields).output
    assert output is not None
    return sorted(path.name for path in (workplace.artifacts / output.uri).iterdir())


@pytest.mark.parametrize("files", [GOOD, SHARDED], ids=["one file", "shards"])
def test_whole_models_are_fetched(files: dict[str, bytes], workplace: Workplace) -> None:
    put(workplace, files)
    assert fetch(workplace) == sorted([*files, "manifest.json"])


BAD_FILES = [
    ("PointerFile", {"model.safetensors": POINTER}),
    ("PointerFile", {"tokenizer.json": POINTER}),
    ("PointerFile", {"config.json": POINTER}),
    ("PointerFile", {"chat_template.jinja": POINTER}),
    ("PointerFile", {"vocab.txt": b"/annex/objects/SHA256E-s7--ab.txt"}),
    ("WebPage", {"tokenizer.json": b"<!doctype html><title>Sign in</title>"}),
    ("WebPage", {"model.safetensors": b"\n<html>log in"}),
    ("ErrorAnswer", {"tokenizer_config.json": b'{"error": "Access to this model is restricted"}'}),
    ("ErrorAnswer", {"model.safetensors": b"<Error><Code>AccessDenied</Code></Error>"}),
    ("EmptyFile", {"model.safetensors": b""}),
    ("EmptyFile", {"tokenizer.json": b""}),
    ("UnreadableModel", {"tokenizer.json": b'{"model": {"vocab": {"a": 1'}),
    ("UnreadableModel", {"tokenizer.json": b"\xef\xbb\xbf{}"}),
    ("UnreadableModel", {"config.json": "{}".encode("utf-16")}),
    ("UnreadableModel", {"model.safetensors": b"PK\x03\x04 a checkpoint of torch"}),
    ("UnreadableModel", {"model.safetensors": b"\x1f\x8b\x08 compressed"}),
    ("UnreadableModel", {"model.safetensors": b"no weights at all, just some words that are long enough"}),
    ("UnreadableModel", {"model.safetensors": b"short"}),
    ("UnreadableModel", {"model.safetensors": tensors(metadata=True)}),
    ("UnreadableModel", {"model.safetensors": GOOD["model.safetensors"] + b"more"}),
    ("UnreadableModel", {"model.safetensors": with_header({"a": {"dtype": "F32"}})}),
    ("UnreadableModel", {"model.safetensors": with_header({"a": 5})}),
    (
        "UnreadableModel",
        {
            "model.safetensors": with_header(
                {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}, b"1234"
            )
        },
    ),
    (
        "UnreadableModel",
        {
            "model.safetensors": with_header(
                {"a": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}, b"1234"
            )
        },
    ),
]


@pytest.mark.parametrize(("reason", "changes"), BAD_FILES, ids=[f"{r} {next(iter(c))}" for r, c in BAD_FILES])
def test_a_file_that_is_not_what_its_name_says_is_refused_by_name(
    reason: str, changes: dict[str, bytes], workplace: Workplace
) -> None:
    put(workplace, {**GOOD, **changes})
    with pytest.raises(InputError) as caught:
        fetch(workplace)
    assert caught.value.reason == reason
    assert next(iter(changes)) in caught.value.message
    assert not list((workplace.artifacts / "demo").rglob("*.safetensors"))


def test_weights_that_are_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    whole, path = GOOD["model.safetensors"], tmp_path / "model.safetensors"
    path.write_bytes(whole)
    assert read_tensors("it", path) == {"a", "b"}
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match="it is "):
            read_tensors("it", path)


def test_types_that_are_not_known_are_left_to_the_size_of_the_file(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}
    (tmp_path / "m.safetensors").write_bytes(with_header(header, b"1234"))
    assert read_tensors("it", tmp_path / "m.safetensors") == {"a"}


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({TWO: None}, "ShardMissing", TWO),
        ({TWO: None, INDEX: None}, "ShardMissing", TWO),
        ({ONE: None, INDEX: None}, "ShardMissing", ONE),
        ({TWO: tensors(b"x", names=("other",))}, "ShardMissing", "lacks 1 of the tensors"),
        ({INDEX: b'{"weight_map": {}}'}, "UnreadableModel", "no weight_map"),
        ({INDEX: b'{"weight_map": {"a": 5}}'}, "UnreadableModel", "no weight_map"),
        ({INDEX: b"{"}, "UnreadableModel", INDEX),
        ({INDEX: POINTER}, "PointerFile", INDEX),
        ({INDEX: b"<!doctype html>"}, "WebPage", INDEX),
        ({INDEX: b""}, "EmptyFile", INDEX),
        ({"model.safetensors": GOOD["model.safetensors"]}, "TwoSetsOfWeights", "remove one"),
    ],
)
@pytest.mark.parametrize("place", ["pvc", "hf"])
def test_shards_and_their_index_belong_together(
    place: str, changes: dict[str, bytes | None], reason: str, said: str, workplace: Workplace
) -> None:
    files = {name: text for name, text in (SHARDED | changes).items() if text is not None}
    with FakeHub(files) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        put(workplace, files)
        with pytest.raises(InputError, match=said) as caught:
            fetch(workplace, "pvc://models/small" if place == "pvc" else "hf://org/small")
        assert caught.value.reason == reason
        if "lacks" not in said:
            assert not [name for name in hub.downloads if name.endswith(".safetensors")]


def test_the_same_weights_under_the_names_of_another_library_are_left_out(workplace: Workplace) -> None:
    put(workplace, {**GOOD, "consolidated.safetensors": b"the same once more"})
    assert "consolidated.safetensors" not in fetch(workplace)


def test_a_model_may_lie_in_a_folder_of_a_repository(workplace: Workplace) -> None:
    files = {f"checkpoints/last/{name}": content for name, content in SHARDED.items()}
    with FakeHub({**files, **GOOD, "checkpoints/last/deep/x.json": b"{"}, revision="fix/x") as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        assert ONE in fetch(workplace, "hf://org/small@fix/x/checkpoints/last/")
        assert {name.rpartition("/")[0] for name in hub.downloads} == {"checkpoints/last"}
        with pytest.raises(InputError, match="holds no files"):
            fetch(workplace, "hf://org/small@fix/x/elsewhere", out="demo/e/2/fetch")


def test_a_hubs_cache_gives_the_commit_of_main(workplace: Workplace) -> None:
    old, new = "1" * 40, "2" * 40
    root = put(
        workplace, {f"snapshots/{new}/{name}": text for name, text in GOOD.items() if "model." not in name}
    )
    put(
        workplace,
        {
            f"snapshots/{old}/config.json": b"{}",
            "refs/main": new.encode(),
            "blobs/w": GOOD["model.safetensors"],
        },
    )
    link = root / "snapshots" / new / "model.safetensors"
    link.symlink_to("../../blobs/w")
    assert "model.safetensors" in fetch(workplace)
    (root / "blobs/w").unlink()
    with pytest.raises(InputError, match=r"BrokenLink: model\.safetensors"):
        fetch(workplace, out="demo/e/2/fetch")
    (root / "refs/main").unlink()
    with pytest.raises(InputError, match="snapshots/COMMIT"):
        fetch(workplace, out="demo/e/3/fetch")


def test_a_gguf_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, workplace: Workplace) -> None:
    path = tmp_path / "m.gguf"
    for number in (0, 1, 3):
        path.write_bytes(gguf(number))
        if number:
            check_gguf(path)
    whole = gguf(3)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"m\.gguf is "):
            check_gguf(path)
    for content, reason in (
        (POINTER, "PointerFile"),
        (b"<html>", "WebPage"),
        (b"", "EmptyFile"),
        (b"GGML", "UnreadableModel"),
    ):
        put(workplace, {"m.gguf": content})
        with pytest.raises(InputError) as caught:
            fetch(workplace, "pvc://models/small/m.gguf")
        assert caught.value.reason == reason


def test_a_gguf_header_that_only_an_attacker_writes_is_refused(tmp_path: Path) -> None:
    begin = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    key = struct.pack("<Q", 1) + b"k"
    alignment = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 0)
    for rest in (
        alignment + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 32, 2, 0),
        key + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000,
        key + struct.pack("<IIQ", 9, 10, 2**59),
        key + struct.pack("<IIQ", 9, 10, 2**64 - 1),
    ):
        (tmp_path / "m.gguf").write_bytes(begin + rest)
        with pytest.raises(InputError, match=r"m\.gguf is cut off or damaged"):
            check_gguf(tmp_path / "m.gguf")


def test_a_part_of_a_gguf_model_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00003.gguf").write_bytes(gguf())
    with pytest.raises(InputError, match="--merge"):
        check_gguf(tmp_path / "m-00001-of-00003.gguf")
    (tmp_path / "m-00001-of-00001.gguf").write_bytes(gguf())
    check_gguf(tmp_path / "m-00001-of-00001.gguf")
