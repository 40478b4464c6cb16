"""The score stage: verdicts, probes and tasks to scores with intervals.

Output: ``scores.json`` (all scores, counts by category, what could not be compared and why) and
``rows.parquet`` (one row per sample, for paired comparisons with later runs); of an evaluation through rails
that is compared also ``rows-unguarded.parquet``.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from safety_records.eval_stages import BaselineRef, EvalSuite, ScoreStage
from safety_records.progress import Progress
from safety_records.report import ReportAccuracy, ReportRails
from safety_records.result import Drift, JudgeAgreement, Score, StageResult
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.errors import InfrastructureError
from safety_worker.generation.shards import read_rows
from safety_worker.judging.records import read_agreements, read_judges
from safety_worker.reporting.accuracy import accuracy_scores, read_accuracy_samples
from safety_worker.reporting.content import Baseline, SectionScores, content_scores
from safety_worker.reporting.identity import (
    Identities,
    Identity,
    accuracy_identities,
    compare_with,
    content_identities,
    draws,
    read_identities,
    write_identities,
)
from safety_worker.reporting.rails import rails_effect
from safety_worker.reporting.samples import (
    SCORES_NAME,
    UNGUARDED_ROWS_NAME,
    Sample,
    build_samples,
    by_suite,
    read_samples,
    write_samples,
)
from safety_worker.reporting.tool_results import (
    Probes,
    accuracy_metric,
    read_probes,
    read_tasks,
    security_scores,
    versions,
)
from safety_worker.rows import GeneratedRow, VerdictRow
from safety_worker.statistics import wilson


def run(spec: ScoreStage, context: StageContext) -> StageResult:
    """Compute every score of the specification."""
    tasks: ReportAccuracy | None = None
    questions: list[Sample] = []
    identities: dict[str, Identity] = {}
    drawn: dict[str, str] = {}
    if spec.benchmarked:
        benchmarked = context.store.input(spec.benchmarked)
        tasks = read_tasks(benchmarked)
        questions = read_accuracy_samples(benchmarked, tasks)
        identities |= accuracy_identities(tasks)
        drawn |= {accuracy_metric(task.name): task.drawn[:63] for task in tasks.tasks if task.drawn}
    samples = judged_samples(spec, context)
    if spec.generated and spec.judged:
        generated = context.store.input(spec.generated)
        identities |= content_identities(spec.suites, samples, generated)
        drawn |= draws(generated)
    agreements = read_agreements(context.store.input(spec.judged)) if spec.judged else []

    def compare(other: Baseline | None) -> tuple[SectionScores, SectionScores]:
        accuracy = accuracy_scores(tasks, questions, other) if tasks is not None else SectionScores()
        return content_scores(spec.suites, samples, other, agreements), accuracy

    content, accuracy = compare(read_baseline(spec.baseline, identities, context) if spec.baseline else None)
    rails = compare_rails(spec, samples, agreements, context) if spec.rails else None
    probes: Probes | None = None
    if spec.scanned:
        probes = read_probes(map(context.store.input, spec.scanned))
    unpaired = {**content.unpaired, **accuracy.unpaired}
    scores: list[Score] = list(content.scores)
    scores += _kept_first(security_scores(probes), spec.keep) if probes is not None else []
    scores += accuracy.scores
    scores = [with_words(score, unpaired, drawn) for score in scores]
    drift: list[Drift] = []
    if spec.previous is not None:
        drift = find_drift(compare(read_previous(spec.previous, identities, context)))
    found = {"safety-worker": __version__, **versions(probes, tasks)}
    folder = context.store.output(spec.out)
    write_samples(folder, [*samples, *questions])
    write_identities(folder, identities)
    document = {
        "version": 1,
        "scores": [score.model_dump(mode="json", by_alias=True, exclude_none=True) for score in scores],
        "suites": suite_tables(spec.suites, samples),
        "unpaired": unpaired,
        "previous": spec.previous.name if spec.previous else "",
        "rails": rails.model_dump(mode="json", by_alias=True) if rails else None,
        "drift": [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in drift],
        "versions": found,
    }
    atomic_write_text(folder / SCORES_NAME, json.dumps(document, indent=1))
    context.report_progress(Progress(stage="score", done=len(samples), total=len(samples), message="scored"))
    return StageResult(
        stage="score",
        inputs_hash=spec.inputs_hash,
        rows=len(samples),
        scores=tuple(scores),
        versions=found,
        rails=rails.effect if rails else None,
    )


def compare_rails(
    spec: ScoreStage,
    samples: Sequence[Sample],
    agreements: Sequence[JudgeAgreement],
    context: StageContext,
) -> ReportRails | None:
    """What the rails did, None where they were asked nothing; the samples without rails get a table."""
    if not samples:
        return None
    if not spec.unguarded_judged:
        return rails_effect(spec.suites, samples, None)
    found = read_judged(spec.suites, spec.unguarded_generated, spec.unguarded_judged, context)
    write_samples(context.store.output(spec.out), found, UNGUARDED_ROWS_NAME)
    return rails_effect(spec.suites, samples, found, agreements)


def read_baseline(ref: BaselineRef, identities: Identities, context: StageContext) -> Baseline:
    """Another run's samples, and what they were measured with."""
    folder = context.store.input(ref.score)
    return Baseline(ref.name, read_samples(folder), compare_with(identities, read_identities(folder)))


