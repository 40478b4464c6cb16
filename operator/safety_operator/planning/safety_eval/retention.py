"""Which folders of a SafetyEval's runs are kept in the claim.

The report stage deletes the rest, so everything a status names is named to it: the folders of the run itself,
and of earlier runs in the history their report folders, each of which lists what belongs to it.
"""

from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.api.schedule import RunStatus
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.safety_eval.eval_history import status_before

MAX_KEPT = 20
"""Reports of earlier runs at most, the bound of ``historyLimit``."""


def run_folders(run: Run[SafetyEvalSpec]) -> tuple[str, ...]:
    """Names of the folders of a run whose stages before the report are done, sorted."""
    folders = {run.folder_of(name, digest) for name, digest in run.hashes.items() if digest}
    if run.repetition.previous is not None:
        folders.add(run.repetition.previous.uri)
    return tuple(sorted(folder.rpartition("/")[2] for folder in folders))


def kept_reports(run: Run[SafetyEvalSpec]) -> tuple[str, ...] | None:
    """Names of the report folders of earlier runs that are kept with this one.

    One of them is always kept: until this run is finished its results are the shown ones. None where nothing
    may be deleted, because no earlier run is known, or not where one has its report.
    """
    history = status_before(run).history
    succeeded = [entry for entry in history if entry.state == "Succeeded"]
    if not succeeded:
        return None
    shown = history.index(succeeded[0]) + 1
    kept = history[: max(run.spec.history_limit - 1, shown)]
    names = [_report_folder(run, entry) for entry in kept if entry.state == "Succeeded"]
    return None if None in names else tuple(filter(None, names))


def _report_folder(run: Run[SafetyEvalSpec], entry: RunStatus) -> str | None:
    """Name of an entry's report folder; None where it is not among this resource's."""
    folder = entry.html.rpartition("/")[0]
    below = f"pvc://{run.claim}/{run.folder}/"
    return folder.removeprefix(below) if folder.startswith(below) else None
