"""Files of an audit trail as gateways leave them; what is done to them is named by its place."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.gateway.test_audit_file import Trail
from tests.until import until

from safety_cli.main import main
from safety_gateway import audit, audit_file
from safety_gateway.audit import new_chain
from safety_gateway.rails import Verdict
from safety_records.audit import Chain, read_chains

HOSTILE = ["a\u2028b\u2029c\x85d\x0ce", "nul\x00", "\ud800 alone", '{"audit": {"chain": "x"}}\n', "\x1b[2J"]
MIB = "\U0001f9e8" * (1024**2 // 4)


def write(folder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch, file_bytes: int = 1500) -> Trail:
    """Files of one process, a few lines each."""
    monkeypatch.setattr(audit_file, "FILE_BYTES", file_bytes)
    trail = Trail(folder, new_chain())
    for text in texts:
        trail.audit.blocked(Verdict(True, "rail"), text, direction="input", caller=text[:9], request_id="r")
        until(lambda: not trail.file._bytes, "the line to be in its file")
    trail.audit.close()
    return trail


def check(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = main(["audit", "--file", str(folder), *options])
    return code, capsys.readouterr().out.replace("\n", "")


def test_two_gateways_hostile_texts_and_a_clock_that_goes_back_are_whole_chains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Backwards(datetime):
        """A clock that goes back an hour each time somebody looks."""

        looked = 0

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            cls.looked += 1
            return datetime(2026, 12, 1, tzinfo=UTC) - timedelta(hours=cls.looked)

    monkeypatch.setattr(audit, "datetime", Backwards)
    for texts in (HOSTILE, [*HOSTILE, MIB]):
        write(tmp_path, texts, monkeypatch)
    code, printed = check(tmp_path, capsys)
    assert (code, printed.count("whole")) == (0, 2)
    assert "\x1b[2J" not in printed


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=8))
def test_any_text_keeps_its_chain_and_its_line(texts: list[str]):
    lines: list[str] = []
    trail = audit.AuditTrail(keep_text=True, write=lines.append)
    for text in texts:
        trail.blocked(Verdict(True, "rail"), text, direction="input", caller=text, request_id=text)
    (chain,) = read_chains("\n".join(lines).split("\n"))
    assert chain.fault == ""
    assert [entry["text"] for entry in chain.entries] == texts


def change(lines: list[str]) -> None:
    lines[1] = lines[1].replace('"caller": "two"', '"caller": "xxx"')


def remove(lines: list[str]) -> None:
    del lines[1]


def double(lines: list[str]) -> None:
    lines.insert(1, lines[1])


def move(lines: list[str]) -> None:
    lines.reverse()


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (change, "line 1 was changed (PATH, line 2)"),
        (remove, "lines are missing before 2 (PATH, line 2)"),
        (double, ""),
        (move, ""),
    ],
)
def test_the_file_and_the_line_that_show_a_fault_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[list[str]], None],
    fault: str,
):
    whole, harmed = tmp_path / "whole", tmp_path / "harmed"
    for folder in (whole, harmed):
        folder.mkdir()
    write(whole, ["one"] * 3, monkeypatch)
    trail = write(harmed, ["one", "two", "three"], monkeypatch, 10_000)
    (path,) = trail.files
    lines = path.read_text(encoding="utf-8").splitlines()
    harm(lines)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, printed = check(tmp_path, capsys)
    assert code == (1 if fault else 0)
    assert ("BROKEN" in printed) == bool(fault)
    assert fault.replace("PATH", str(path)) in printed


def test_a_file_that_is_missing_in_the_middle_is_no_work_of_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    trail = write(tmp_path, ["text"] * 12, monkeypatch)
    _, middle, after, *_ = trail.files
    middle.unlink()
    code, printed = check(tmp_path, capsys, "--retention-days", "1")
    assert code == 1
    assert f"({after}, line 1)" in printed


@pytest.mark.parametrize(("days", "code"), [(30, 0), (90, 1), (None, 0)])
def test_a_beginning_is_missing_rightly_only_where_it_was_older_than_retention(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    days: int | None,
    code: int,
):
    class Then(datetime):
        """A clock that stands sixty days ago."""

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) - timedelta(days=60)

    monkeypatch.setattr(audit, "datetime", Then)
    trail = write(tmp_path, ["text"] * 6, monkeypatch)
    trail.files[0].unlink()
    options = () if days is None else ("--retention-days", str(days))
    found, printed = check(tmp_path, capsys, *options)
    assert found == code
    assert "older lines are not in these" in printed
    assert ("missing that are younger than 90 days" in printed) == bool(code)


def test_with_nothing_missing_retention_is_nothing_to_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path, ["text"] * 2, monkeypatch)
    code, printed = check(tmp_path, capsys, "--retention-days", "1")
    assert (code, "whole" in printed) == (0, True)


def test_what_retention_may_have_removed_goes_by_the_lines_that_are_missing_not_by_those_after_them():
    now = datetime.now(UTC)
    old, young = ((now - timedelta(days=days)).isoformat() for days in (60, 1))
    chain = Chain("chain", ({"number": 2, "previousTime": old, "time": young},))
    assert not chain.lost_since(now - timedelta(days=30))
    assert chain.lost_since(now - timedelta(days=90))


@pytest.mark.parametrize("time", [None, "", "yesterday", "2026-10-01T00:00:00"])
def test_a_line_that_does_not_say_when_the_one_before_was_proves_nothing_for_retention(time: str | None):
    chain = Chain("chain", ({"number": 2, "previousTime": time},))
    assert chain.lost_since(datetime.now(UTC))


def test_a_tail_that_was_cut_off_shows_in_the_number_and_hash_of_the_last_line_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    trail = write(tmp_path, ["text"] * 3, monkeypatch, 10_000)
    (path,) = trail.files
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    last = json.loads(lines[-1])["audit"]["hash"]
    assert f"the last is 2, hash {last}" in check(tmp_path, capsys)[1]
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    os.utime(path)
    code, printed = check(tmp_path, capsys)
    assert code == 0
    assert "the last is 1, hash" in printed
