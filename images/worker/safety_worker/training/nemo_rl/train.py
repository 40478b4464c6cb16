"""Train with NeMo-RL: what the pod that leads does once all nodes have joined.

Working files are in ``<out>.work``: ``checkpoints/``, ``logs/``, ``output-N.log`` of each start,
``config.yaml`` as NeMo-RL was given it, ``metrics.jsonl``, ``resumes.json``.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from statistics import median_high
from typing import Any

from safety_records.finetune_stages import TrainStage
from safety_records.manifest import MANIFEST_NAME, RESULT_NAME
from safety_records.progress import Progress
from safety_records.result import Artifact, StageResult, Training
from safety_worker.artifacts.digests import build_manifest
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InfrastructureError
from safety_worker.ray_launcher import Cluster, run_driver
from safety_worker.training.nemo_rl import checkpoints, yaml_file
from safety_worker.training.nemo_rl.environment import driver_environment
from safety_worker.training.nemo_rl.failures import INCOMPLETE, cannot_read, explain
from safety_worker.training.nemo_rl.following import Course, Follower
from safety_worker.training.nemo_rl.image import ENTRY_POINT, check_workers, find_home, release_of
from safety_worker.training.nemo_rl.layout import CHECKPOINTS, CONFIG_NAME, DONE_NAME, PLAN_NAME
from safety_worker.training.nemo_rl.sealing import seal_new
from safety_worker.training.nemo_rl.validations import VALIDATIONS_NAME, StoppedEarlyError, Validations
from safety_worker.training.records import (
    METRICS_NAME,
    SETTINGS_NAME,
    MetricsFile,
    count_resume,
    last_value,
    read_resumes,
)
from safety_worker.training.tracking.following import Following, following

LIBRARIES = ("torch", "transformers", "ray", "datasets")
"""Of NeMo-RL's own environment; their versions influence the result."""

LAST_NUMBERS = ("loss", "validation_loss", "learning_rate", "grad_norm")
"""Of the last step in the end."""

INTO_FILE = 'exec "$@" >>"$0" 2>&1'
"""Shell: run the arguments with their output in a file. Standard output is for progress lines."""


