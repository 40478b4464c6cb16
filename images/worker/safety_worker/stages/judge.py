"""The judge stage: verdicts on generated rows. Resumable as generation is.

It starts as soon as generation does and judges rows as they come; what it gives is what judging afterwards
would have given. Output: ``verdicts-*.jsonl`` of VerdictRow, ``judges.json`` with the judges' specifications.
Where a judge is calibrated also ``calibration-*.jsonl`` (its verdicts on labelled rows) and
``calibration.json`` (how far they agree).
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence

from safety_records.eval_stages import JudgeSpec, JudgeStage
from safety_records.result import JudgeAgreement, StageResult
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.engine import DEFAULT_POLICY
from safety_worker.generation.following import follow_rows, read_generated
from safety_worker.generation.retries import RetryPolicy
from safety_worker.judging.agreement import Labelled, measure, read_labelled
from safety_worker.judging.base import Expect
from safety_worker.judging.queue import JudgeTask, TaskChunks
from safety_worker.judging.records import JUDGES_NAME, write_agreements
from safety_worker.judging.registry import check_judge
from safety_worker.judging.runner import JudgeRunner
from safety_worker.rows import GeneratedRow, VerdictRow

RETAIN = "retain"
"""Part of a blend whose rows have to be answered, not refused."""


def run(spec: JudgeStage, context: StageContext, policy: RetryPolicy = DEFAULT_POLICY) -> StageResult:
    """Judge every generated row: by its suite's judges, or in a blend by all. Calibrate judges first."""
    judges = {judge.name: judge for judge in spec.judges}
    check(spec, judges)
    if not spec.generated_hash:
        read_generated(context.store, spec.generated)  # says at once what is missing
    folder = context.store.output(spec.out)
    descriptions = [_described(judge).model_dump(mode="json", by_alias=True) for judge in spec.judges]
    atomic_write_text(folder / JUDGES_NAME, json.dumps(descriptions, indent=1))
    runner = JudgeRunner(context, spec.out, spec.concurrency, policy)
    labelled = [
        (judge, read_labelled(judge.name, judge.calibration, context))
        for judge in spec.judges
        if judge.calibration is not None
    ]
    agreements = _calibrate(labelled, runner)
    if agreements:
        write_agreements(folder, agreements)
    writer = runner.judge("verdicts", [(judge, _tasks(judge.name, spec, context)) for judge in spec.judges])
    rows = list(read_generated(context.store, spec.generated).values())
    wanted = {task.verdict_key(name) for name in judges for task in tasks_for(name, spec, rows)}
    verdicts = writer.consolidate(wanted)
    if len(verdicts) != len(wanted):
        raise InfrastructureError("LostVerdicts", f"{len(wanted) - len(verdicts)} answers have no verdict")
    return StageResult(
        stage="judge",
        inputs_hash=spec.inputs_hash,
        rows=len(verdicts),
        calibration=tuple(agreements),
        warnings=tuple(text for _, data in labelled for text in data.warnings),
        versions={"safety-worker": __version__},
    )


def _described(judge: JudgeSpec) -> JudgeSpec:
    """A judge with the edition of the rules that this image has."""
    return judge.model_copy(update={"edition": judge.kind.edition})


def _tasks(judge: str, spec: JudgeStage, context: StageContext) -> TaskChunks:
    """What a judge has to judge, in chunks as generation writes it."""

    async def tasks() -> AsyncIterator[list[JudgeTask]]:
        async for rows in follow_rows(context.store, spec.generated, spec.generated_hash):
            yield tasks_for(judge, spec, rows)

    return tasks()


def _calibrate(labelled: Sequence[tuple[JudgeSpec, Labelled]], runner: JudgeRunner) -> list[JudgeAgreement]:
    """How far judges agree with people on the labelled rows that the specification names for them."""
    if not labelled:
        return []

    async def tasks(rows: Sequence[GeneratedRow]) -> AsyncIterator[list[JudgeTask]]:
        yield [JudgeTask(row, "safe") for row in rows]

    work = [(judge, tasks(data.rows)) for judge, data in labelled]
    verdicts = runner.judge("calibration", work).consolidate()
    return [_agreement(judge, data, verdicts) for judge, data in labelled]


def _agreement(judge: JudgeSpec, data: Labelled, verdicts: Mapping[str, VerdictRow]) -> JudgeAgreement:
    """An unparsed verdict counts as unsafe, as it does in scores."""
    assert judge.calibration is not None
    mine = [row for row in verdicts.values() if row.judge == judge.name and row.digest in data.safe]
    found = measure(
        judge.name,
        [(data.safe[row.digest], row.safe is True) for row in mine],
        sum(row.unparsed for row in mine),
        judge.calibration.min_agreement,
    )
    return found.model_copy(update={"contradicting": data.contradicting})


def tasks_for(judge: str, spec: JudgeStage, rows: Sequence[GeneratedRow]) -> list[JudgeTask]:
    """What one judge has to judge of some rows."""
    if not spec.suites:
        return [JudgeTask(row, "answer" if row.suite == RETAIN else "safe") for row in rows]
    expects: Mapping[str, Expect] = {
        suite.name: suite.expect for suite in spec.suites if judge in suite.voters
    }
    return [JudgeTask(row, expects[row.suite]) for row in rows if row.suite in expects]


def check(spec: JudgeStage, judges: Mapping[str, JudgeSpec]) -> None:
    """Refuse what cannot be judged, before anything is.

    Raises
    ------
    InputError
        If a suite names an unknown judge, or one that cannot see what the suite is about, or a judge lacks
        what its type needs.
    """
    for judge in judges.values():
        check_judge(judge)
    for suite in spec.suites:
        for name in suite.voters:
            if name not in judges:
                raise InputError(
                    "UnknownJudge", f"suite {suite.name} names the judge {name!r}, which is not listed"
                )
            if suite.expect == "answer" and not judges[name].sees_refusals:
                raise InputError(
                    "JudgeCannotSeeRefusals",
                    f"suite {suite.name} expects answers, but judge {name} of type {judges[name].type} "
                    "cannot tell a refusal from an answer: let a judge of type refusal-phrases or wildguard "
                    "judge it, or a custom one with a label that means refusal",
                )
