"""SafetyBlend: collect and fetch at the same time, serve, answer and judge at the same time, and so on."""

import re
from typing import Any

from safety_operator.api.conditions import Reason
from safety_operator.api.safety_blend import BlendArtifact, BlendSummary, SafetyBlendSpec, SafetyBlendStatus
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.planning.engine.batch import (
    Outcome,
    advance,
    conclude,
)
from safety_operator.planning.engine.problems import Blocked, Problem, attempt
from safety_operator.planning.engine.references import CONFIG_MAP, Reference, read_config_map
from safety_operator.planning.engine.stages import Decision, Run, Stage, Work, artifact_fields
from safety_operator.planning.safety_blend.screening import (
    ANCHORS,
    FETCH_SCREENER,
    ON_POLICY,
    check_anchors,
    choosing_rule,
    fetch_screener,
    read_anchors,
    screen,
    screened_text,
    screening_lineage,
    screening_references,
    screening_status,
    selection,
)
from safety_operator.planning.shared.datasets import (
    blend_data,
    blend_sources,
    data_references,
    dataset_record,
)
from safety_operator.planning.shared.judges import (
    fetch_stages,
    judge_answers,
    judge_references,
    judge_servers,
    resolve_judges,
    wait_for_server,
)
from safety_operator.planning.shared.models import (
    FETCH,
    Target,
    cache_references,
    check_trainable,
    fetch_model,
    find_model,
    model_references,
    serve_model,
)
from safety_operator.state.plan import Plan
from safety_records.base import shared
from safety_records.blend_stages import AnswerStage, AssembleStage, ChoosingRule, CollectStage
from safety_records.data import Sample
from safety_records.sampling import AnswerSettings

TEMPLATE = "spec.onPolicy.refusal.template"

MAX_TEMPLATE_CHARACTERS = 16384
"""Of a refusal template: a specification is no place for documents."""

USES_PROMPT = re.compile(r"\{[{%].*?\bprompt\b", re.DOTALL)
"""The worker parses templates; this much is checked before a model server is started."""

BlendRun = Run[SafetyBlendSpec]


def references(spec: SafetyBlendSpec) -> tuple[Reference, ...]:
    """The sources, the models that answer, judge and screen, the refusal wrapper's template, anchors."""
    template = spec.on_policy.refusal.template
    return (
        *model_references(spec.on_policy.model, ON_POLICY),
        *cache_references(spec.on_policy.serving, "spec.onPolicy.serving"),
        *data_references(blend_data(spec), "collect"),
        *([Reference(TEMPLATE, CONFIG_MAP, template.name, template.key)] if template else ()),
        *judge_references(spec.judges, "judge"),
        *screening_references(spec.screening),
    )


def plan(run: BlendRun) -> Plan:
    """Where the blend is, and what to do about it."""
    outcome = advance(run, (*fetch_stages(run.spec.judges), *TABLE), _check)
    return conclude(outcome, "The blend is finished; the data are in status.output.", _status)


def _check(run: BlendRun) -> None:
    """Nothing starts before all is there that the spec names, and what can be read of it is right."""
    run.check_references()
    _template(run)
    check_anchors(run)


def _collect(run: BlendRun) -> Decision:
    spec = run.spec
    data, sample = run.inputs("collect"), spec.sample
    stage = CollectStage(
        **run.base(),
        sources=blend_sources(spec.sources, sample.seed),
        retain=blend_sources(spec.retain, sample.seed),
        near=float(spec.dedupe.near.threshold) if spec.dedupe.near else None,
        against=tuple(dataset_record(item) for item in spec.dedupe.against),
        max_invalid=float(spec.filter.max_invalid),
        **shared(sample, Sample),
    )
    return Work(stage, inputs={"data": data.digest}, shape=data.shape(), outside=data.outside)


def _target(run: BlendRun) -> Target:
    policy = run.spec.on_policy
    model = find_model(run, policy.model, ON_POLICY.where)
    check_trainable(model, ON_POLICY.where)
    return serve_model(run, model, policy.serving)


def _server(run: BlendRun) -> ModelServer | None:
    _template(run)
    return _target(run).server


def _answer(run: BlendRun) -> Decision:
    target, template = _target(run), _template(run)
    policy = run.spec.on_policy
    stage = AnswerStage(
        **run.base(),
        collected=run.out("collect"),
        target=target.served,
        sampling=policy.sampling,
        template=template,
        more_tokens=policy.regenerate.max_tokens if policy.regenerate else None,
        **shared(policy, AnswerSettings),
    )
    inputs = {"collected": run.digest("collect"), "target": target.identity}
    return Work(stage, inputs=inputs, server=target.server)


def _template(run: BlendRun) -> str:
    """The refusal wrapper's template, empty for the built-in one. Raises Blocked for one that cannot be."""
    item = next((item for item in run.references if item.where == TEMPLATE), None)
    if item is None:
        return ""
    text = read_config_map(run.observed, item).decode("utf-8", "replace")
    named = f"{item.where}: the key {item.key} of the ConfigMap {item.name}"
    wrong = ""
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        wrong = f"has {len(text)} characters, a template has {MAX_TEMPLATE_CHARACTERS} at most."
    elif not USES_PROMPT.search(text):
        wrong = "does not use {{ prompt }}: the model would not see what it has to refuse."
    if wrong:
        raise Blocked(Problem(Reason.INVALID_SPEC, f"{named} {wrong}"))
    return text


