"""SafetyEval: fetch, serve, then generate, judge, scan and benchmark at the same time; score, report."""

import json
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from safety_operator.api import API_VERSION
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.children.metadata import canonical_hash
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.planning.engine.batch import advance, kept_plan
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.products import (
    check_same_claim,
    find_finished,
    split_artifact,
)
from safety_operator.planning.engine.references import (
    Reference,
    secret_reference,
    uri_reference,
)
from safety_operator.planning.engine.stages import Decision, Run, Skipped, Stage, Work
from safety_operator.planning.safety_eval.accuracy import benchmark_tasks, downloads, task_references
from safety_operator.planning.safety_eval.eval_runs import follow_runs, shown_repetition
from safety_operator.planning.safety_eval.retention import kept_reports, run_folders
from safety_operator.planning.safety_eval.thresholds import decide_thresholds, safety_passed
from safety_operator.planning.safety_eval.through_rails import (
    KEY_WHERE,
    WHERE,
    find_evaluated,
    find_unguarded,
    shown_reasoning_end,
)
from safety_operator.planning.shared.datasets import (
    data_references,
    eval_suites,
    suite_data,
)
from safety_operator.planning.shared.durations import seconds_of
from safety_operator.planning.shared.garak_probes import select_probes, shard_probes
from safety_operator.planning.shared.judges import (
    ResolvedJudges,
    fetch_stages,
    judge_answers,
    judge_references,
    judge_servers,
    resolve_judges,
    wait_for_server,
)
from safety_operator.planning.shared.models import (
    FETCH,
    TARGET,
    Target,
    cache_references,
    fetch_model,
    model_references,
)
from safety_operator.state.plan import Plan
from safety_records.base import shared
from safety_records.eval_stages import (
    BaselineRef,
    BenchmarkStage,
    GenerateStage,
    ReportStage,
    ScanStage,
    ScoreStage,
)
from safety_records.measures import GarakSettings
from safety_records.sampling import Sampling

EvalRun = Run[SafetyEvalSpec]

SIGNING_KEY_ENV = "REPORT_SIGNING_KEY"
"""Variable of the report's pod that holds the key which signs it."""
MAX_MANIFEST = 16_384
"""Characters of a manifest that goes into the report; a longer one is left out."""


UNGUARDED_GENERATE = "generate-unguarded"
UNGUARDED_JUDGE = "judge-unguarded"
"""Stages of ``compare: unguarded``: the same prompts to the same model without rails."""


def references(spec: SafetyEvalSpec) -> tuple[Reference, ...]:
    """The model, the prompts, tasks and their caches, the judges, the key that signs, the baseline."""
    scans, baseline, deployment = scan_shards(spec), spec.baseline_ref, spec.model.guarded_deployment_ref
    cache = spec.security.garak.cache if spec.security else None
    asked, judging = ("generate", UNGUARDED_GENERATE), ("judge", UNGUARDED_JUDGE)
    key = spec.report.signing_key_secret_ref
    through = ("generate", *scans, "benchmark")
    return (
        *model_references(spec.model, TARGET, *through),
        *cache_references(spec.serving, "spec.serving", FETCH, *through),
        *([Reference(WHERE, "GuardedDeployment", deployment.name)] if deployment else ()),
        *secret_reference(KEY_WHERE, spec.model.api_key_secret_ref, TARGET.key_env, *through),
        *data_references(suite_data(spec), *asked),
        *task_references(spec, "benchmark"),
        *([uri_reference("spec.security.garak.cache", cache, *scans)] if cache else ()),
        *judge_references(spec.judges, *judging),
        *secret_reference("spec.report.signingKeySecretRef", key, SIGNING_KEY_ENV, "report"),
        *([Reference("spec.baselineRef", "SafetyEval", baseline.name)] if baseline else ()),
    )


def plan(run: EvalRun) -> Plan:
    """Where the evaluation is, and what to do about it."""
    table = stage_table(run.spec)
    outcome = advance(replace(run, repetition=shown_repetition(run)), table)
    return kept_plan(outcome) or follow_runs(outcome, table)


def _server(run: EvalRun) -> ModelServer | None:
    return find_evaluated(run).server


