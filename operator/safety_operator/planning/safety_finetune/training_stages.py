"""The stages of a fine-tuning. trl: fetch, train. nemo-rl: fetch, prepare, train in its image, export.

Both: push, where the spec says where to (``pushing``).
"""

from typing import Any

from safety_operator.api.conditions import Reason
from safety_operator.api.quantities import amount
from safety_operator.api.safety_finetune import NemoRl, SafetyFinetuneSpec
from safety_operator.children.accelerated_job import nemo_rl_shape, training_resources, training_shape
from safety_operator.children.ray_job import LEAST_MEMORY
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.stages import Decision, Run, Stage, Work
from safety_operator.planning.safety_finetune.gpu_memory import gpu_memory
from safety_operator.planning.safety_finetune.pushing import push_stages
from safety_operator.planning.safety_finetune.room import Room, There, capacity_of, find_room
from safety_operator.planning.safety_finetune.settings import (
    checkpoints_gradients,
    filled_in,
    grace_seconds_of,
    launcher_of,
    layout_of,
    processes_of,
    strategy_of,
)
from safety_operator.planning.safety_finetune.tracking import find_targets, with_tracking
from safety_operator.planning.safety_finetune.training_data import (
    PREPARE,
    TRAIN,
    TrainingData,
    find_training_data,
)
from safety_operator.planning.shared.models import FETCH, check_trainable, device_of, fetch_model, find_model
from safety_operator.state.reading import value_at
from safety_records.base import shared
from safety_records.finetune_stages import ExportStage, PrepareStage, TrainStage
from safety_records.training import NemoRlSettings, TrainSchedule

EXPORT = "export"
"""Backend nemo-rl: name of the stage that makes a model folder of a checkpoint."""

FineRun = Run[SafetyFinetuneSpec]


def table_of(spec: SafetyFinetuneSpec) -> tuple[Stage[SafetyFinetuneSpec], ...]:
    """The stages of a backend. Whoever reads the data waits for them; fetching goes on meanwhile."""
    fetch: Stage[SafetyFinetuneSpec] = Stage(FETCH, lambda run: fetch_model(run, run.spec.model))
    push = push_stages(spec, exporter(spec))
    if spec.backend == "trl":
        return (fetch, Stage(TRAIN, _train, needs=(FETCH,)), *push)
    return (
        Stage(FETCH, _fetch_for_nemo_rl),
        Stage(PREPARE, _prepare, needs=(FETCH,)),
        Stage(TRAIN, _train_with_nemo_rl, needs=(PREPARE,)),
        Stage(EXPORT, _export, needs=(TRAIN,)),
        *push,
    )


def exporter(spec: SafetyFinetuneSpec) -> str:
    """The stage whose output is the model."""
    return EXPORT if spec.backend == "nemo-rl" else TRAIN


def _train(run: FineRun) -> Decision:
    model, data = _find_inputs(run)
    device = device_of(run, run.spec.compute.device)
    spec = TrainStage(**run.base(), **_settings(run, model, data), tracking=find_targets(run.spec))
    shape = training_shape(
        data.source.shape(), run.spec.compute, device=device, grace_seconds=spec.grace_seconds or 0
    )
    shape = with_tracking(shape, run)
    return Work(spec, inputs=_digests(model, data), shape=shape, outside=data.source.outside)


def _fetch_for_nemo_rl(run: FineRun) -> Decision:
    """Fetch the model of settings that NeMo-RL can keep to."""
    _check_device(run)
    _check_cpus(run)
    _check_memory(run)
    _check_configuration(run)
    return fetch_model(run, run.spec.model)


def _check_configuration(run: FineRun) -> None:
    """Raise Blocked for what NeMo-RL's configuration would be refused for, whatever model and data are."""
    # Other kinds and backends do not pay for its models.
    from safety_records.nemo_rl.errors import ConfigurationError  # noqa: PLC0415
    from safety_records.nemo_rl.versions import check_early  # noqa: PLC0415

    data = TrainingData("train", "validation" if run.spec.data.blend_ref else "")
    try:
        check_early(_prepare_stage(run, Model("model", "", ""), data))
    except ConfigurationError as error:
        raise _invalid(f"spec.{error.message}.") from error


