"""Deletes the folders of a SafetyEval's old runs, at the end of the report of a newer one.

A report folder lists the folders of its run (``folders.json``). Kept are those of this run and of the earlier
runs that the specification names; any other folder there goes, unless somebody has written there lately:
an edited specification may have begun a run of which this stage knows nothing. A folder is renamed before it
is deleted, so nobody reads half of one, and a deletion that was killed is finished the next time.
"""

import shutil
import sys
import time
from pathlib import Path

from safety_records.eval_stages import ReportStage
from safety_worker.artifacts.digests import TEMPORARY_PREFIX
from safety_worker.context import StageContext

FOLDERS_NAME = "folders.json"
"""List of the folders of a run, in the folder of its report."""

GRACE_SECONDS = 3600.0
"""A folder that somebody has written to within that time stays until the next report: far more than a pod
outlives its Job."""

DELETED_PREFIX = f"{TEMPORARY_PREFIX}deleted-"
"""Names of folders on their way out."""


def write_folders(spec: ReportStage, context: StageContext) -> None:
    """Write down which folders belong to the run of a report."""
    context.store.write_json(f"{spec.out}/{FOLDERS_NAME}", sorted(spec.folders))


def delete_old_runs(spec: ReportStage, context: StageContext) -> list[str]:
    """Delete what belongs to no run that is kept; names of the deleted folders, sorted.

    Nothing happens where the specification says so, and where a kept run has not written down its folders. A
    folder that cannot be deleted is said on standard error and left.
    """
    if spec.kept is None:
        return []
    parent, _, own = spec.out.rpartition("/")
    keep = {own, *spec.folders}
    for report in spec.kept:
        if not context.store.path(f"{parent}/{report}").is_dir():
            continue
        folders = context.store.read_json(f"{parent}/{report}/{FOLDERS_NAME}")
        if folders is None:
            _say(f"{report} does not say what belongs to it: nothing is deleted")
            return []
        keep |= {report, *folders}
    deleted = [
        folder.name
        for folder in sorted(context.store.path(parent).iterdir())
        if folder.is_dir() and not folder.is_symlink() and folder.name not in keep and _delete(folder)
    ]
    if deleted:
        _say(f"deleted folders of old runs: {', '.join(deleted)}")
    return deleted


def _delete(folder: Path) -> bool:
    try:
        leaving = folder
        if not folder.name.startswith(DELETED_PREFIX):
            if time.time() - _last_written(folder) < GRACE_SECONDS:
                return False
            leaving = folder.rename(folder.with_name(DELETED_PREFIX + folder.name))
        shutil.rmtree(leaving)
    except OSError as error:
        _say(f"{folder.name} cannot be deleted: {error.strerror}")
        return False
    return True


def _last_written(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def _say(words: str) -> None:
    print(f"retention: {words}", file=sys.stderr)  # noqa: T201 - the pod's log
