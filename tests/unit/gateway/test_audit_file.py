"""The audit trail in a file: whole and in order, and in nobody's way."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.gateway.support import SETTINGS, FakeModel, FakeRails
from tests.until import until

from safety_gateway import __main__ as main
from safety_gateway import audit_file
from safety_gateway.audit import AuditTrail
from safety_gateway.audit_file import AuditFile
from safety_gateway.metrics import Metrics
from safety_gateway.observed import ObservedAudit
from safety_gateway.pipeline import Pipeline
from safety_gateway.rails import Verdict
from safety_gateway.telemetry import Telemetry
from safety_records.audit import read_chains

WRITE = os.write


class Disk:
    """The volume as ``os.write`` meets it: full, or hanging until a test lets it go on."""

    def __init__(self) -> None:
        self.full = False
        self.may_write = threading.Event()
        self.may_write.set()
        self.asked = threading.Event()
        self.failed = threading.Semaphore(0)

    def write(self, file: int, data: memoryview) -> int:
        self.asked.set()
        self.may_write.wait()
        if self.full:
            WRITE(file, data[:7])
            self.failed.release()
            raise OSError(errno.ENOSPC, "a text of nobody's")
        return WRITE(file, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    found = Disk()
    monkeypatch.setattr(audit_file.os, "write", found.write)
    monkeypatch.setattr(audit_file, "RETRY_SECONDS", 0.01)
    yield found
    found.full = False
    found.may_write.set()


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class Trail:
    def __init__(self, folder: Path, chain: str = "chain", days: int | None = None) -> None:
        self.folder = folder
        self.metrics = Metrics()
        self.lines: list[str] = []
        self.file = AuditFile(folder, chain, self.metrics, days)
        self.audit = AuditTrail(keep_text=True, write=self.lines.append, chain=chain, sink=self.file)

    def block(self, count: int = 1) -> None:
        for number in range(count):
            self.audit.blocked(
                Verdict(True, "rail"), f"secret {number}", direction="input", caller="a", request_id="r"
            )

    @property
    def written(self) -> list[str]:
        return [line for path in self.files for line in path.read_text(encoding="utf-8").split("\n") if line]

    @property
    def files(self) -> list[Path]:
        return files_of(self.folder)

    @property
    def failures(self) -> float | None:
        return self.metrics.registry.get_sample_value("safety_gateway_audit_write_failures_total")

    @property
    def lost(self) -> float | None:
        return self.metrics.registry.get_sample_value("safety_gateway_audit_lines_lost_total")


def test_the_file_has_the_lines_of_standard_output_in_their_order(tmp_path: Path):
    trail = Trail(tmp_path)
    trail.block(100)
    trail.audit.close()
    assert trail.written == trail.lines
    (path,) = trail.files
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.name.endswith("-chain-000000.jsonl")
    assert trail.lost == 0


def test_a_process_that_blocked_nothing_leaves_no_file(tmp_path: Path):
    Trail(tmp_path).audit.close()
    assert not list(tmp_path.iterdir())


def test_another_process_has_a_file_of_its_own(tmp_path: Path):
    for name in ("one", "two"):
        trail = Trail(tmp_path, name)
        trail.block()
        trail.audit.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_volume_that_hangs_keeps_nobody_waiting_and_what_has_no_room_is_counted(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    trail = Trail(tmp_path)
    disk.may_write.clear()
    trail.block()
    disk.asked.wait()
    monkeypatch.setattr(audit_file, "MAX_BYTES", 3 * len(trail.lines[0]))
    trail.block(9)
    assert (len(trail.lines), trail.lost) == (10, 8)
    assert caplog.text.count("some will be lost") == 1
    disk.may_write.set()
    trail.audit.close()
    assert trail.written == trail.lines[:2]
    assert "is written to" in caplog.text
    assert "8 lines are lost" in caplog.text
    assert "secret" not in caplog.text


def test_a_full_volume_is_told_once_and_tried_again_until_it_has_room(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
):
    trail = Trail(tmp_path)
    disk.full = True
    trail.block(3)
    for _ in range(3):
        disk.failed.acquire()
    assert (trail.failures or 0) >= 2
    assert caplog.text.count("No space left on device; it is tried again") == 1
    disk.full = False
    trail.audit.close()
    assert trail.written == trail.lines, "what a failed try left was taken back"
    assert trail.lost == 0
    assert "is written to" in caplog.text
    assert "nobody" not in caplog.text


def test_a_line_counts_as_written_when_the_volume_says_that_it_keeps_it(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """NFS tells of a full disk when it is asked to keep what it took."""
    refusals = [OSError(errno.EDQUOT, "a text of nobody's")]

    def sync(_file: int) -> None:
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr(audit_file.os, "fdatasync", sync)
    trail = Trail(tmp_path)
    trail.block()
    until(lambda: "is written to" in caplog.text, "another try")
    trail.audit.close()
    assert trail.written == trail.lines
    assert (trail.failures, trail.lost) == (1, 0)


def test_what_is_not_written_when_the_process_ends_is_counted_and_told(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
):
    trail = Trail(tmp_path)
    disk.may_write.clear()
    trail.block(4)
    trail.file.close(seconds=0)
    assert trail.lost == 4
    assert "4 lines of the audit trail are not in" in caplog.text


def test_a_piece_that_cannot_be_taken_back_spoils_no_other_line(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(AuditFile, "_take_back", lambda _file: None)
    trail = Trail(tmp_path)
    disk.full = True
    trail.block(3)
    disk.failed.acquire()
    disk.full = False
    trail.audit.close()
    (chain,) = read_chains(trail.written)
    assert (chain.fault, len(chain.entries)) == ("", 3)
    assert not json.loads(trail.lines[0])["audit"]["number"]


async def test_the_end_of_the_gateway_writes_what_waits(tmp_path: Path):
    telemetry = Telemetry()
    file = AuditFile(tmp_path, "chain", telemetry.metrics)
    audit = ObservedAudit(telemetry, write=lambda _line: None, chain="chain", sink=file)
    pipeline = Pipeline(FakeRails(), FakeModel(), SETTINGS, audit)
    await pipeline.start()
    audit.blocked(Verdict(True, "rail"), "text", direction="input", caller="a", request_id="r")
    await pipeline.stop()
    (path,) = files_of(tmp_path)
    (chain,) = read_chains(path.read_text(encoding="utf-8").splitlines())
    assert (chain.name, len(chain.entries)) == ("chain", 1)


def test_a_folder_that_cannot_be_written_ends_the_pod_with_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main.build_audit(SETTINGS, tmp_path / "none", Telemetry())
    assert ended.value.code == 42
    assert capsys.readouterr().err.startswith("spec.audit.claim: no file can be made")


def test_without_a_folder_there_is_no_file(capsys: pytest.CaptureFixture[str]):
    audit = main.build_audit(SETTINGS, None, Telemetry())
    audit.blocked(Verdict(True, "rail"), "text", direction="input", caller="a", request_id="r")
    audit.close()
    assert '"audit"' in capsys.readouterr().out
