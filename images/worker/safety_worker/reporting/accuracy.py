"""Accuracy scores, and their comparison with a baseline question by question."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from safety_records.report import ReportAccuracy, ReportTask
from safety_records.result import Score
from safety_worker.reporting.content import Baseline, SectionScores, pair, share_score, to_paired
from safety_worker.reporting.samples import Sample, by_suite
from safety_worker.reporting.tool_results import accuracy_metric
from safety_worker.statistics import (
    PairedDifference,
    normal,
    paired_difference,
    paired_values,
    wilson,
)


def accuracy_scores(
    tasks: ReportAccuracy, samples: Sequence[Sample], baseline: Baseline | None
) -> SectionScores:
    """One score per entry, in the file's order; further metrics of an entry get their name appended.

    Only an entry's first metric is compared with the baseline: its samples are the ones that are kept.
    """
    scored = SectionScores()
    mine = by_suite(samples)
    theirs = by_suite(baseline.samples) if baseline else {}
    seen: set[str] = set()
    for task in tasks.tasks:
        metric = accuracy_metric(task.name)
        if metric in seen:
            scored.scores.append(_accuracy(accuracy_metric(f"{task.name}.{task.metric}"), task))
            continue
        seen.add(metric)
        score = _accuracy(metric, task)
        if baseline is not None and score.value is not None:
            rows = mine.get(metric, [])
            table, problem = pair(rows, theirs.get(metric, []), baseline.differs(metric))
            if not rows:
                problem = "this run has no right and wrong answers to compare question by question"
            if problem:
                scored.unpaired[metric] = problem
            else:
                graded = any(row.value is not None for row in (*rows, *theirs[metric]))
                found = _pair_values(rows, theirs[metric]) if graded else paired_difference(table)
                score = score.model_copy(update={"paired": to_paired(baseline, found, [table])})
        scored.scores.append(score)
    return scored


def _pair_values(mine: Sequence[Sample], theirs: Sequence[Sample]) -> PairedDifference | None:
    """Difference of means on the questions that both runs have."""
    old = {row.digest: row.grade for row in theirs}
    both = [row for row in mine if row.digest in old]
    return paired_values([row.grade for row in both], [old[row.digest] for row in both])


def read_accuracy_samples(folder: Path, tasks: ReportAccuracy) -> list[Sample]:
    """Right or wrong of each question, of the entries whose benchmark kept them."""
    samples = []
    for task in {task.name: task for task in reversed(tasks.tasks)}.values():
        path = folder / f"samples-{task.name}.jsonl"
        if path.is_file():
            identity = f"lm-eval {tasks.lm_eval_version} {task.metric}"
            with path.open("rb") as stream:
                samples += [
                    _sample(accuracy_metric(task.name), json.loads(line), identity) for line in stream
                ]
    return sorted(samples, key=lambda sample: (sample.suite, sample.digest))


def _sample(suite: str, record: dict[str, object], identity: str) -> Sample:
    value = record.get("value")
    return Sample(
        suite=suite,
        digest=str(record["id"]),
        categories=[],
        passed=record.get("correct") == 1,
        unparsed=False,
        truncated=False,
        truncated_reasoning=False,
        detail="",
        judge="lm-eval",
        judge_hash=hashlib.sha256(identity.encode()).hexdigest()[:16],
        completion_tokens=None,
        value=float(value) if isinstance(value, int | float) else None,
    )


def _accuracy(metric: str, task: ReportTask) -> Score:
    if task.value is None or task.missing:
        reason = task.missing[:200] or "lm-eval gave no number"
        return Score(metric=metric, samples=task.samples, missing=reason)
    if not task.samples:
        return Score(metric=metric, samples=0, missing="lm-eval does not say of how many questions")
    if task.correct is not None:
        return share_score(metric, wilson(task.correct, task.samples), task.samples, judge=task.metric[:63])
    if not 0 <= task.value <= 1:
        reason = f"{task.metric} gave {task.value:.6g}, which is no share from 0 to 1: name another metric"
        return Score(metric=metric, samples=task.samples, missing=reason[:200])
    interval = None if task.stderr is None else normal(task.value, task.stderr, task.samples)
    if interval is not None:
        return share_score(metric, interval, task.samples, judge=task.metric[:63])
    return Score(metric=metric, value=task.value, samples=task.samples, judge=task.metric[:63])
