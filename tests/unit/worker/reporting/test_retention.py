"""Folders of old runs leave the claim, and nothing else does."""

import json
import os
import time
from pathlib import Path

import pytest
from tests.unit.worker.conftest import Workplace

from safety_records.eval_stages import ReportStage
from safety_worker.reporting import retention
from safety_worker.reporting.retention import delete_old_runs, write_folders

RUN = "demo/safetyeval/base/run"


def make(workplace: Workplace, name: str, *, hours: float = 2.0, listed: list[str] | None = None) -> Path:
    folder = workplace.artifacts / RUN / name
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("x")
    if listed is not None:
        (folder / "folders.json").write_text(json.dumps(listed))
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - hours * 3600,) * 2)
    return folder


def report(workplace: Workplace, kept: list[str] | None, folders: list[str]) -> ReportStage:
    spec = workplace.spec(
        "report",
        scored="",
        target_uri="x",
        target_digest="",
        scores=[],
        thresholds=[],
        verdict="True",
        kept=kept,
        folders=folders,
        out=f"{RUN}/report-3",
    )
    assert isinstance(spec, ReportStage)
    return spec


def left(workplace: Workplace) -> list[str]:
    return sorted(path.name for path in (workplace.artifacts / RUN).iterdir())


def three_runs(workplace: Workplace) -> None:
    for number in (1, 2, 3):
        make(workplace, f"generate-{number}")
        make(workplace, f"judge-{number}")
        make(workplace, f"report-{number}", listed=[f"generate-{number}", f"judge-{number}"])


def test_what_no_kept_run_needs_is_deleted(workplace: Workplace) -> None:
    three_runs(workplace)
    make(workplace, "generate-of-a-run-that-was-given-up")
    spec = report(workplace, ["report-2"], ["generate-3", "judge-3"])
    deleted = delete_old_runs(spec, workplace.context)
    assert deleted == ["generate-1", "generate-of-a-run-that-was-given-up", "judge-1", "report-1"]
    kept = [f"{stage}-{number}" for stage in ("generate", "judge", "report") for number in (2, 3)]
    assert left(workplace) == kept
    assert delete_old_runs(spec, workplace.context) == []


def test_a_folder_that_two_runs_share_stays_as_long_as_one_of_them(workplace: Workplace) -> None:
    make(workplace, "generate-1")
    make(workplace, "report-1", listed=["generate-1"])
    make(workplace, "report-2", listed=["generate-1"])
    delete_old_runs(report(workplace, ["report-2"], ["generate-1"]), workplace.context)
    assert left(workplace) == ["generate-1", "report-2"]


def test_what_somebody_writes_to_stays(workplace: Workplace) -> None:
    three_runs(workplace)
    (make(workplace, "generate-of-an-edit") / "rows.jsonl").write_text("more")
    make(workplace, "judge-of-an-edit", hours=0.9)
    delete_old_runs(report(workplace, ["report-2"], ["generate-3", "judge-3"]), workplace.context)
    assert {"generate-of-an-edit", "judge-of-an-edit"} <= set(left(workplace))
    assert "generate-1" not in left(workplace)


def test_a_stage_that_is_used_again_is_not_old(workplace: Workplace) -> None:
    write_folders(report(workplace, [], []), workplace.context)
    folder = workplace.artifacts / RUN / "report-3"
    (folder / "manifest.json").write_text("{}")
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    workplace.context.store.touch(f"{RUN}/report-3")
    assert retention._last_written(folder) > time.time() - 60


@pytest.mark.parametrize("kept", [None, ["report-2"]])
def test_where_it_is_not_known_what_a_kept_run_needs_nothing_is_deleted(
    kept: list[str] | None, workplace: Workplace
) -> None:
    three_runs(workplace)
    (workplace.artifacts / RUN / "report-2/folders.json").unlink()  # a report of an earlier version
    before = left(workplace)
    assert delete_old_runs(report(workplace, kept, []), workplace.context) == []
    assert left(workplace) == before


def test_a_kept_report_that_somebody_removed_keeps_nothing(workplace: Workplace) -> None:
    three_runs(workplace)
    delete_old_runs(report(workplace, ["report-0"], ["generate-3", "judge-3"]), workplace.context)
    assert left(workplace) == ["generate-3", "judge-3", "report-3"]


def test_a_deletion_that_was_killed_is_finished_the_next_time(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_runs(workplace)
    spec = report(workplace, ["report-2"], ["generate-3", "judge-3"])

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            delete_old_runs(spec, workplace.context)
    assert ".tmp-deleted-generate-1" in left(workplace), "nobody finds half a folder under its name"
    delete_old_runs(spec, workplace.context)
    assert not any(name.endswith("-1") for name in left(workplace))


def test_links_and_what_is_elsewhere_are_left_alone(workplace: Workplace, tmp_path: Path) -> None:
    three_runs(workplace)
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    (elsewhere / "data").write_text("x")
    (workplace.artifacts / RUN / "link").symlink_to(elsewhere)
    (workplace.artifacts / "demo/models").mkdir()
    delete_old_runs(report(workplace, ["report-2"], []), workplace.context)
    assert (elsewhere / "data").exists()
    assert (workplace.artifacts / "demo/models").exists()


def test_a_folder_that_cannot_be_deleted_does_not_fail_the_report(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_runs(workplace)

    def refuse(_self: Path, _target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    assert delete_old_runs(report(workplace, ["report-2"], []), workplace.context) == []
    assert "retention: generate-1 cannot be deleted: Permission denied" in capsys.readouterr().err
