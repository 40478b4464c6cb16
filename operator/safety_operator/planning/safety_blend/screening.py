"""The screening part of a SafetyBlend's plan: what is scored, with which model, and which rows are taken."""

import hashlib

from safety_operator.api.blend_screening import Screening
from safety_operator.api.conditions import ArtifactStatus, Reason
from safety_operator.api.safety_blend import SafetyBlendSpec, ScreeningStatus
from safety_operator.children.accelerated_job import screening_shape
from safety_operator.planning.engine.problems import Blocked, Problem, attempt
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.references import Reference
from safety_operator.planning.engine.stages import Decision, Run, Skipped, Work, artifact_fields
from safety_operator.planning.shared.datasets import (
    anchor_record,
    data_references,
    dataset_record,
    screening_data,
)
from safety_operator.planning.shared.models import (
    Part,
    device_of,
    fetch_model,
    find_model,
    model_references,
)
from safety_records.base import shared
from safety_records.blend_stages import AnchorsStage, ChoosingRule, ScreenStage
from safety_records.result import ScreeningResult, StageResult
from safety_records.screening import (
    GradientOptions,
    GradientSettings,
    ScreenCompute,
    ScreenMethod,
    ScreenSelection,
    ScreenSettings,
    SelectionSettings,
)
from safety_records.training import Device

FETCH_SCREENER = "fetch-screener"
"""Name of the stage that fetches the model of spec.screening into the store, where it has one of its own."""
ON_POLICY = Part(where="spec.onPolicy.model")
SCREENER = Part(where="spec.screening.model", fetch=FETCH_SCREENER)
ANCHORS = "anchors"
"""Name of the stage that reads what rows are compared with."""
BATCH_TOKENS: dict[Device, int] = {"cpu": 4096, "gpu": 16384}
"""Tokens of a screening batch where the spec says nothing."""

EMPTY = frozenset("sha256:" + hashlib.sha256(text).hexdigest() for text in (b"", b"\n"))
"""Digests of files without content."""

BlendRun = Run[SafetyBlendSpec]


def screening_references(screening: Screening) -> tuple[Reference, ...]:
    """Screening's own model, and the anchors' data."""
    if screening.method == "none":
        return ()
    model = model_references(screening.model, SCREENER) if screening.model else ()
    return (*model, *data_references(screening_data(screening), ANCHORS))


def fetch_screener(run: BlendRun) -> Decision:
    """Fetch the screening model into the store, where it is not that of onPolicy."""
    screening = run.spec.screening
    if screening.method == "none" or screening.model is None:
        return Skipped("nothing is screened with a model of its own")
    return fetch_model(run, screening.model, FETCH_SCREENER)


def screening_model(run: BlendRun) -> Model:
    """The model to screen with. Raises Blocked while it is being waited for."""
    own = run.spec.screening.model
    if own is None:
        return find_model(run, run.spec.on_policy.model, ON_POLICY.where)
    return find_model(run, own, SCREENER.where, fetch=FETCH_SCREENER)


def check_anchors(run: BlendRun) -> None:
    """What is known of anchors without reading them: raises Blocked for a ConfigMap that is empty."""
    digests = run.inputs(ANCHORS).digests
    for item in run.references:
        if ANCHORS in item.stages and digests.get(item.uri) in EMPTY:
            message = f"{item.where}: there is nothing in it. Give it at least one example."
            raise Blocked(Problem(Reason.EMPTY_ANCHORS, message))


def read_anchors(run: BlendRun) -> Decision:
    """Read and check what rows will be compared with, before anything is asked: answers cost more."""
    screening = run.spec.screening
    if screening.method == "none":
        return Skipped("spec.screening.method is none")
    check_anchors(run)
    data = run.inputs(ANCHORS)
    stage = AnchorsStage(
        **run.base(),
        harmful=anchor_record(screening.anchors.harmful, screening.method),
        safe=tuple(anchor_record(item, screening.method) for item in screening.anchors.safe),
        layer_prompts=dataset_record(screening.layer_prompts) if screening.layer_prompts else None,
    )
    return Work(stage, inputs={"data": data.digest}, shape=data.shape(), outside=data.outside)


def screen(run: BlendRun) -> Decision:
    """Score the rows that the judges pass."""
    screening = run.spec.screening
    if screening.method == "none":
        return Skipped("spec.screening.method is none")
    model = screening_model(run)
    device = device_of(run, screening.compute.device)
    stage = _screen_spec(run, model, device)
    inputs = {
        "answered": run.digest("answer"),
        "judged": run.digest("judge"),
        "model": model.digest,
        "anchors": run.digest(ANCHORS),
    }
    return Work(stage, inputs=inputs, shape=screening_shape(screening.compute, device=device))


def _screen_spec(run: BlendRun, model: Model, device: Device) -> ScreenStage:
    screening = run.spec.screening
    compute = screening.compute
    return ScreenStage(
        **run.base(),
        answered=run.out("answer"),
        judged=run.out("judge"),
        parts=("retain",) if screening.rows == "retain" else ("retain", "safety"),
        model=model.path,
        methods=tuple(ScreenMethod(name) for name in (screening.method, *screening.compare_with)),
        anchors=run.out(ANCHORS),
        gradient=GradientOptions(**shared(screening.gradient, GradientSettings), seed=screening.seed),
        batch_tokens=compute.batch_tokens or BATCH_TOKENS[device],
        device=device,
        **shared(choosing_rule(run.spec), ChoosingRule),
        **shared(screening, ScreenSettings),
        **shared(compute, ScreenCompute),
    )


def choosing_rule(spec: SafetyBlendSpec) -> ChoosingRule:
    """Which of the candidates of a row is trained on, and so is screened."""
    return ChoosingRule(
        agreement=spec.keep.agreement,
        pick=spec.on_policy.pick,
        reasoning=spec.filter.reasoning,
        reasoning_end=spec.on_policy.sampling.reasoning_end,
    )


def selection(screening: Screening) -> ScreenSelection | None:
    """What is done with the scores. Part of assembling, so that a change of it costs no new scores."""
    if screening.method == "none":
        return None
    return ScreenSelection(method=ScreenMethod(screening.method), **shared(screening, SelectionSettings))


def screening_lineage(run: BlendRun) -> dict[str, str]:
    """Digests of the anchors and of the model that screens, where there are any."""
    if run.spec.screening.method == "none":
        return {}
    data = attempt(run.inputs, ANCHORS).value
    found = {uri[:200]: digest for uri, digest in sorted(data.digests.items())} if data else {}
    model = attempt(screening_model, run).value
    return found | {"screeningModel": model.digest} if model else found


def screening_status(run: BlendRun) -> ScreeningStatus | None:
    """What the screen stage found, and what became of it when the blend was assembled."""
    screened, final = run.results.get("screen"), run.results.get("assemble")
    if screened is None or screened.screening is None:
        return None
    found = screened.screening
    decided = final.screening if final else None
    selected = {"selected": decided.selected, "cut": decided.cut} if decided else {}
    return ScreeningStatus(
        **shared(found, ScreeningResult) | selected,
        table=ArtifactStatus(**artifact_fields(run, screened.output)) if screened.output else None,
    )


def screened_text(run: BlendRun, final: StageResult) -> str:
    """Rows that were taken, for the printer column."""
    screening = run.spec.screening
    if final.screening is None or final.screening.selected is None:
        return screening.method
    return f"{final.screening.selected}{' flagged' if screening.action == 'flag' else ''}"
