"""SafetyFinetune: fetch the model, wait for the data, train."""

from dataclasses import dataclass, field
from typing import Any

from safety_operator.api.conditions import ArtifactStatus, ConditionType, Reason
from safety_operator.api.safety_blend import BlendArtifact, SafetyBlendStatus
from safety_operator.api.safety_finetune import SafetyFinetuneSpec, SafetyFinetuneStatus
from safety_operator.children.accelerated_job import training_shape
from safety_operator.planning.engine.batch import (
    MAX_WARNINGS,
    Outcome,
    advance,
    conclude,
)
from safety_operator.planning.engine.problems import Blocked, Problem, UnmetRuleError, attempt
from safety_operator.planning.engine.products import Model, check_same_claim, find_finished, split_artifact
from safety_operator.planning.engine.references import Inputs, Reference, uri_reference
from safety_operator.planning.engine.stages import Decision, Run, Stage, Work, artifact_fields
from safety_operator.planning.safety_finetune.gpu_memory import gpu_memory
from safety_operator.planning.safety_finetune.room import Room, There, capacity_of, find_room
from safety_operator.planning.safety_finetune.settings import (
    checkpoints_gradients,
    chosen_settings,
    filled_in,
    grace_seconds_of,
    launcher_of,
    layout_of,
    processes_of,
    strategy_of,
)
from safety_operator.planning.shared.models import FETCH, device_of, fetch_model, find_model, model_references
from safety_operator.state.keys import RUN_KINDS, ObjectKey
from safety_operator.state.plan import Plan
from safety_operator.state.reading import integer, known_digest, value_at
from safety_records.base import shared
from safety_records.result import Training
from safety_records.stages import TrainStage
from safety_records.training import Device, TrainingNumbers, TrainSchedule

TRAIN = "train"
"""Name of the stage that trains."""

FineRun = Run[SafetyFinetuneSpec]


def references(spec: SafetyFinetuneSpec) -> tuple[Reference, ...]:
    """The model and the data."""
    blend, uri = spec.data.blend_ref, spec.data.uri
    return (
        *model_references(spec.model),
        *([Reference("spec.data.blendRef", "SafetyBlend", blend.name)] if blend else ()),
        *([uri_reference("spec.data.uri", uri, TRAIN)] if uri else ()),
    )


def plan(run: FineRun) -> Plan:
    """Where fine-tuning is, and what to do about it."""
    return conclude(advance(run, TABLE), "Training finished; the model is in status.output.", _status)


def _train(run: FineRun) -> Decision:
    model, data = find_model(run, run.spec.model, "spec.model"), _find_training_data(run)
    device = device_of(run, run.spec.compute.device)
    _check_sizes(filled_in(run.spec), model, data)
    _check_room(run, model)
    spec = _train_spec(run, model, data, device)
    inputs = {"model": model.digest, "train": data.digest, "validation": data.digest}
    grace = grace_seconds_of(run.spec, model.shape)
    shape = training_shape(data.source.shape(), run.spec.compute, device=device, grace_seconds=grace)
    return Work(spec, inputs=inputs, shape=shape, outside=data.source.outside)


@dataclass(frozen=True, slots=True)
class _TrainingData:
    """Files of training data, and what is known about them."""

    train: str
    """Relative to the artifact root, or absolute."""
    validation: str = ""
    digest: str = ""
    rows: int | None = None
    source: Inputs = field(default_factory=Inputs)


def _find_training_data(run: FineRun) -> _TrainingData:
    data = run.spec.data
    if data.blend_ref is not None:
        return _from_blend(run, data.blend_ref.name)
    if data.uri is None:
        raise UnmetRuleError("spec.data names no data")
    found = run.inputs(TRAIN)
    digest = found.digests.get(data.uri) or data.uri
    return _TrainingData(_mounted_path(data.uri), digest=digest, source=found)


def _mounted_path(uri: str) -> str:
    """Absolute path of a data URI inside a pod: of a file of the image, a ConfigMap or a claim."""
    scheme, _, rest = uri.partition("://")
    return rest if scheme == "file" else f"/inputs/{scheme}/{rest}"


def _from_blend(run: FineRun, name: str) -> _TrainingData:
    blend = find_finished(run, SafetyBlendStatus, name, ConditionType.READY)
    output = blend.status.output or BlendArtifact()
    claim, path = split_artifact(output.uri)
    check_same_claim(run, claim, "spec.data.blendRef", f"SafetyBlend {name}")
    suffix = str(value_at(blend.manifest, "spec", "output", "format", default="jsonl"))
    validation = f"{path}/validation.{suffix}" if output.validation_rows else ""
    return _TrainingData(
        f"{path}/train.{suffix}",
        validation,
        known_digest(output.digest),
        output.train_rows,
    )


def _check_sizes(spec: SafetyFinetuneSpec, model: Model, data: _TrainingData) -> None:
    """Raise Blocked for what model and data show to be wrong, before any accelerator is asked for."""
    batch = spec.batch
    if data.rows is not None and data.rows < batch.global_:
        raise _invalid(
            f"spec.batch.global: {batch.global_} rows a step, but the data have only {data.rows} training "
            "rows, so not one step would be made. Lower batch.global, or enlarge the blend."
        )
    if model.max_length is not None and batch.max_sequence_length > model.max_length:
        raise _invalid(
            f"spec.batch.maxSequenceLength: {batch.max_sequence_length} tokens, but the model takes "
            f"{model.max_length} at most. Lower it to {model.max_length} or less."
        )


