"""The files of an audit trail: a chain goes on over them, and only old ones of its beginning are deleted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest
from tests.unit.gateway.support import SETTINGS
from tests.unit.gateway.test_audit_file import Trail
from tests.until import until

from safety_gateway import __main__ as main
from safety_gateway import audit_file, audit_retention
from safety_gateway.audit import new_chain
from safety_gateway.audit_retention import remove_old
from safety_gateway.telemetry import Telemetry
from safety_records.audit import Chain, is_torn, read_chains

DAY = 24 * 3600


def chains_of(folder: Path) -> list[Chain]:
    return read_chains(
        line for path in folder.iterdir() for line in path.read_text(encoding="utf-8").splitlines()
    )


def wait_for(trail: Trail, count: int) -> None:
    until(lambda: len(trail.written) >= count, f"{count} lines to be written")


def old_file(folder: Path, chain: str, number: int, days: float) -> Path:
    path = folder / f"20261201T120000Z-{chain}-{number:06}.jsonl"
    path.write_text("{}\n")
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


def test_a_chain_goes_on_over_files_of_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit_file, "FILE_BYTES", 2000)
    trail = Trail(tmp_path)
    for count in range(1, 21):
        trail.block()
        wait_for(trail, count)
    trail.audit.close()
    assert len(trail.files) > 3
    assert trail.failures == 0
    assert all(path.stat().st_size <= 2000 for path in trail.files)
    assert trail.written == trail.lines, "names of files sort as their lines"
    (chain,) = chains_of(tmp_path)
    assert (chain.fault, chain.lost, len(chain.entries)) == ("", 0, 20)


def test_a_file_is_closed_when_its_time_is_over_and_an_idle_process_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit_file, "FILE_SECONDS", 0.02)
    trail = Trail(tmp_path)
    until(lambda: not trail.files, "no file of an idle process")
    for count in range(1, 4):
        trail.block()
        wait_for(trail, count)
        until(lambda: not open_files(tmp_path), "the file to be closed")
    trail.audit.close()
    assert len(trail.files) == 3
    assert trail.written == trail.lines


def test_a_file_that_is_there_already_is_nobodys_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As of a try whose answer a network file system lost."""
    monkeypatch.setattr(audit_file, "FILE_BYTES", 1)
    monkeypatch.setattr(audit_file, "RETRY_SECONDS", 0.01)
    trail = Trail(tmp_path)
    trail.block()
    wait_for(trail, 1)
    there = trail.files[0].with_name(trail.files[0].name.replace("-000000", "-000001"))
    there.touch()
    trail.block()
    until(lambda: len(trail.written) == 2, "the line to be written to another file")
    trail.audit.close()
    assert there.read_bytes() == b""
    assert [path.name[-12:-6] for path in trail.files] == ["000000", "000001", "000002"]
    assert trail.written == trail.lines


def open_files(folder: Path) -> list[Path]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = link.readlink()
        except FileNotFoundError:
            continue
        if target.parent == folder:
            found.append(target)
    return found


def test_lines_go_on_in_another_file_when_somebody_deletes_the_open_one(tmp_path: Path):
    trail = Trail(tmp_path)
    trail.block()
    wait_for(trail, 1)
    until(lambda: trail.file._size > 0, "the first line to be counted")
    trail.files[0].unlink()
    trail.block()
    trail.audit.close()
    assert trail.written == trail.lines[1:]


def test_retention_deletes_whole_old_files_from_the_beginning_of_a_chain_only(tmp_path: Path):
    gone, mixed, young = new_chain(), new_chain(), new_chain()
    for number, days in enumerate((99, 98)):
        old_file(tmp_path, gone, number, days)
    old_file(tmp_path, mixed, 0, 99)
    kept = {old_file(tmp_path, mixed, number, days) for number, days in ((1, 1), (2, 99))}
    kept |= {old_file(tmp_path, young, number, days) for number, days in ((0, 89), (1, 0))}
    kept |= {old_file(tmp_path, f"{gone}-mine", 0, 99)}
    packed = old_file(tmp_path, gone, 2, 99)
    kept |= {packed.rename(packed.with_suffix(".jsonl.gz"))}
    link = tmp_path / packed.name.replace("-000002", "-000003")
    link.symlink_to(next(iter(kept)))
    os.utime(link, (0, 0), follow_symlinks=False)
    remove_old(tmp_path, time.time(), 90)
    assert set(tmp_path.iterdir()) == kept | {link}


