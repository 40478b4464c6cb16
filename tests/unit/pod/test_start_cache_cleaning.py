"""Folders of start caches go when nothing starts from them, whoever else is at work."""

import os
from pathlib import Path

import pytest

from safety_pod import start_cache_cleaning
from safety_pod.start_cache import SHARED, begin
from safety_pod.start_cache_cleaning import DAY, GONE, KEPT, USED, clean, main

NOW = 1_000_000_000.0


def cached(root: Path, name: str, days: float) -> Path:
    """A folder from which a server started that many days ago."""
    folder = root / name
    (folder / "complete").mkdir(parents=True)
    (folder / "complete/kernel").write_text("code")
    (folder / USED).touch()
    for path in (folder / USED, folder):
        os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return folder


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_a_folder_that_nothing_started_from_for_a_month_goes_and_the_own_one_never(tmp_path: Path) -> None:
    for name, days in (("old", 31), ("own", 31), ("new", 29)):
        cached(tmp_path, name, days)
    assert clean(tmp_path, "own", NOW) == ["old"]
    assert names(tmp_path) == {"own", "new"}


def test_only_the_last_used_ones_of_many_stay(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        cached(tmp_path, f"model-{number:02}", 2 + number / 10)
    cached(tmp_path, "own", 0)
    clean(tmp_path, "own", NOW)
    assert names(tmp_path) == {"own", *(f"model-{number:02}" for number in range(KEPT - 1))}


def test_however_many_there_are_none_goes_whose_server_may_still_compile(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        cached(tmp_path, f"model-{number:02}", 0.5)
    assert clean(tmp_path, "own", NOW) == []


def test_one_that_another_takes_away_at_the_same_moment_is_nobodys_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cached(tmp_path, "old", 31)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        rename(self, tmp_path / f"{GONE}other")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert clean(tmp_path, "own", NOW) == []
    monkeypatch.undo()
    assert not capsys.readouterr().err
    clean(tmp_path, "own", NOW)
    assert names(tmp_path) == set()


def test_a_volume_that_cannot_be_changed_or_read_stops_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cached(tmp_path, "old", 31)

    def refuse(self: Path, _target: Path) -> Path:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(start_cache_cleaning.time, "time", lambda: NOW)
    main(tmp_path, "own")
    main(tmp_path / "missing", "own")
    said = capsys.readouterr().err
    assert "old could not be deleted: [Errno 30] Read-only file system" in said
    assert "missing cannot be looked through" in said


def test_each_start_says_that_its_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cached(tmp_path, "own", 31)
    for name, value in (
        (SHARED, str(folder)),
        ("SAFETY_START_CACHE_LOCAL", str(tmp_path / "local")),
        ("SAFETY_START_CACHE_READY", "http://127.0.0.1:1/health"),
    ):
        monkeypatch.setenv(name, value)
    begin()
    assert (folder / USED).stat().st_mtime > NOW
    assert (tmp_path / "local/kernel").read_text() == "code"