def _unguarded_server(run: EvalRun) -> ModelServer | None:
    """Started when the answers through the rails are there: at the same time it would slow them down."""
    if "generate" not in run.results:
        return None
    return find_unguarded(run).server


def _generate(run: EvalRun) -> Decision:
    if not run.spec.content_safety:
        return Skipped("the spec has no contentSafety")
    return _ask_suites(run, find_evaluated(run))


def _generate_unguarded(run: EvalRun) -> Decision:
    return _ask_suites(run, find_unguarded(run))


def _ask_suites(run: EvalRun, target: Target) -> Decision:
    """The suites' prompts to a target."""
    data, suites = run.inputs("generate"), eval_suites(run.spec)
    spec = GenerateStage(
        **run.base(),
        target=target.served,
        rails=target.guarded is not None,
        timed=run.spec.model.guarded_deployment_ref is not None,
        sampling=run.spec.sampling,
        suites=suites,
        concurrency=run.spec.concurrency,
    )
    asked = [[suite.name, suite.dataset.model_dump(mode="json"), suite.system] for suite in suites]
    inputs = {"target": target.identity, "suites": canonical_hash([asked, dict(data.digests)])}
    shape = data.shape(internet=target.internet, mounts=target.mounts)
    return Work(spec, inputs=inputs, shape=shape, server=target.server, outside=data.outside)


CALIBRATED_TOKENS = 150
"""garak's own limit of an answer, with which its calibration was made."""


def scan_shards(spec: SafetyEvalSpec) -> dict[str, tuple[str, ...]]:
    """The probes of each scan stage: ``scan`` for one shard, else ``scan-1``, ``scan-2`` and so on."""
    if spec.security is None:
        return {"scan": ()}
    garak = spec.security.garak
    probes = select_probes(garak.probes, garak.exclude).probes
    parts = shard_probes(probes, garak.shards, cap=garak.prompt_cap, generations=garak.generations)
    if len(parts) == 1:
        return {"scan": parts[0]}
    return {f"scan-{number}": part for number, part in enumerate(parts, start=1)}


def _scan(name: str, probes: tuple[str, ...], run: EvalRun) -> Decision:
    if run.spec.security is None:
        return Skipped("the spec has no security")
    target, data = find_evaluated(run), run.inputs(name)
    garak = run.spec.security.garak
    sampling = run.spec.sampling
    allowed = sampling.max_tokens if sampling.reasoning_end else CALIBRATED_TOKENS
    spec = ScanStage(
        **run.base(),
        target=target.served,
        probes=probes,
        probe_timeout_seconds=seconds_of(garak.probe_timeout),
        **shared(garak, GarakSettings),
        **shared(sampling, Sampling)
        | {"max_tokens": garak.max_tokens or allowed, "reasoning_end": shown_reasoning_end(run.spec)},
    )
    fetches = garak.downloads == "allow" and not garak.cache
    shape = data.shape(internet=target.internet or fetches, mounts=target.mounts)
    outside = data.outside or fetches
    return Work(spec, inputs={"target": target.identity}, shape=shape, server=target.server, outside=outside)


def _benchmark(run: EvalRun) -> Decision:
    if not run.spec.accuracy:
        return Skipped("the spec has no accuracy")
    target, data = find_evaluated(run), run.inputs("benchmark")
    tasks = benchmark_tasks(run.spec)
    hub = downloads(run.spec)
    spec = BenchmarkStage(
        **run.base(),
        target=target.served,
        accuracy=tasks,
        seed=run.spec.sampling.seed,
        concurrency=run.spec.concurrency,
    )
    inputs = {"target": target.identity, "data": data.digest}
    shape = data.shape(internet=target.internet or hub, mounts=target.mounts)
    return Work(spec, inputs=inputs, shape=shape, server=target.server, outside=data.outside or hub)


def _judge(run: EvalRun) -> Decision:
    if not run.spec.content_safety:
        return Skipped("the spec has no contentSafety")
    resolved = resolve_judges(run, run.spec.judges)
    if not _may_judge(run, servers=bool(resolved.servers)):
        raise wait_for_server()
    return _judge_answers(run, resolved, "generate")