def test_a_file_that_another_process_deletes_meanwhile_counts_as_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chain = new_chain()
    first = old_file(tmp_path, chain, 0, 99)
    old_file(tmp_path, chain, 1, 99)

    class Listed(list["os.DirEntry[str]"]):
        """As ``os.scandir`` gives it, just before another process deletes the first file."""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

    with os.scandir(tmp_path) as entries:
        listed = Listed(entries)
    assert all(entry.is_file(follow_symlinks=False) for entry in listed)
    first.unlink()
    monkeypatch.setattr(audit_retention.os, "scandir", lambda _folder: listed)
    remove_old(tmp_path, time.time(), 90)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_deleted_keeps_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    chain = new_chain()
    for number in range(3):
        old_file(tmp_path, chain, number, 99)

    def refuse(path: Path, *, missing_ok: bool) -> None:
        if path.name.endswith("-000000.jsonl"):
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok=missing_ok)

    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", refuse)
    remove_old(tmp_path, time.time(), 90)
    assert len(list(tmp_path.iterdir())) == 3
    assert "cannot be deleted: Operation not permitted" in caplog.text


@pytest.mark.parametrize("days", [None, 90])
def test_a_process_that_starts_deletes_what_is_old_where_the_spec_says_so(tmp_path: Path, days: int | None):
    path = old_file(tmp_path, new_chain(), 0, 91)
    Trail(tmp_path, days=days).audit.close()
    assert path.exists() == (days is None)


def test_a_process_that_runs_deletes_what_becomes_old_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit_file, "FILE_SECONDS", 0.02)
    trail = Trail(tmp_path, days=90)
    until(lambda: not trail.files, "the first look, and the end of the first file's time")
    path = old_file(tmp_path, new_chain(), 0, 91)
    until(lambda: not path.exists(), "the old file to be deleted")
    trail.audit.close()


def test_a_folder_that_cannot_be_listed_keeps_no_line_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(audit_file, "remove_old", refuse)
    trail = Trail(tmp_path, days=90)
    trail.block()
    trail.audit.close()
    assert trail.written == trail.lines
    assert "cannot be looked for: Permission denied" in caplog.text


@pytest.mark.parametrize(("options", "deleted"), [((), False), (("--audit-days", "90"), True)])
def test_the_command_line_says_how_long_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], deleted: bool
):
    config, trails = tmp_path / "config", tmp_path / "trails"
    config.mkdir()
    trails.mkdir()
    (config / "gateway.json").write_text(SETTINGS.model_dump_json(by_alias=True))
    path = old_file(trails, new_chain(), 0, 91)

    def end(*arguments: Any) -> NoReturn:
        """In the place of the rails, which load next."""
        arguments[-1]().close()
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "build_pipeline", end)
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)
    monkeypatch.setattr(main.logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(main, "keep_words_out_of_logs", lambda: None)
    monkeypatch.setattr(main, "build_telemetry", lambda _: Telemetry())
    monkeypatch.setattr(main, "read_key", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        main.main(["--config", str(config), "--audit", str(trails), *options])
    assert path.exists() != deleted


KILLED = """
import sys
from pathlib import Path
from safety_gateway import __main__ as main
from safety_gateway import audit_file, audit_retention
from safety_gateway.audit import AuditTrail, new_chain
from safety_gateway.metrics import Metrics
from safety_gateway.rails import Verdict

audit_file.FILE_BYTES = 3000
chain = new_chain()
sink = audit_file.AuditFile(Path(sys.argv[1]), chain, Metrics(), 90)
audit = AuditTrail(keep_text=True, chain=chain, sink=sink)
while True:
    audit.blocked(Verdict(True, "rail"), "x" * 500, direction="input", caller="a", request_id="r")
"""


def test_a_process_that_is_killed_leaves_chains_that_are_whole(tmp_path: Path):
    environment = os.environ | {"PYTHONPATH": str(Path(audit_file.__file__).parents[1])}
    for count in (3, 8):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            assert process.stdout is not None
            while len(list(tmp_path.iterdir())) < count:
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    chains = chains_of(tmp_path)
    assert len(chains) == 2
    assert all(not chain.fault and not chain.lost for chain in chains)
    for path in tmp_path.iterdir():
        written = path.read_text(encoding="utf-8").splitlines(keepends=True)
        assert all(line.endswith("\n") for line in written) or is_torn(written[-1])