def _judge(run: BlendRun) -> Decision:
    resolved = resolve_judges(run, run.spec.judges)
    if run.spec.on_policy.serving.placement == "sequential" and "answer" not in run.results:
        raise wait_for_server()
    return judge_answers(run, resolved, "answer", concurrency=run.spec.on_policy.concurrency)


def _judge_servers(run: BlendRun) -> tuple[ModelServer, ...]:
    """The judges' servers: early where there is room next to the model, else when its answers are there."""
    late = run.spec.on_policy.serving.placement == "sequential"
    return () if late and "answer" not in run.results else judge_servers(run, run.spec.judges)


def _assemble(run: BlendRun) -> Decision:
    target, spec = _target(run), run.spec
    stage = AssembleStage(
        **run.base(),
        collected=run.out("collect"),
        answered=run.out("answer"),
        judged=run.out("judge"),
        screened=run.out("screen"),
        selection=selection(spec.screening),
        **shared(choosing_rule(spec), ChoosingRule),
        candidates=spec.on_policy.candidates,
        on_unparsed=spec.keep.on_unparsed,
        max_tokens=spec.filter.max_tokens,
        tokenizer=target.served.path,
        validation=float(spec.split.validation),
        split_seed=spec.split.seed,
        format=spec.output.format,
        lineage=_lineage(run),
    )
    inputs = {
        "collected": run.digest("collect"),
        "answered": run.digest("answer"),
        "judged": run.digest("judge"),
        "screened": run.digest("screen"),
        "tokenizer": target.digest,
        "lineage": "",
    }
    return Work(stage, inputs=inputs)


def _lineage(run: BlendRun) -> dict[str, str]:
    """Digests of everything that the operator knows to be in the blend."""
    found: dict[str, str] = {}
    data = attempt(run.inputs, "collect").value
    found |= {uri[:200]: digest for uri, digest in sorted(data.digests.items())} if data else {}
    target = attempt(_target, run).value
    found |= {"model": target.digest} if target else {}
    stages = ("collect", ANCHORS, "answer", "judge", "screen")
    found |= {stage: run.digest(stage) for stage in stages if run.digest(stage)}
    found |= screening_lineage(run)
    found["workerImage"] = run.settings.images.worker[:256]
    collected = run.results.get("collect")
    found |= {name[:200]: digest for name, digest in (collected.inputs if collected else {}).items()}
    return dict(list(found.items())[:64])  # lineage.json has all of them


def _mix(run: BlendRun) -> str:
    """How many rows of each part were drawn; empty while nobody knows, or not of every source."""
    found = run.results.get("collect")
    names = {item.name for item in run.spec.retain}
    if found is None or len(found.counts) != len(names) + len(run.spec.sources):
        return ""
    retain = sum(item.sampled for item in found.counts if item.source in names)
    safety = sum(item.sampled for item in found.counts) - retain
    return f"{safety} safety, {retain} retained" + (f", {retain / safety:.2f}" if safety else "")


def _status(outcome: Outcome[SafetyBlendSpec], common: dict[str, Any]) -> SafetyBlendStatus:
    """Counts of the latest stage that counted; the output when it is there."""
    run = outcome.run
    records = [run.results[name] for name in ("assemble", "collect") if name in run.results]
    counts = next((record.counts for record in records if record.counts), ())
    final = run.results.get("assemble")
    status = SafetyBlendStatus(
        **common,
        counts=counts[:64],
        screening=screening_status(run),
        mix=_mix(run),
    )
    if final is None or final.output is None:
        return status
    rows = (final.train_rows or 0) + (final.validation_rows or 0)
    sampled = sum(item.sampled for item in final.counts)
    kept = sum(item.kept for item in final.counts)
    output = BlendArtifact(
        **artifact_fields(run, final.output),
        train_rows=final.train_rows or 0,
        validation_rows=final.validation_rows or 0,
        html=f"pvc://{run.claim}/{final.html}"[:2048] if final.html else "",
    )
    return status.model_copy(
        update={
            "summary": BlendSummary(
                rows=rows or final.rows or 0,
                kept=f"{kept}/{sampled}" if final.counts else "",
                screened=screened_text(run, final),
            ),
            "tokens": final.tokens,
            "output": output,
            "lineage": _lineage(run),
        }
    )


TABLE: tuple[Stage[SafetyBlendSpec], ...] = (
    Stage("collect", _collect),
    Stage(FETCH, lambda run: fetch_model(run, run.spec.on_policy.model)),
    Stage(ANCHORS, read_anchors),
    Stage("answer", _answer, needs=("collect", FETCH, ANCHORS), server=_server),
    Stage("judge", _judge, follows=("answer",), more_servers=_judge_servers),
    Stage(FETCH_SCREENER, fetch_screener),
    Stage("screen", screen, needs=("answer", "judge", FETCH_SCREENER)),
    Stage("assemble", _assemble, needs=("screen",)),
)
"""Collecting goes on while the model is fetched and its server starts, judging while the model answers."""
