"""Models that stay on their claim or in their image: checked and digested where they are, never copied."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.weights import tensors

from safety_records.in_place import image_folder
from safety_worker.errors import InfrastructureError, InputError

FILES = {
    "config.json": b'{"max_position_embeddings": 64}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": tensors(b"weights", names=("w",)),
    "README.md": b"no part of it",
}
PINNED = "registry.example.org/models/small@sha256:" + "cd" * 32
TAGGED = "registry.example.org/models/small:1.0"


def put(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def fetch(workplace: Workplace, uri: str, **fields: Any) -> Any:
    return workplace.run("fetch", uri=uri, **fields)


def test_a_model_on_a_claim_is_linked_and_has_the_digest_of_a_copy(workplace: Workplace) -> None:
    source = put(workplace.inputs / "pvc/weights/small")
    linked = fetch(workplace, "pvc://weights/small", out="demo/e/1/fetch")
    copied = fetch(workplace, f"file://{source}", out="demo/e/2/fetch")
    assert linked.output.digest == copied.output.digest
    assert linked.output.uri.startswith("demo/models/in-place/pvc/weights/")
    folder = workplace.context.store.input(linked.output.uri)
    links = {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}
    assert links == {name: str(source / name) for name in FILES if name != "README.md"}


def test_a_read_only_claim_is_left_as_it_is(workplace: Workplace) -> None:
    source = put(workplace.inputs / "pvc/weights/small")
    before = {path.name: path.stat().st_mode for path in source.iterdir()}
    (source / "model.safetensors").chmod(0o400)
    source.chmod(0o500)
    fetch(workplace, "pvc://weights/small")
    source.chmod(0o700)
    after = {path.name: path.stat().st_mode for path in source.iterdir()}
    assert after == {**before, "model.safetensors": 0o100400}


def test_a_changed_folder_is_another_model_for_the_next_fetch(workplace: Workplace) -> None:
    source = put(workplace.inputs / "pvc/weights/small")
    first = fetch(workplace, "pvc://weights/small", out="demo/e/1/fetch")
    (source / "model.safetensors").write_bytes(tensors(b"others!", names=("w",)))
    second = fetch(workplace, "pvc://weights/small", out="demo/e/2/fetch")
    assert first.output.digest != second.output.digest


def test_whoever_reads_a_changed_folder_is_told(workplace: Workplace) -> None:
    source = put(workplace.inputs / "pvc/weights/small")
    got = fetch(workplace, "pvc://weights/small")
    (source / "model.safetensors").write_bytes(tensors(b"others!", names=("w",)))
    with pytest.raises(InfrastructureError, match="another digest"):
        workplace.context.store.input(got.output.uri)


def test_a_folder_that_changes_while_it_is_read_gets_no_digest(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(workplace.inputs / "pvc/weights/small")
    from safety_worker.models import model_store  # noqa: PLC0415 - patched

    real = model_store.build_manifest

    def change(folder: Path, **fields: Any) -> Any:
        made = real(folder, **fields)
        (source / "model.safetensors").write_bytes(b"in the middle of a copy")
        return made

    monkeypatch.setattr(model_store, "build_manifest", change)
    with pytest.raises(InfrastructureError, match="changed while its digest was computed"):
        fetch(workplace, "pvc://weights/small")


def test_a_given_template_is_a_file_of_the_store_next_to_links(workplace: Workplace) -> None:
    source = put(workplace.inputs / "pvc/weights/small")
    template = workplace.configmap(
        "templates", "short.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    got = fetch(workplace, "pvc://weights/small", chatTemplate=template)
    folder = workplace.artifacts / got.output.uri
    assert not (folder / "chat_template.jinja").is_symlink()
    assert (folder / "model.safetensors").is_symlink()
    assert (source / "chat_template.jinja").read_bytes() == FILES["chat_template.jinja"]


def test_a_snapshot_of_a_hubs_cache_stays_in_place(workplace: Workplace) -> None:
    cache = workplace.inputs / "pvc/cache/models--org--small"
    blobs = put(cache / "blobs")
    snapshot = cache / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for name in FILES:
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    got = fetch(workplace, "pvc://cache/models--org--small")
    assert workplace.context.store.input(got.output.uri)
    assert blobs.is_dir()


@pytest.mark.parametrize(("reference", "warned"), [(PINNED, False), (TAGGED, True)])
@pytest.mark.parametrize(("inside", "path"), [("", ""), ("models", ""), ("some/where", "/some/where")])
def test_a_model_in_an_image_is_found_and_a_tag_is_warned_of(
    reference: str, warned: bool, inside: str, path: str, workplace: Workplace
) -> None:
    put(workplace.inputs / "oci" / image_folder(reference) / inside / "x").rename(workplace.inputs / "moved")
    target = workplace.inputs / "oci" / image_folder(reference) / inside
    for file in (workplace.inputs / "moved").iterdir():
        file.rename(target / file.name)
    got = fetch(workplace, f"oci://{reference}{path}")
    assert got.output.uri.startswith("demo/models/in-place/oci/registry.example.org%2Fmodels%2Fsmall")
    assert bool(got.warnings) == warned


@pytest.mark.parametrize("mounted", [False, True], ids=["the volume was dropped", "the volume is empty"])
def test_a_cluster_without_image_volumes_is_said(mounted: bool, workplace: Workplace) -> None:
    if mounted:
        (workplace.inputs / "oci" / image_folder(PINNED)).mkdir(parents=True)
    with pytest.raises(InputError, match="feature gate ImageVolume") as caught:
        fetch(workplace, f"oci://{PINNED}")
    assert caught.value.reason == "NoImageVolumes"


def test_a_text_classifier_stays_in_place_with_its_graph(workplace: Workplace) -> None:
    graph = (Path(__file__).parents[3] / "data/onnx/tiny/model.onnx").read_bytes()
    config = json.dumps({"id2label": {"0": "Safe", "1": "Toxic"}}).encode()
    source = put(workplace.inputs / "pvc/weights/guard", {"config.json": config, "tokenizer.json": b"{}"})
    put(source / "onnx", {"model.onnx": graph})
    got = fetch(workplace, "pvc://weights/guard", classifier=True, chat=False)
    assert (workplace.artifacts / got.output.uri / "model.onnx").resolve() == source / "onnx/model.onnx"