def with_words(score: Score, unpaired: Mapping[str, str], drawn: Mapping[str, str]) -> Score:
    """The score with why it is not compared, and which prompts it is of, where there is something to say."""
    words = {"unpaired": unpaired.get(score.metric, "")[:200], "drawn": drawn.get(score.metric, "")}
    given = {name: text for name, text in words.items() if text}
    return score.model_copy(update=given) if given else score


def read_previous(ref: BaselineRef, identities: Identities, context: StageContext) -> Baseline:
    """The run before. An old result may be gone, which is no reason to have no new one."""
    try:
        return read_baseline(ref, identities, context)
    except InfrastructureError as error:
        reason = f"the scores of the run before cannot be read: {error.message}"
        return Baseline(ref.name, [], lambda _metric: reason)


def find_drift(compared: Sequence[SectionScores]) -> list[Drift]:
    """Differences to the run before, metric by metric, or why there is none."""
    return [
        Drift(
            metric=score.metric,
            paired=score.paired,
            missing="" if score.paired else (score.missing or found.unpaired.get(score.metric, ""))[:200],
        )
        for found in compared
        for score in found.scores
        if score.paired or score.missing or score.metric in found.unpaired
    ]


def _kept_first(scores: list[Score], keep: Sequence[str]) -> list[Score]:
    """The whole, what a threshold names, then from missing and weak to strong.

    The termination message drops scores from the end.
    """
    whole, *single = scores

    def order(score: Score) -> tuple[bool, float]:
        return score.metric not in keep, -1.0 if score.value is None else score.value

    return [whole, *sorted(single, key=order)]


def judged_samples(spec: ScoreStage, context: StageContext) -> list[Sample]:
    """The samples of all suites; none where nothing was generated."""
    if not spec.generated or not spec.judged:
        return []
    return read_judged(spec.suites, spec.generated, spec.judged, context)


def read_judged(
    suites: Sequence[EvalSuite], generated: str, judged: str, context: StageContext
) -> list[Sample]:
    """The samples of a generate stage's folder and of the judge stage's that judged it."""
    folder = context.store.input(judged)
    rows = read_rows(context.store.input(generated), "rows", GeneratedRow)
    verdicts = read_rows(folder, "verdicts", VerdictRow).values()
    return build_samples(suites, rows, verdicts, read_judges(folder))


def suite_tables(suites: Sequence[EvalSuite], samples: Sequence[Sample]) -> list[Mapping[str, object]]:
    """What is behind each suite's score: counts, and shares by category."""
    grouped = by_suite(samples)
    tables: list[Mapping[str, object]] = []
    for suite in suites:
        every = grouped.get(suite.name, [])
        rows = [row for row in every if not row.truncated_reasoning]
        categories: dict[str, list[Sample]] = defaultdict(list)
        for row in rows:
            for category in row.categories:
                categories[category].append(row)
        tables.append(
            {
                "name": suite.name,
                "expect": suite.expect,
                "judge": suite.judge,
                "samples": len(rows),
                "passed": sum(row.passed for row in rows),
                "unparsed": sum(row.unparsed for row in rows),
                "truncated": sum(row.truncated for row in rows),
                "truncatedReasoning": len(every) - len(rows),
                "blocked": sum(row.blocked is True for row in rows),
                "emptyAnswers": sum(bool(row.silence) and not row.unanswered for row in rows),
                "notAnswered": sum(row.unanswered for row in rows),
                "categories": [_category(name, group) for name, group in sorted(categories.items())],
            }
        )
    return tables


def _category(name: str, rows: Sequence[Sample]) -> Mapping[str, object]:
    passed = sum(row.passed for row in rows)
    interval = wilson(passed, len(rows))
    assert interval is not None
    return {
        "name": name,
        "passed": passed,
        "samples": len(rows),
        "value": interval.value,
        "lower": interval.lower,
        "upper": interval.upper,
    }