def _judge_unguarded(run: EvalRun) -> Decision:
    """The same judges, which were calibrated when they judged the answers through the rails."""
    resolved = resolve_judges(run, run.spec.judges)
    judges = tuple(judge.model_copy(update={"calibration": None}) for judge in resolved.specs)
    return _judge_answers(run, replace(resolved, specs=judges), UNGUARDED_GENERATE)


def _judge_answers(run: EvalRun, resolved: ResolvedJudges, answers: str) -> Decision:
    suites = eval_suites(run.spec)
    return judge_answers(run, resolved, answers, suites=suites, concurrency=run.spec.concurrency)


def _may_judge(run: EvalRun, *, servers: bool) -> bool:
    """Judging follows generation; with placement sequential it comes after it, and servers after all else."""
    if run.spec.serving.placement != "sequential":
        return True
    return "generate" in run.results and not (servers and _target_is_busy(run))


def _judge_servers(run: EvalRun) -> tuple[ModelServer, ...]:
    """The judges' servers: early where there is room next to the model, else when its work is done."""
    late = run.spec.serving.placement == "sequential"
    asked = all(stage in run.results for stage in _generates(run.spec))
    if not run.spec.content_safety or (late and (not asked or _target_is_busy(run))):
        return ()
    return judge_servers(run, run.spec.judges)


def _generates(spec: SafetyEvalSpec) -> tuple[str, ...]:
    """The stages that answer prompts. Where they are compared, all that could slow them comes after them."""
    return ("generate",) if spec.compare is None else ("generate", UNGUARDED_GENERATE)


def _target_is_busy(run: EvalRun) -> bool:
    """Whether a scan or a benchmark still needs the model's server."""
    scans = scan_shards(run.spec) if run.spec.security is not None else ()
    benchmarks = ("benchmark",) if run.spec.accuracy else ()
    return any(stage not in run.results for stage in (*scans, *benchmarks))


class _Scores(NamedTuple):
    """Scores to compare with."""

    ref: BaselineRef
    digest: str


def _score(run: EvalRun) -> Decision:
    baseline, previous = _baseline(run), _previous(run)
    spec = ScoreStage(
        **run.base(),
        suites=eval_suites(run.spec),
        generated=run.out("generate"),
        judged=run.out("judge"),
        rails=run.spec.model.guarded_deployment_ref is not None,
        unguarded_generated=run.out(UNGUARDED_GENERATE),
        unguarded_judged=run.out(UNGUARDED_JUDGE),
        scanned=_scanned(run),
        benchmarked=run.out("benchmark"),
        keep=_named_probes(run.spec),
        baseline=baseline.ref if baseline else None,
        previous=previous.ref if previous else None,
    )
    compared = {"baseline": baseline.digest} if baseline else {}
    compared |= {"previous": previous.digest} if previous else {}
    return Work(spec, inputs=_digests(run) | compared)


def _scanned(run: EvalRun) -> tuple[str, ...]:
    """Output folders of all shards of the scan."""
    return tuple(filter(None, (run.out(name) for name in scan_shards(run.spec))))


def _named_probes(spec: SafetyEvalSpec) -> tuple[str, ...]:
    """Scores of single probes that a threshold names."""
    named = {threshold.metric for threshold in spec.thresholds}
    return tuple(sorted(name for name in named if name.startswith("security.") and name != RESILIENCE))


def _digests(run: EvalRun) -> dict[str, str]:
    """What stands in a hash for the folders of earlier stages."""
    return {
        "generated": run.digest("generate"),
        "judged": run.digest("judge"),
        **_unguarded_digests(run),
        "scanned": ",".join(run.digest(name) for name in scan_shards(run.spec)),
        "benchmarked": run.digest("benchmark"),
    }


def _unguarded_digests(run: EvalRun) -> dict[str, str]:
    if run.spec.compare is None:
        return {}
    return {
        "unguarded_generated": run.digest(UNGUARDED_GENERATE),
        "unguarded_judged": run.digest(UNGUARDED_JUDGE),
    }


def _previous(run: EvalRun) -> _Scores | None:
    """Those of the run before, where a schedule repeats them."""
    found = run.repetition.previous
    return _Scores(BaselineRef(name=found.run, score=found.uri), found.digest) if found else None


