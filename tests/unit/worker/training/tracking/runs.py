"""A training's files and its description, for tests of trackers."""

import json

from safety_records.tracking import MlflowTarget
from safety_worker.training.tracking.tracker import RunDescription


def write_steps(path, numbers):
    """A line of training for each step, and a validation after each tenth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        for step in numbers:
            stream.write(json.dumps({"step": step, "epoch": step / 10, "loss": 1 / step}) + "\n")
            if step % 10 == 0:
                stream.write(json.dumps({"step": step, "validation_loss": 2 / step}) + "\n")


def described(folder, tracker="tensorboard", uri="", **target):
    """A run of this folder."""
    return RunDescription(
        tracker=tracker,
        run="0f3a11c2-5d1e9a7745aa0c31",
        name="hardened",
        group="team",
        metrics=str(folder / "metrics.jsonl"),
        folder=str(folder / "tensorboard"),
        shown_folder="team/tensorboard-1",
        settings={"learningRate": 1e-4, "method.type": "lora"},
        digests={"modelsafety.dev/model": "sha256:1"},
        mlflow=MlflowTarget(uri=uri, **target) if uri else None,
    )
