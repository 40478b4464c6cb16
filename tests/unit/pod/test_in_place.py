"""A model on a claim is served only as it was when it got its digest."""

import os
from pathlib import Path

import pytest

from safety_operator.children.server_files import IN_PLACE_ENV
from safety_pod import in_place
from safety_pod.in_place import MANIFEST, find_change, find_change_in
from safety_worker.artifacts.digests import build_manifest


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """Links to a model, and its manifest, as the fetch stage leaves them."""
    model, folder = tmp_path / "claim", tmp_path / "in-place/pvc/claim"
    model.mkdir()
    folder.mkdir(parents=True)
    for name, text in (("config.json", "{}"), ("model.safetensors", "weights")):
        (model / name).write_text(text)
        os.utime(model / name, (1, 1))
        (folder / name).symlink_to(model / name)
    (folder / MANIFEST).write_text(
        build_manifest(folder, paths=["config.json", "model.safetensors"]).to_json()
    )
    return folder


def later(folder: Path) -> None:
    """Let the manifest be older than what follows."""
    os.utime(folder / MANIFEST, (10, 10))


def test_what_did_not_change_is_served(links: Path) -> None:
    assert find_change_in(links) == ""


@pytest.mark.parametrize("text", ["[]", "{} "], ids=["content", "size"])
def test_a_small_file_that_changed_is_named(links: Path, text: str) -> None:
    (links / "config.json").write_text(text)
    assert f"{links / 'config.json'} has another content" in find_change_in(links)


def test_large_files_are_read_if_they_were_written_later(
    links: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "SMALL_BYTES", 2)
    (links / "model.safetensors").write_text("WEIGHTS")
    os.utime(links / "model.safetensors", (1, 1))  # as rsync and tar keep the time of the original
    later(links)
    assert "model.safetensors has another content" in find_change_in(links)


def test_large_files_that_nobody_wrote_to_are_not_read(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "SMALL_BYTES", 2)
    os.utime(links / MANIFEST, (2**32, 2**32))
    monkeypatch.setattr(in_place, "_sha256", lambda path: pytest.fail(path) if "model" in path.name else SHA)
    assert find_change_in(links) == ""


SHA = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""Of {}."""


def test_a_file_that_is_gone_is_named(links: Path) -> None:
    (links / "config.json").resolve().unlink()
    assert "config.json cannot be read (No such file or directory)" in find_change_in(links)


def test_a_copy_in_the_store_is_not_looked_at(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (links / "config.json").write_text("[]")
    monkeypatch.delenv(IN_PLACE_ENV, raising=False)
    assert find_change() == ""
    monkeypatch.setenv(IN_PLACE_ENV, str(links))
    assert find_change()