def _check_room(run: FineRun, model: Model) -> None:
    """Raise Blocked where a training that has not begun cannot fit."""
    problem = _find_room(run, model).problem
    if problem is not None and not run.before.stage(TRAIN).job:
        raise Blocked(problem)


def _find_room(run: FineRun, model: Model) -> Room:
    spec, device = filled_in(run.spec), device_of(run, run.spec.compute.device)
    claim = run.observed.claims.get(run.claim)
    there = There(
        gpu=gpu_memory(spec.compute.gpu_memory, run.options("trainer").node_selector),
        claim=run.claim,
        capacity=capacity_of(value_at(claim, "status", "capacity", "storage")),
    )
    return find_room(model, spec, layout_of(spec, device), device, there)


def _invalid(message: str) -> Blocked:
    return Blocked(Problem(Reason.INVALID_SPEC, message))


def _train_spec(run: FineRun, model: Model, data: _TrainingData, device: Device) -> TrainStage:
    spec = filled_in(run.spec)
    return TrainStage(
        **run.base(),
        backend=spec.backend,
        model=model.path,
        train=data.train,
        validation=data.validation,
        method=spec.method,
        global_batch=spec.batch.global_,
        micro_batch=spec.batch.micro,
        max_sequence_length=spec.batch.max_sequence_length,
        long_rows=spec.batch.long_rows,
        packing=spec.batch.packing,
        precision=spec.precision,
        gradient_checkpointing=checkpoints_gradients(spec, device),
        seed=spec.seed,
        checkpoint_steps=spec.checkpoint.every_steps,
        checkpoint_keep=spec.checkpoint.keep,
        best=spec.checkpoint.best,
        validation_steps=spec.validation.every_steps,
        early_stop_after=spec.validation.early_stop_after,
        step_timeout_seconds=spec.step_timeout_seconds,
        device=device,
        nodes=spec.compute.nodes,
        processes=processes_of(spec.compute, device),
        strategy=strategy_of(spec),
        launcher=launcher_of(spec.compute),
        grace_seconds=grace_seconds_of(spec, model.shape),
        overrides={key: _scalar(value) for key, value in spec.overrides.items()},
        **shared(spec.schedule, TrainSchedule),
    )


def _scalar(value: Any) -> bool | int | float | str:
    """An override as the record takes it; anything nested as its text, which the trainer refuses by name."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _status(outcome: Outcome[SafetyFinetuneSpec], common: dict[str, Any]) -> SafetyFinetuneStatus:
    """Numbers from the finished record, else from the running pod, else the last ones known."""
    run = outcome.run
    record = run.results.get(TRAIN)
    model = attempt(find_model, run, run.spec.model, "spec.model").value
    output = record.output if record else None
    room = _find_room(run, model) if model else None
    if room is not None and record is None:
        common["warnings"] = [*room.warnings, *common["warnings"]][:MAX_WARNINGS]
    return SafetyFinetuneStatus(
        **common,
        **shared(_training(outcome), Training),
        restarts=_restarts(outcome),
        base_digest=model.digest if model else "",
        data_digest=_data_digest(run),
        output=ArtifactStatus(**artifact_fields(run, output)) if output else None,
        settings=chosen_settings(run.spec, device_of(run, run.spec.compute.device)),
        estimate=room.estimate if room else None,
    )


def _training(outcome: Outcome[SafetyFinetuneSpec]) -> Training:
    record = outcome.run.results.get(TRAIN)
    if record is not None and record.training is not None:
        return record.training
    view = outcome.view(TRAIN)
    job = view.status.job if view and view.status.state != "Pending" else ""
    progress = outcome.run.observed.progress.get(job)
    if progress is not None and progress.unit == "steps":
        numbers = shared(progress, TrainingNumbers) | {"resumes": progress.resumes or 0}
        return Training(**numbers, step=progress.done, steps=progress.total or None)
    return _last_training(outcome, view.status.hash if view else "")


def _last_training(outcome: Outcome[SafetyFinetuneSpec], digest: str) -> Training:
    """That of the present status, while nothing new is known of the same training."""
    before = outcome.run.before
    same = digest and before.stage(TRAIN).hash == digest
    return Training(**shared(before, Training)) if same else Training()


def _restarts(outcome: Outcome[SafetyFinetuneSpec]) -> int:
    run, view = outcome.run, outcome.view(TRAIN)
    assert isinstance(run.before, SafetyFinetuneStatus)
    name = view.status.job if view else ""
    jobs = (run.observed.children.get(ObjectKey(kind, name)) for kind in RUN_KINDS)
    job = next((job for job in jobs if job is not None), None)
    same = view is not None and run.before.stage(TRAIN).hash == view.status.hash
    return max(integer(value_at(job, "status", "failed")), (run.before.restarts or 0) if same else 0)


def _data_digest(run: FineRun) -> str:
    data = attempt(_find_training_data, run).value
    return data.digest if data else ""


TABLE: tuple[Stage[SafetyFinetuneSpec], ...] = (
    Stage(FETCH, lambda run: fetch_model(run, run.spec.model)),
    Stage(TRAIN, _train, needs=(FETCH,)),
)
"""Training waits for the blend by itself; fetching goes on meanwhile."""
