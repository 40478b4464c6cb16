"""A server loads the files of the digest that its gate compared, or none."""

import json
from pathlib import Path

import pytest

from safety_pod.model_digest import DIGEST, FOLDER, find_mismatch, find_mismatch_in
from safety_worker.artifacts.digests import build_manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder as the worker's store completes it."""
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 1000)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    manifest = build_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    return tmp_path


def digest_in(model: Path) -> str:
    return str(json.loads((model / "manifest.json").read_text())["digest"])


def test_files_of_the_digest_are_loaded(model: Path) -> None:
    assert find_mismatch_in(model, digest_in(model)) == ""
    (model / "metrics.jsonl").write_text("{}")
    assert find_mismatch_in(model, digest_in(model)) == "", "what no engine loads may be there"


def test_a_byte_that_was_changed_is_found_with_its_file(model: Path) -> None:
    wanted = digest_in(model)
    (model / "model.safetensors").write_bytes(b"weightz" + b"weights" * 999)
    assert find_mismatch_in(model, wanted) == f"{model}/model.safetensors has another content"


def test_a_manifest_that_was_changed_with_the_file_is_found(model: Path) -> None:
    wanted = digest_in(model)
    (model / "manifest.json").unlink()
    (model / "config.json").write_text('{"a": 1}')
    (model / "manifest.json").write_text(build_manifest(model).model_dump_json())
    assert "have the digest sha256:" in find_mismatch_in(model, wanted)
    assert f"not {wanted}" in find_mismatch_in(model, wanted)


@pytest.mark.parametrize("name", ["more.safetensors", "modeling_evil.py", "other.jinja"])
def test_a_file_that_an_engine_would_load_as_well_is_found(model: Path, name: str) -> None:
    wanted = digest_in(model)
    (model / name).write_text("x")
    assert find_mismatch_in(model, wanted) == f"{model}/{name} is no file of the model"


def test_files_that_are_gone_and_lists_that_are_none_are_said_to_be(model: Path) -> None:
    wanted = digest_in(model)
    (model / "config.json").unlink()
    assert "config.json cannot be read (No such file or directory)" in find_mismatch_in(model, wanted)
    (model / "manifest.json").write_text("[]")
    assert find_mismatch_in(model, wanted) == f"{model}/manifest.json is no list of files"
    assert "cannot be read" in find_mismatch_in(model / "gone", wanted)


def test_without_a_digest_nothing_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(model / "gone"))
    assert find_mismatch() == ""
    monkeypatch.setenv(DIGEST, digest_in(model))
    assert "cannot be read" in find_mismatch()
