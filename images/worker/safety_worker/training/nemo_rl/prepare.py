"""Prepare a training with NeMo-RL: check rows and settings, write what the training starts from.

Called by the prepare stage, in the worker image, before a GPU is asked for.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoTokenizer

from safety_records.finetune_stages import PrepareStage
from safety_records.nemo_rl.configuration import Tree
from safety_records.nemo_rl.errors import ConfigurationError
from safety_records.nemo_rl.rendering import Places, Steps
from safety_records.nemo_rl.versions import check_early, configure
from safety_records.progress import Progress
from safety_records.result import StageResult
from safety_worker.artifacts.files import atomic_write_text, write_lines
from safety_worker.errors import InputError
from safety_worker.models.model_folder import max_length
from safety_worker.training.encoding import EncodedFile, read_rows
from safety_worker.training.nemo_rl import yaml_file
from safety_worker.training.nemo_rl.layout import CONFIG_NAME, PLAN_NAME, TRAIN_NAME, VALIDATION_NAME
from safety_worker.training.nemo_rl.model_code import check_code
from safety_worker.training.nemo_rl.rows import Kept, keep_rows
from safety_worker.training.nemo_rl.steps import check_length, plan_steps
from safety_worker.training.nemo_rl.targets import check_targets
from safety_worker.training.planning import TrainPlan

APART = (
    "are other tokens than a server's: NeMo-RL tokenises prompt and answer apart; use backend trl where "
    "that matters"
)


class _Rows(NamedTuple):
    train: Kept
    validation: Kept | None
    warnings: tuple[str, ...]


def prepare(spec: PrepareStage, root: Path, report_progress: Callable[[Progress], None]) -> StageResult:
    """Check the training and write its files into the stage's output folder.

    Parameters
    ----------
    spec
        The stage; its paths are relative to ``root``.
    root
        Artifact root, a local folder at the same path in the pods that train.
    report_progress
        Told what is being done.

    Raises
    ------
    InputError
        If a person must act.
    """
    folder = root / spec.model
    check_code(folder)
    length = max_length(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    check_length(spec, length)
    with _as_input_error():
        check_early(spec)
    check_targets(folder, spec.method.target_modules)
    report_progress(_progress("reading rows"))
    rows = _read_rows(spec, root, folder)
    plan = plan_steps(spec, len(rows.train.rows), length)
    out = root / spec.out
    with _as_input_error():
        tree = configure(spec, Steps(plan.steps, plan.steps_per_epoch), _places(out, folder, rows))
    _write(out, rows, tree, plan, spec)
    return StageResult(
        stage="prepare",
        inputs_hash=spec.inputs_hash,
        train_rows=len(rows.train.rows),
        validation_rows=len(rows.validation.rows) if rows.validation else None,
        tokens=rows.train.tokens,
        max_length=rows.train.longest,
        warnings=rows.warnings,
    )


def _progress(message: str) -> Progress:
    return Progress(stage="prepare", done=0, total=0, message=message)


def _read_rows(spec: PrepareStage, root: Path, folder: Path) -> _Rows:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = read_rows(tokenizer, [root / file for file in (spec.train, spec.validation) if file])
    kept = [_keep(tokenizer, spec, file, marked=found.marked) for file in found.files]
    validation = kept[1] if spec.validation else None
    if validation is not None and not validation.rows:
        raise InputError("NoValidationRows", "no validation row is left: lengthen batch.maxSequenceLength")
    warnings = [text for file, rows in zip(found.files, kept, strict=True) for text in _warnings(rows, file)]
    return _Rows(kept[0], validation, (*found.warnings, *warnings))


def _keep(tokenizer: Any, spec: PrepareStage, file: EncodedFile, *, marked: bool) -> Kept:
    refuse = spec.long_rows == "refuse"
    return keep_rows(tokenizer, file, marked=marked, max_length=spec.max_sequence_length, refuse=refuse)


def _warnings(kept: Kept, file: EncodedFile) -> tuple[str, ...]:
    counted = (
        (
            kept.cut,
            "are cut: they are longer than batch.maxSequenceLength, so no end of the answer is learnt",
        ),
        (kept.left_out, "are left out: their prompts fill batch.maxSequenceLength"),
        (kept.differing, APART),
    )
    every = len(file.rows)
    return tuple(f"{file.name}: {count} of {every} rows {what}" for count, what in counted if count)


@contextmanager
def _as_input_error() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise InputError(error.reason, error.message) from error


def _places(out: Path, folder: Path, rows: _Rows) -> Places:
    validation = str(out / VALIDATION_NAME) if rows.validation else ""
    # Folders of checkpoints and logs are below the training's own, which is not known yet.
    return Places(str(folder), str(out / TRAIN_NAME), validation, "checkpoints", "logs")


def _write(out: Path, rows: _Rows, tree: Tree, plan: TrainPlan, spec: PrepareStage) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, kept in ((TRAIN_NAME, rows.train), (VALIDATION_NAME, rows.validation)):
        if kept is not None:
            write_lines(out / name, (json.dumps({"messages": messages}) for messages in kept.rows))
    yaml_file.write(out / CONFIG_NAME, tree)
    record = {
        "version": spec.nemo_rl.version,
        "plan": asdict(plan),
        "train": _counts(rows.train),
        "validation": _counts(rows.validation) if rows.validation else None,
        "spec": spec.model_dump(mode="json", by_alias=True),
    }
    atomic_write_text(out / PLAN_NAME, json.dumps(record, indent=1, sort_keys=True))


def _counts(kept: Kept) -> dict[str, int]:
    return {"rows": len(kept.rows)} | {key: value for key, value in kept._asdict().items() if key != "rows"}
