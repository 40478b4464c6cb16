"""Judges of a spec: their models, fetched and served or reached at an endpoint; the records for workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safety_operator.api.common import Serving
from safety_operator.api.conditions import Reason
from safety_operator.api.judges import Calibration, Judge
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.planning.engine.problems import Blocked, Problem, attempt
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.references import Reference
from safety_operator.planning.engine.servers import JUDGE_ROLE
from safety_operator.planning.engine.stages import Decision, Run, Stage, Work
from safety_operator.planning.shared.datasets import data_references, dataset_record
from safety_operator.planning.shared.models import (
    Part,
    Target,
    cache_references,
    fetch_model,
    find_model,
    find_target,
    model_references,
)
from safety_records.base import shared
from safety_records.eval_stages import CalibrationSpec, EvalSuite, JudgeSpec, JudgeStage
from safety_records.judges import CalibrationSettings, JudgeSettings


@dataclass(frozen=True, slots=True)
class ResolvedJudges:
    """A spec's judges with their models, and what their stage needs for them."""

    specs: tuple[JudgeSpec, ...]
    servers: tuple[ModelServer, ...]
    internet: bool
    """Whether one of them is asked at an endpoint."""


def judge_references(judges: Sequence[Judge], *stages: str) -> tuple[Reference, ...]:
    """Models, keys and labelled rows of judges; ``stages``: those that judge."""
    found: list[Reference] = []
    for index, judge in enumerate(judges):
        if judge.calibration is not None:
            labelled = {f"spec.judges[{index}].calibration.dataset": judge.calibration.dataset}
            found += data_references(labelled, *stages)
        if judge.model is not None:
            found += model_references(judge.model, _part(index), *stages)
            found += cache_references(judge.serving, f"spec.judges[{index}].serving", *stages)
    return tuple(found)


def _part(index: int) -> Part:
    return Part(
        where=f"spec.judges[{index}].model",
        fetch=f"fetch-judge-{index}",
        role=JUDGE_ROLE,
        key_env=f"JUDGE_{index}_API_KEY",
    )


def fetch_stages(judges: Sequence[Judge]) -> tuple[Stage[Any], ...]:
    """A stage for each judge whose model has to be fetched into the store."""
    return tuple(
        _fetch_stage(judge, _part(index))
        for index, judge in enumerate(judges)
        if judge.model is not None and judge.model.source is not None
    )


def _fetch_stage(judge: Judge, part: Part) -> Stage[Any]:
    def fetch(run: Run[Any]) -> Decision:
        assert judge.model is not None
        classifier = judge.kind.model == "loaded"
        return fetch_model(run, judge.model, part.fetch, chat=judge.is_chat, classifier=classifier)

    return Stage(part.fetch, fetch)


def judge_servers(run: Run[Any], judges: Sequence[Judge]) -> tuple[ModelServer, ...]:
    """The servers of those judges whose models are at hand."""
    found = (attempt(_find, run, judge, index).value for index, judge in enumerate(judges))
    return tuple(target.server for target in found if target is not None and target.server is not None)


def _find(run: Run[Any], judge: Judge, index: int) -> Target | None:
    """The served model of a judge; None for one that judges in its stage's own process."""
    if judge.model is None or judge.kind.model != "served":
        return None
    return find_target(run, judge.model, judge.serving or Serving(), _part(index))


def resolve_judges(run: Run[Any], judges: Sequence[Judge]) -> ResolvedJudges:
    """The judges with their models. Raises Blocked while one of them is missing."""
    targets = [_find(run, judge, index) for index, judge in enumerate(judges)]
    weights = [_find_weights(run, judge, index) for index, judge in enumerate(judges)]
    asked = [target for target in targets if target is not None]
    servers = {target.server.name: target.server for target in asked if target.server is not None}
    return ResolvedJudges(
        specs=tuple(map(_record, judges, targets, weights)),
        servers=tuple(servers.values()),
        internet=any(target.internet for target in asked),
    )


def judge_answers(
    run: Run[Any],
    resolved: ResolvedJudges,
    answers: str,
    *,
    concurrency: int,
    suites: tuple[EvalSuite, ...] = (),
) -> Work:
    """The stage that judges what the stage ``answers`` writes."""
    data = run.inputs("judge")
    spec = JudgeStage(
        **run.base(),
        generated=run.folder_of(answers, run.hashes[answers]),
        generated_hash=run.hashes[answers],
        suites=suites,
        judges=resolved.specs,
        concurrency=concurrency,
    )
    inputs, shape = {"generated": "", "labelled": data.digest}, data.shape(internet=resolved.internet)
    return Work(spec, inputs=inputs, shape=shape, more_servers=resolved.servers, outside=data.outside)


def wait_for_server() -> Blocked:
    """That the judges wait for the device, with placement sequential."""
    message = "waiting for the model's server to be free for the judges"
    return Blocked(Problem(Reason.RUNNING, message, stalled=False))


def _find_weights(run: Run[Any], judge: Judge, index: int) -> Model | None:
    """The model of a classifier of the user's own, in the store; None for any other judge."""
    if judge.model is None or judge.kind.model != "loaded":
        return None
    part = _part(index)
    return find_model(run, judge.model, part.where, fetch=part.fetch)


def _record(judge: Judge, target: Target | None, weights: Model | None) -> JudgeSpec:
    settings = shared(judge, JudgeSettings) | {"variant": judge.format or None}
    return JudgeSpec(
        **settings,
        served=target.served if target is not None else None,
        path=weights.path if weights is not None else "",
        digest=weights.digest if weights is not None else "",
        edition=judge.kind.edition,
        calibration=_calibration(judge.calibration) if judge.calibration is not None else None,
    )


def _calibration(calibration: Calibration) -> CalibrationSpec:
    dataset = dataset_record(calibration.dataset, limit=calibration.limit)
    return CalibrationSpec(**shared(calibration, CalibrationSettings), dataset=dataset)
