"""What trackers are told of a training besides its numbers: settings and digests, and no text of data."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from safety_records.finetune_stages import TrainSettings, TrainStage
from safety_records.manifest import MANIFEST_NAME, Manifest
from safety_records.tracking import Tracker
from safety_worker.training.records import METRICS_NAME
from safety_worker.training.tracking.tracker import RunDescription

SETTINGS = frozenset(TrainSettings.model_fields) - {
    *("model", "train", "validation", "lineage", "overrides", "grace_seconds", "step_timeout_seconds"),
}
Value = str | int | float | bool


def describe(spec: TrainStage, root: Path, tracker: Tracker) -> RunDescription:
    """The run of a training at a tracker."""
    assert spec.tracking is not None
    folder = tracked_folder(spec.out)
    return RunDescription(
        tracker=tracker,
        run=run_id(spec.out),
        name=spec.name,
        group=spec.namespace,
        metrics=str(root / f"{spec.out}.work" / METRICS_NAME),
        folder=str(root / folder),
        shown_folder=folder,
        settings=dict(_settings(spec)),
        digests=_digests(spec, root),
        mlflow=spec.tracking.mlflow if tracker == "mlflow" else None,
        wandb=spec.tracking.wandb if tracker == "wandb" else None,
    )


def run_id(out: str) -> str:
    """Of the resource and the hash of the stage's inputs, which its folder has in its path."""
    path = PurePosixPath(out)
    return f"{path.parent.name}-{path.name.rpartition('-')[2]}"


def tracked_folder(out: str) -> str:
    """Folder of TensorBoard's files, next to that of a training."""
    path = PurePosixPath(out)
    return str(path.with_name(f"tensorboard-{path.name.rpartition('-')[2]}"))


def _settings(spec: TrainStage) -> Iterator[tuple[str, Value]]:
    """Settings by their names in a resource, parts joined by dots.

    Of the overrides numbers and switches: a text may be anything, such as a token.
    """
    given = spec.model_dump(mode="json", by_alias=True, include=set(SETTINGS), exclude_none=True)
    for key, value in given.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{part}", _scalar(inner)) for part, inner in value.items() if inner != [])
        elif value not in ("", []):
            yield key, _scalar(value)
    for key, override in spec.overrides.items():
        if not isinstance(override, str):
            yield f"overrides.{key}"[:250], override


def _scalar(value: object) -> Value:
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _digests(spec: TrainStage, root: Path) -> dict[str, str]:
    found = {
        "model": _digest(root / spec.model),
        "data": _digest((root / spec.train).parent),
        "inputs": spec.inputs_hash,
    }
    return {f"modelsafety.dev/{name}": digest for name, digest in found.items() if digest}


def _digest(folder: Path) -> str:
    """Digest of a folder of the store; empty where it has no manifest."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST_NAME).read_text(encoding="utf-8")).digest
    except (OSError, ValueError):
        return ""
