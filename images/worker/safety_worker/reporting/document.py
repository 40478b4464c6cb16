"""The report as data: all that the page, Markdown, JUnit and SARIF show. They are made from nothing else."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safety_records.eval_stages import EvaluatedTarget, JudgeSpec, ReportStage
from safety_records.judges import IMAGE_CLASSIFIERS, JudgeSettings
from safety_records.report import (
    Report,
    ReportAccuracy,
    ReportArtifact,
    ReportCategory,
    ReportDataset,
    ReportHits,
    ReportJudge,
    ReportProbe,
    ReportRails,
    ReportSecurity,
    ReportSuite,
    ReportTask,
)
from safety_records.result import Drift, JudgeAgreement, Score
from safety_worker.context import StageContext
from safety_worker.datasets.suites import SUITES_NAME
from safety_worker.generation.shards import read_rows
from safety_worker.judging.phrases.quality import quality_of, quality_text
from safety_worker.judging.records import read_agreements
from safety_worker.reporting.content import COMPOSITE
from safety_worker.reporting.frameworks import build_frameworks
from safety_worker.reporting.hits import probe_hits, short, suite_hits
from safety_worker.reporting.samples import SCORES_NAME, Sample, by_suite, read_samples
from safety_worker.reporting.tool_results import read_probes, read_tasks
from safety_worker.reporting.validity import agreement_text
from safety_worker.rows import GeneratedRow

MAX_CATEGORIES = 200
"""Categories of a suite in the report: a column of free text could have one per row."""

SHOWN_WARNINGS = 64
"""Warnings in the report."""

OWN_PHRASES = "Its phrases are the user's own: how well they tell refusals is not measured. Calibrate it."


def build_report(spec: ReportStage, context: StageContext) -> Report:
    """The report of a specification.

    Raises
    ------
    InfrastructureError
        If an earlier stage's folder is incomplete or damaged.
    """
    folder = context.store.input(spec.scored)
    scanned = [context.store.input(path) for path in spec.scanned]
    judged = read_agreements(context.store.input(spec.judged)) if spec.judged else []
    agreements = {item.judge: item for item in judged}
    scored = json.loads((folder / SCORES_NAME).read_text(encoding="utf-8"))
    scores = tuple(Score.model_validate(score) for score in scored["scores"])
    suites = _suites(spec, context, scored["suites"])
    expects = {suite.name: str(suite.expect) for suite in suites}
    return Report(
        namespace=spec.namespace,
        name=spec.name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        verdict=spec.verdict,
        target=EvaluatedTarget(
            uri=spec.target_uri, digest=spec.target_digest, guarded=spec.guarded, serving=spec.serving
        ),
        thresholds=spec.thresholds,
        scores=scores,
        unpaired=scored["unpaired"],
        warnings=_warnings(spec, context),
        previous=scored["previous"],
        drift=tuple(Drift.model_validate(item) for item in scored["drift"]),
        rails=ReportRails.model_validate(scored["rails"]) if scored.get("rails") else None,
        suites=suites,
        judges=tuple(_judge(judge, agreements.get(judge.name)) for judge in spec.judges),
        security=_security(scanned) if scanned else None,
        accuracy=_accuracy(context.store.input(spec.benchmarked)) if spec.benchmarked else None,
        hits=(*_suite_hits(spec, context, read_samples(folder)), *probe_hits(scanned)),
        frameworks=tuple(build_frameworks((score.metric for score in scores), expects)),
        versions=scored["versions"],
        artifacts=_artifacts(spec, context),
        manifest=spec.manifest,
        inputs_hash=spec.inputs_hash,
    )


def _warnings(spec: ReportStage, context: StageContext) -> tuple[str, ...]:
    folders = (spec.generated, spec.judged, *spec.scanned, spec.benchmarked, spec.scored)
    return tuple(text[:512] for text in context.store.warnings_of(folders)[:SHOWN_WARNINGS])


def _suites(
    spec: ReportStage, context: StageContext, tables: Sequence[Mapping[str, Any]]
) -> tuple[ReportSuite, ...]:
    described: dict[str, Any] = {}
    if spec.generated:
        found = context.store.read_json(f"{spec.generated}/{SUITES_NAME}") or []
        described = {item["name"]: item for item in found}
    return tuple(_suite(table, described.get(table["name"])) for table in tables)


def _suite(table: Mapping[str, Any], described: Mapping[str, Any] | None) -> ReportSuite:
    ordered = sorted(table["categories"], key=lambda item: (item["value"], -item["samples"], item["name"]))
    shown = [ReportCategory.model_validate({**item, "name": short(item["name"])}) for item in ordered]
    dataset = None
    if described is not None:
        texts = {name: short(str(described[name])) for name in ("title", "origin", "licence")}
        dataset = ReportDataset.model_validate({**described, **texts})
    extra = {
        "categories": shown[:MAX_CATEGORIES],
        "omittedCategories": max(len(shown) - MAX_CATEGORIES, 0),
        "dataset": dataset,
    }
    return ReportSuite.model_validate({**table, **extra})


SETTINGS = set(JudgeSettings.model_fields) - {"name", "type", "variant", "unsafe_from"}
"""What may be set for a judge besides what has a field of its own in the report."""


def _judge(judge: JudgeSpec, agreement: JudgeAgreement | None) -> ReportJudge:
    settings = judge.model_dump(
        mode="json", by_alias=True, include=SETTINGS, exclude_defaults=True, exclude_none=True
    )
    caveats = (
        judge.kind.caveat,
        IMAGE_CLASSIFIERS[judge.classifier] if judge.classifier else "",
        quality_text(quality_of(judge)),
        OWN_PHRASES if judge.phrases else "",
        agreement_text(agreement) if agreement else "",
    )
    return ReportJudge(
        name=judge.name,
        type=judge.type,
        variant=judge.format,
        model=short(judge.served.model) if judge.served else "",
        model_digest=judge.served.digest if judge.served else judge.digest,
        unsafe_from=judge.unsafe_from if "unsafe_from" in judge.kind.takes else None,
        calibration=agreement,
        quality=quality_of(judge),
        settings={name: _setting(value) for name, value in settings.items()},
        caveat=" ".join(filter(None, caveats)),
    )


def _setting(value: Any) -> str:
    return short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _security(scanned: Sequence[Path]) -> ReportSecurity:
    found = read_probes(scanned)
    ran = [_probe(probe) for probe in found.probes]
    absent = [
        ReportProbe(probe=probe.probe, missing=short(probe.reason) or "did not run")
        for probe in found.missing
    ]
    ordered = sorted(
        ran, key=lambda probe: (bool(probe.missing), probe.passed / max(probe.total, 1), probe.probe)
    )
    return found.model_copy(update={"probes": (*ordered, *absent)})


def _probe(probe: ReportProbe) -> ReportProbe:
    missing = "" if probe.attack_success else short(probe.missing) or "no attempt was evaluated"
    return probe.model_copy(update={"missing": missing})


def _accuracy(benchmarked: Path) -> ReportAccuracy:
    found = read_tasks(benchmarked)
    return found.model_copy(update={"tasks": tuple(map(_task, found.tasks))})


def _task(task: ReportTask) -> ReportTask:
    identity = {name: short(value) for name, value in task.identity.items()}
    return task.model_copy(update={"missing": short(task.missing), "identity": identity})


def _suite_hits(spec: ReportStage, context: StageContext, samples: Sequence[Sample]) -> Iterator[ReportHits]:
    if not spec.generated:
        return
    generated = read_rows(context.store.input(spec.generated), "rows", GeneratedRow)
    grouped = by_suite(samples)
    for suite in spec.suites:
        rows = {row.digest: row for row in generated.values() if row.suite == suite.name}
        yield suite_hits(f"{COMPOSITE}.{suite.name}", grouped.get(suite.name, []), rows)


def _artifacts(spec: ReportStage, context: StageContext) -> tuple[ReportArtifact, ...]:
    stages = [
        ("generate", spec.generated),
        ("judge", spec.judged),
        *(("scan", path) for path in spec.scanned),
        ("benchmark", spec.benchmarked),
        ("score", spec.scored),
    ]
    found = []
    for stage, path in stages:
        manifest = context.store.manifest(path) if path else None
        if manifest is not None:
            found.append(ReportArtifact(stage=stage, path=path, digest=manifest.digest))
    return tuple(found)
