"""Writes what a fine-tune leaves for people, when its model is complete, and again when it was pushed.

The report is a folder of its own next to the model's (``report-<hash>`` next to ``train-<hash>``), so that
the model's digest stays that of the model; the card is in both. A push leaves another report, next to its own
folder, since what has a digest does not change. Called by the dispatch for whatever stage leaves a model, so
that every backend has it.
"""

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from safety_records.finetune import FinetuneReport, TrainedFrom
from safety_records.finetune_stages import ExportStage, PushStage, TrainStage
from safety_records.manifest import RESULT_NAME
from safety_records.report_files import FINETUNE_HTML_NAME, FINETUNE_JSON_NAME, FINETUNE_METRICS_NAME
from safety_records.result import StageResult, Training
from safety_worker.artifacts.digests import sha256_file
from safety_worker.artifacts.files import atomic_path, atomic_write_text
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import WorkerError
from safety_worker.training.records import METRICS_NAME, SETTINGS_NAME, read_metrics
from safety_worker.training_report import card, page

CARD_NAME = "README.md"
SETTINGS = frozenset(TrainStage.model_fields) - {
    *("namespace", "kind", "name", "inputs_hash", "root", "out", "stage"),
    *("model", "train", "validation", "prepared", "lineage", "backend", "launcher", "grace_seconds"),
}
"""Fields of the specification that are about training."""


def add_report(spec: TrainStage | ExportStage, store: ArtifactStore, result: StageResult) -> StageResult:
    """Write report and card of a trained model; gives the result that names them.

    A model is not lost for its report: what goes wrong becomes a warning, and a line on standard error.
    """
    return _attempt(partial(_write, spec, store, result), result, "this training")


def add_push(spec: PushStage, store: ArtifactStore, result: StageResult) -> StageResult:
    """Write the report of a model anew, with where it was pushed to; as :func:`add_report` for the rest."""
    return _attempt(partial(_write_pushed, spec, store, result), result, "this push")


def _attempt(write: Callable[[], StageResult], result: StageResult, what: str) -> StageResult:
    try:
        return write()
    except Exception as error:  # noqa: BLE001 - whatever it is, the model is complete
        traceback.print_exc(file=sys.stderr)
        # Another library's words may quote rows or names, which have no place in a status.
        why = str(error) if isinstance(error, WorkerError) else type(error).__name__
        warning = f"there is no report of {what}: {why}; the pod's log has the rest"
        return result.model_copy(update={"warnings": (*result.warnings, warning[:200])})


def _write(spec: TrainStage | ExportStage, store: ArtifactStore, result: StageResult) -> StageResult:
    report = describe(*_training_of(spec, store, result), store)
    atomic_write_text(store.path(spec.out) / CARD_NAME, card.render(report))
    return _fill(spec.out, spec.out, report, store, result)


def _write_pushed(spec: PushStage, store: ArtifactStore, result: StageResult) -> StageResult:
    before = store.path(report_folder(spec.model)) / FINETUNE_JSON_NAME
    report = FinetuneReport.from_text(before.read_text(encoding="utf-8"))
    return _fill(spec.out, spec.model, report.model_copy(update={"pushed": result.pushed}), store, result)


def _fill(
    stage_out: str, model: str, report: FinetuneReport, store: ArtifactStore, result: StageResult
) -> StageResult:
    """Write all files of a report into the folder of a stage's; gives the result that names them."""
    lines = read_metrics(store.path(model) / METRICS_NAME)
    out = report_folder(stage_out)
    folder = store.output(out)
    text = json.dumps(report.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    atomic_write_text(folder / FINETUNE_JSON_NAME, text + "\n")
    atomic_write_text(folder / FINETUNE_HTML_NAME, page.render(report, lines))
    with atomic_path(folder / FINETUNE_METRICS_NAME) as temporary:
        pq.write_table(metrics_table(lines), temporary)
    atomic_write_text(folder / CARD_NAME, card.render(report))
    done = store.complete(out, StageResult(stage="report", inputs_hash=result.inputs_hash))
    return result.model_copy(update={"report": done.output, "html": f"{out}/{FINETUNE_HTML_NAME}"})


def report_folder(out: str) -> str:
    """Folder of the report of a model's folder."""
    path = PurePosixPath(out)
    return str(path.with_name(f"report-{path.name.rpartition('-')[2]}"))


def _training_of(
    spec: TrainStage | ExportStage, store: ArtifactStore, result: StageResult
) -> tuple[TrainStage, StageResult]:
    """What the trainer was asked for, and its numbers with the model that came out."""
    if isinstance(spec, TrainStage):
        return spec, result
    asked = store.read_json(f"{spec.trained}/{SETTINGS_NAME}")
    trained = StageResult.model_validate(store.read_json(f"{spec.trained}/{RESULT_NAME}"))
    return TrainStage.model_validate(asked["spec"]), trained.model_copy(update={"output": result.output})


def describe(spec: TrainStage, result: StageResult, store: ArtifactStore) -> FinetuneReport:
    """The document of a finished training."""
    assert result.output is not None
    asked = spec.model_dump(mode="json", by_alias=True, include=set(SETTINGS), exclude_none=True)
    if spec.steps is not None:
        asked.pop("epochs", None)
    return FinetuneReport(
        namespace=spec.namespace,
        name=spec.name,
        backend=spec.backend,
        base=TrainedFrom(name=spec.lineage.get("base", ""), digest=_digest_of(store, spec.model)),
        data=TrainedFrom(name=spec.lineage.get("data", ""), digest=_digest_of_file(store, spec.train)),
        train_rows=result.train_rows,
        validation_rows=result.validation_rows,
        digest=result.output.digest,
        bytes=result.output.bytes,
        settings=asked,
        training=result.training or Training(),
        warnings=result.warnings,
        versions=result.versions,
        seconds=result.seconds,
    )


def _digest_of(store: ArtifactStore, folder: str) -> str:
    manifest = store.manifest(folder)
    return manifest.digest if manifest else ""


def _digest_of_file(store: ArtifactStore, path: str) -> str:
    """Digest of the blend that a training file is of; of other data, that of the file."""
    if not path.startswith("/"):
        return _digest_of(store, path.rpartition("/")[0])
    file = store.path("") / path  # absolute: it is outside of the store
    return f"sha256:{sha256_file(file)}" if file.is_file() else ""


def metrics_table(lines: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The metrics: a row of each line, null where a line does not have a number."""
    names = ["step", *sorted({name for line in lines for name in line} - {"step"})]
    return pa.table({name: [line.get(name) for line in lines] for name in names})