def _prepare_stage(run: FineRun, model: Model, data: TrainingData) -> PrepareStage:
    nemo = NemoRlSettings(**shared(run.spec.nemo_rl or NemoRl(), NemoRlSettings))
    return PrepareStage(**run.base(), **_settings(run, model, data), nemo_rl=nemo)


def _prepare(run: FineRun) -> Decision:
    model, data = _find_inputs(run)
    spec = _prepare_stage(run, model, data)
    shape = data.source.shape()
    return Work(spec, inputs=_digests(model, data), shape=shape, outside=data.source.outside)


def _train_with_nemo_rl(run: FineRun) -> Decision:
    model, data = _find_inputs(run)
    tracking = find_targets(run.spec)
    spec = TrainStage(
        **run.base(), **_settings(run, model, data), prepared=run.out(PREPARE), tracking=tracking
    )
    shape = with_tracking(_nemo_rl_shape(run, spec.grace_seconds or 0), run)
    inputs = {**_digests(model, data), "prepared": run.digest(PREPARE)}
    return Work(spec, inputs=inputs, shape=shape)


def _nemo_rl_shape(run: FineRun, grace_seconds: int) -> JobShape:
    nemo = run.spec.nemo_rl or NemoRl()
    return nemo_rl_shape(
        JobShape(),
        run.spec.compute,
        image=nemo.image or f"{run.settings.images.nemo_rl}:v{nemo.version}",
        version=nemo.version,
        grace_seconds=grace_seconds,
        as_root=nemo.run_as_root,
    )


def _check_cpus(run: FineRun) -> None:
    """Raise Blocked where Ray would wait for ever: a CPU for each GPU's process, and one for the driver."""
    gpus, options = run.spec.compute.gpus_per_node, run.options("trainer")
    wanted = _nemo_rl_shape(run, 0).resources.settle(options.resources).limited(options.limit_ratio)
    limit = amount(wanted.limits.get("cpu", gpus + 1))
    if limit is not None and limit < gpus + 1:
        raise _invalid(
            f"spec.compute.resources: a limit of cpu: {wanted.limits['cpu']} for {gpus} GPUs a node, but "
            "backend nemo-rl runs on Ray, which needs a CPU for each GPU and one more: raise it to "
            f"{gpus + 1} at least, or leave it out."
        )


def _check_memory(run: FineRun) -> None:
    """Raise Blocked where the pods have too little memory for Ray alone."""
    options = run.options("trainer")
    wanted = _nemo_rl_shape(run, 0).resources.settle(options.resources).limited(options.limit_ratio)
    limit, least = amount(wanted.limits.get("memory", LEAST_MEMORY)), amount(LEAST_MEMORY)
    if limit is not None and least is not None and limit < least:
        raise _invalid(
            f"spec.compute.resources: a limit of memory: {wanted.limits['memory']} for a training pod, but "
            f"backend nemo-rl runs on Ray, which does not start with less than {LEAST_MEMORY}, and the "
            "training comes on top: raise it, or leave it out."
        )


def _export(run: FineRun) -> Decision:
    model = find_model(run, run.spec.model, "spec.model")
    spec = ExportStage(
        **run.base(),
        trained=run.out(TRAIN),
        model=model.path,
        method=run.spec.method,
        best=filled_in(run.spec).checkpoint.best,
    )
    return Work(spec, inputs={"model": model.digest, "trained": run.hashes[TRAIN]})


def _find_inputs(run: FineRun) -> tuple[Model, TrainingData]:
    """Model and data. Raises Blocked for what is missing, and for what is wrong before a GPU is asked for."""
    model, data = find_model(run, run.spec.model, "spec.model"), find_training_data(run)
    check_trainable(model, "spec.model")
    _check_device(run)
    _check_sizes(filled_in(run.spec), model, data)
    _check_room(run, model)
    return model, data