class TrainingRun:
    """One training; :attr:`result` is there once it has ended well."""

    def __init__(self, spec: TrainStage, root: Path, environment: Mapping[str, str]) -> None:
        self.result: StageResult | None = None
        self._spec, self._root = spec, root
        scratch = Path(tempfile.gettempdir()) / "nemo-rl"
        self._given = environment
        self._environment = driver_environment(environment, scratch)
        self._work = root / f"{spec.out}.work"
        self._checkpoints = self._work / CHECKPOINTS
        self._notes: tuple[str, ...] = ()
        self._tracked = Following()

    def check_image(self) -> None:
        """Look whether this pod's image can train at all; takes seconds.

        Raises
        ------
        InputError
            If NeMo-RL, its release or its workers' Python is not what it has to be.
        """
        home = find_home(self._environment, self._record()["version"])
        check_workers(self._environment, home)

    def _record(self) -> dict[str, Any]:
        """What the prepare stage has found and planned."""
        path = self._root / self._spec.prepared / PLAN_NAME
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    def drive(self, cluster: Cluster) -> int:
        """Train to the last step, and write the result; gives 0.

        Raises
        ------
        WorkerError, LaunchError
            If the training did not get to its last step; LaunchError where it lost a node.
        """
        record = self._record()
        steps = int(record["plan"]["steps"])
        self._work.mkdir(parents=True, exist_ok=True)
        self._notes = checkpoints.clear_debris(self._checkpoints)
        last = checkpoints.last_checkpoint(self._checkpoints)
        home = find_home(self._environment, record["version"])
        validations = Validations(self._work / VALIDATIONS_NAME, _steps(last), self._spec.early_stop_after)
        validations.look(self._checkpoints)
        with following(self._spec, self._root, self._given) as self._tracked:
            if _steps(last) < steps and validations.end is None:
                last = self._train(cluster, home, record, _steps(last), validations)
            self._tracked.end("finished")
            self._tracked.wait()
        if validations.end is not None:
            last = checkpoints.cut_after(self._checkpoints, validations.end)
        if last is None:
            raise InfrastructureError(
                "CheckpointLost", "no checkpoint of the last step is whole: the next try trains on to it"
            )
        self.result = self._finish(record, last, release_of(home), validations.end)
        return 0

    def _train(
        self, cluster: Cluster, home: Path, record: dict[str, Any], first: int, validations: Validations
    ) -> checkpoints.Checkpoint | None:
        """Run NeMo-RL; gives the checkpoint of the last step."""
        steps = int(record["plan"]["steps"])
        config = self._write_configuration()
        output = self._next_output()
        follower = self._follower(record, first, output)
        command = (sys.executable, "-u", ENTRY_POINT, "--config", str(config))

        def look() -> None:
            follower.look()
            seal_new(self._checkpoints)
            validations.look(self._checkpoints)
            if validations.end is not None:
                raise StoppedEarlyError

        try:
            code = run_driver(
                cluster,
                ("/bin/sh", "-c", INTO_FILE, str(output), *command),
                environment=self._environment,
                cwd=home,
                tick=look,
            )
            look()
        except StoppedEarlyError:
            return None
        last = checkpoints.last_checkpoint(self._checkpoints)
        if last is None or _steps(last) < steps:
            if last is not None and not follower.began and cannot_read(output):
                raise _give_up(last)
            error = explain(output, code, _steps(last), steps)
            if error.reason == INCOMPLETE:
                cluster.check_after_failure()
            raise error
        return last

    def _write_configuration(self) -> Path:
        """The prepared configuration with the folders of this training."""
        tree = yaml_file.read(self._root / self._spec.prepared / CONFIG_NAME)
        for section, name in (("checkpointing", "checkpoint_dir"), ("logger", "log_dir")):
            tree[section][name] = str(self._work / tree[section][name])
        path = self._work / CONFIG_NAME
        yaml_file.write(path, tree)
        return path

    def _next_output(self) -> Path:
        """A new file for each start."""
        number = len(list(self._work.glob("output-*.log"))) + 1
        return self._work / f"output-{number}.log"

    def _follower(self, record: dict[str, Any], first: int, output: Path) -> Follower:
        resumes = count_resume(self._work) if first else read_resumes(self._work)
        rows = record["train"]
        course = Course(
            first_step=first,
            total_steps=int(record["plan"]["steps"]),
            steps_per_epoch=int(record["plan"]["steps_per_epoch"]),
            tokens_per_trained=rows["tokens"] / max(1, rows["trained"]),
            trained_share=trained_share(record),
            resumes=resumes,
            step_timeout_seconds=self._spec.step_timeout_seconds,
        )
        return Follower(
            course,
            logs=self._work / "logs",
            output=output,
            checkpoints=self._checkpoints,
            metrics=MetricsFile(self._work / METRICS_NAME, first),
            report_progress=self._report,
        )

    def _report(self, progress: Progress) -> None:
        report(progress.model_copy(update={"tracking": self._tracked.runs()}))

    def _finish(
        self, record: dict[str, Any], last: checkpoints.Checkpoint, release: str, end: int | None
    ) -> StageResult:
        """Leave the record of the training; its checkpoints stay for the export stage."""
        out = self._root / self._spec.out
        out.mkdir(parents=True, exist_ok=True)
        lines = MetricsFile(self._work / METRICS_NAME, last.step).lines
        shutil.copyfile(self._work / METRICS_NAME, out / METRICS_NAME)
        shutil.copyfile(self._root / self._spec.prepared / CONFIG_NAME, out / CONFIG_NAME)
        best = checkpoints.best_checkpoint(self._checkpoints)
        done = {"steps": last.step, "last": last.path.name, "best": best.path.name if best else ""}
        atomic_write_text(out / DONE_NAME, json.dumps(done, indent=1, sort_keys=True))
        asked = {"spec": self._spec.model_dump(mode="json", by_alias=True), "plan": record["plan"]}
        atomic_write_text(out / SETTINGS_NAME, json.dumps(asked, indent=1, sort_keys=True))
        manifest = build_manifest(out, self._spec.inputs_hash)
        result = StageResult(
            stage="train",
            inputs_hash=self._spec.inputs_hash,
            output=Artifact(
                uri=self._spec.out, digest=manifest.digest, bytes=sum(file.size for file in manifest.files)
            ),
            train_rows=record["train"]["rows"],
            validation_rows=record["validation"]["rows"] if record["validation"] else None,
            training=self._summary(record, lines, last, stopped_early=end is not None),
            warnings=self._notes,
            versions={"nemo-rl": release} | _versions(),
        )
        atomic_write_text(out / RESULT_NAME, result.to_json())
        atomic_write_text(out / MANIFEST_NAME, manifest.to_json())
        return result

    def _summary(
        self,
        record: dict[str, Any],
        lines: list[dict[str, Any]],
        last: checkpoints.Checkpoint,
        *,
        stopped_early: bool,
    ) -> Training:
        steps, world = int(record["plan"]["steps"]), self._spec.nodes * self._spec.processes
        best = checkpoints.best_checkpoint(self._checkpoints) if self._spec.best != "none" else None
        return Training(
            step=last.step,
            steps=steps,
            stopped_early=(stopped_early and last.step < steps) or None,
            epoch=round(last.step / record["plan"]["steps_per_epoch"], 4),
            **{name: last_value(lines, name) for name in LAST_NUMBERS},
            tokens_per_second=_median(lines, "tokens_per_second"),
            trained_share=trained_share(record),
            mfu=_median(lines, "mfu"),
            processes=world,
            strategy="fsdp" if world > 1 else None,
            best_step=best.step if best else None,
            resumes=read_resumes(self._work),
            tracking=self._tracked.runs(),
        )


def _give_up(last: checkpoints.Checkpoint) -> InfrastructureError:
    """Move a checkpoint aside that NeMo-RL could not read, so that the next try takes the one before."""
    checkpoints.set_aside(last.path, "NeMo-RL could not read it")
    return InfrastructureError(
        "CheckpointFailed",
        f"NeMo-RL could not read {last.path.name}: the next try continues from the checkpoint before it",
    )


def _steps(checkpoint: checkpoints.Checkpoint | None) -> int:
    """Steps of a checkpoint by NeMo-RL's own record; 0 without one."""
    return int(checkpoint.info["total_steps"]) if checkpoint else 0


def trained_share(record: dict[str, Any]) -> float | None:
    """Share of the training rows' tokens that are trained on, by a prepared training's record."""
    rows = record["train"]
    return round(rows["trained"] / rows["tokens"], 6) if rows["tokens"] else None


def _median(lines: list[dict[str, Any]], key: str) -> float | None:
    values = [line[key] for line in lines if key in line]
    return median_high(values) if values else None


def _versions() -> dict[str, str]:
    """Of the libraries that this Python has; workers may have others."""
    found = {distribution.name.lower(): distribution.version for distribution in metadata.distributions()}
    return {name: found[name] for name in LIBRARIES if name in found}


def report(progress: Progress) -> None:
    """A progress line on standard output."""
    print(progress.to_json(), flush=True)  # noqa: T201 - the protocol