def _baseline(run: EvalRun) -> _Scores | None:
    """Those of the baseline. Raises Blocked while they are waited for."""
    ref = run.spec.baseline_ref
    if ref is None:
        return None
    found = find_finished(run, SafetyEvalStatus, ref.name, ConditionType.SUCCEEDED)
    claim, _ = split_artifact(found.status.report.uri if found.status.report else "")
    check_same_claim(run, claim or run.claim, "spec.baselineRef", f"SafetyEval {ref.name}")
    record = found.status.stage("score").record
    if record is None or record.output is None:
        message = f"spec.baselineRef: SafetyEval {ref.name} has no scores to compare with. Name another."
        raise Blocked(Problem(Reason.INVALID_SPEC, message))
    return _Scores(BaselineRef(name=ref.name, score=record.output.uri), record.output.digest)


def _report(run: EvalRun) -> Decision:
    target, resolved = find_evaluated(run), resolve_judges(run, run.spec.judges)
    key, shape = run.spec.report.signing_key_secret_ref, run.inputs("report").shape()
    scored = run.results["score"]
    verdicts = decide_thresholds(run.spec.thresholds, scored.scores, omitted=scored.omitted_scores)
    spec = ReportStage(
        **run.base(),
        scored=run.out("score"),
        generated=run.out("generate"),
        judged=run.out("judge"),
        scanned=_scanned(run),
        benchmarked=run.out("benchmark"),
        target_uri=target.uri,
        target_digest=target.digest,
        guarded=target.guarded,
        serving=dict(target.settings) if target.settings is not None else None,
        suites=eval_suites(run.spec),
        judges=resolved.specs,
        scores=scored.scores,
        thresholds=verdicts,
        verdict=safety_passed(verdicts).status,
        manifest=build_manifest(run),
        folders=run_folders(run),
        kept=kept_reports(run),
        signing_key_env=SIGNING_KEY_ENV if key else "",
    )
    # The manifest is for people: what matters of it is in the digests.
    inputs = _digests(run) | {"scored": run.digest("score"), "manifest": ""}
    inputs |= {"signing_key": f"{key.name}/{key.key}"} if key else {}
    return Work(spec, inputs=inputs, shape=shape)


def build_manifest(run: EvalRun) -> dict[str, Any]:
    """The resource to apply for the same evaluation elsewhere; empty if it is too long to travel."""
    spec = run.spec.to_manifest(
        exclude={
            "pod",
            "artifacts",
            "queue_name",
            "suspend",
            "report",
            "schedule",
            "time_zone",
            "history_limit",
        },
    )
    owner = run.owner
    manifest = {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "metadata": {"name": owner.name, "namespace": owner.namespace},
        "spec": spec,
    }
    return manifest if len(json.dumps(manifest)) <= MAX_MANIFEST else {}


RESILIENCE = "security.resilience"


def stage_table(spec: SafetyEvalSpec) -> tuple[Stage[SafetyEvalSpec], ...]:
    """Generating, scanning and benchmarking share one server, at the same time; judges follow generating.

    Each shard of the scan is a stage of its own: with its own record, failures and further tries.
    """
    scans = scan_shards(spec)
    asked = _generates(spec)
    compared = len(asked) > 1
    others = asked if compared else (FETCH,)
    unguarded: list[Stage[SafetyEvalSpec]] = []
    judges = ["judge"]
    if compared:
        unguarded.append(
            Stage(UNGUARDED_GENERATE, _generate_unguarded, needs=("generate",), server=_unguarded_server)
        )
        judges.append(UNGUARDED_JUDGE)
    makers = {"judge": _judge, UNGUARDED_JUDGE: _judge_unguarded}
    before, follows = (asked, ()) if compared else ((), asked)
    return (
        *fetch_stages(spec.judges),
        Stage(FETCH, lambda run: fetch_model(run, run.spec.model)),
        Stage("generate", _generate, needs=(FETCH,), server=_server),
        *unguarded,
        *(
            Stage(name, partial(_scan, name, probes), needs=others, server=_server)
            for name, probes in scans.items()
        ),
        Stage("benchmark", _benchmark, needs=others, server=_server),
        *(
            Stage(name, makers[name], needs=before, follows=follows, more_servers=_judge_servers)
            for name in judges
        ),
        Stage("score", _score, needs=(*asked, *judges, *scans, "benchmark")),
        Stage("report", _report, needs=("score",)),
    )