def _digests(model: Model, data: TrainingData) -> dict[str, str]:
    return {"model": model.digest, "train": data.digest, "validation": data.digest}


def _check_device(run: FineRun) -> None:
    if run.spec.backend == "nemo-rl" and device_of(run, run.spec.compute.device) == "cpu":
        raise _invalid(
            "spec.backend: nemo-rl trains on GPUs, and the chart's default device is cpu. Set compute.device "
            "to gpu, or backend to trl."
        )


def _check_sizes(spec: SafetyFinetuneSpec, model: Model, data: TrainingData) -> None:
    """Raise Blocked for what model and data show to be wrong, before any accelerator is asked for."""
    batch = spec.batch
    asks = spec.checkpoint.best != "none" or spec.validation.early_stop_after is not None
    if asks and not data.validation:
        raise _invalid(
            "spec: checkpoint.best and validation.earlyStopAfter go by the validation loss, and the data "
            "have no validation rows. Set split.validation of the SafetyBlend, or checkpoint.best to none "
            "without validation.earlyStopAfter."
        )
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
    problem = room_of(run, model).problem
    if problem is not None and not run.before.stage(TRAIN).job:
        raise Blocked(problem)


def room_of(run: FineRun, model: Model) -> Room:
    """What the training is expected to take, against what is there."""
    spec, device = filled_in(run.spec), device_of(run, run.spec.compute.device)
    claim = run.observed.claims.get(run.claim)
    options = run.options("trainer")
    pod = (
        training_resources(spec.compute, device=device).settle(options.resources).limited(options.limit_ratio)
    )
    there = There(
        pod=capacity_of(pod.limits.get("memory")),
        gpu=gpu_memory(spec.compute.gpu_memory, options.node_selector),
        claim=run.claim,
        capacity=capacity_of(value_at(claim, "status", "capacity", "storage")),
    )
    return find_room(model, spec, layout_of(spec, device), device, there)


def _invalid(message: str) -> Blocked:
    return Blocked(Problem(Reason.INVALID_SPEC, message))


def _settings(run: FineRun, model: Model, data: TrainingData) -> dict[str, Any]:
    """Fields of the stages that prepare a training and train."""
    spec, device = filled_in(run.spec), device_of(run, run.spec.compute.device)
    return {
        "backend": spec.backend,
        "model": model.path,
        "train": data.train,
        "validation": data.validation,
        "method": spec.method,
        "global_batch": spec.batch.global_,
        "micro_batch": spec.batch.micro,
        "max_sequence_length": spec.batch.max_sequence_length,
        "long_rows": spec.batch.long_rows,
        "packing": spec.batch.packing,
        "precision": spec.precision,
        "gradient_checkpointing": checkpoints_gradients(spec, device),
        "seed": spec.seed,
        "checkpoint_steps": spec.checkpoint.every_steps,
        "checkpoint_keep": spec.checkpoint.keep,
        "best": spec.checkpoint.best,
        "validation_steps": spec.validation.every_steps,
        "early_stop_after": spec.validation.early_stop_after,
        "step_timeout_seconds": spec.step_timeout_seconds,
        "device": device,
        "nodes": spec.compute.nodes,
        "processes": processes_of(spec.compute, device),
        "strategy": strategy_of(spec, device),
        "launcher": launcher_of(spec.compute),
        "grace_seconds": grace_seconds_of(spec, device, model.shape),
        "overrides": {key: _scalar(value) for key, value in spec.overrides.items()},
        "lineage": {"base": model.uri[:1024], "data": _data_name(spec)},
        **shared(spec.schedule, TrainSchedule),
    }


def _data_name(spec: SafetyFinetuneSpec) -> str:
    """What the resource calls its data."""
    return f"SafetyBlend {spec.data.blend_ref.name}" if spec.data.blend_ref else (spec.data.uri or "")


def _scalar(value: Any) -> bool | int | float | str:
    """An override as the record takes it; anything nested as its text, which the trainer refuses by name."""
    return value if isinstance(value, bool | int | float | str) else str(value)
