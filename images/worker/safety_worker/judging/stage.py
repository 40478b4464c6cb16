"""The judge stage: verdicts on generated rows. Resumable as generation is.

Output: ``verdicts-*.jsonl`` of VerdictRow, ``judges.json`` with the judges' specifications. Where a judge is
calibrated also ``calibration-*.jsonl`` (its verdicts on labelled rows) and ``calibration.json`` (how far they
agree).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safety_records.progress import Progress
from safety_records.result import JudgeAgreement, StageResult
from safety_records.stages import JudgeSpec, JudgeStage
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.dispatch import load
from safety_worker.errors import InputError
from safety_worker.generation.client import Patience
from safety_worker.generation.engine import DEFAULT_PATIENCE
from safety_worker.generation.shards import ShardWriter, read_rows
from safety_worker.judging.agreement import Labelled, measure, read_labelled
from safety_worker.judging.base import Expect, Judge, Pair, passes, unjudgeable
from safety_worker.judging.classifier import ClassifierJudge
from safety_worker.judging.own_classifier import load_own
from safety_worker.judging.refusals import RefusalPhrases
from safety_worker.judging.served import SERVED_TYPES, Asked, judge_served, sees_refusals
from safety_worker.rows import GeneratedRow, Verdict, VerdictRow

JUDGES_NAME = "judges.json"
"""What the judges were; a baseline judged by others cannot be compared with."""

CALIBRATION_NAME = "calibration.json"
"""How far the calibrated judges agree with people."""

BATCH = 64
"""Answers given to a judge at a time: classifiers on CPU gain nothing from more."""

RETAIN = "retain"
"""Part of a blend whose rows have to be answered, not refused."""


class Order(NamedTuple):
    """One verdict that is wanted."""

    row: GeneratedRow
    expect: Expect


class Orders(NamedTuple):
    """What each judge has to judge, and where the verdicts go."""

    by_judge: Mapping[str, Sequence[Order]]
    writer: ShardWriter[VerdictRow]
    report: Callable[[str], None]
    """Reports progress with a few words."""

    def open(self, judge: str) -> list[Order]:
        """What has no verdict yet."""
        return [o for o in self.by_judge[judge] if f"{o.row.key}/{judge}" not in self.writer.finished]


def run(spec: JudgeStage, context: StageContext, patience: Patience = DEFAULT_PATIENCE) -> StageResult:
    """Judge every generated row: by its suite's judges, or in a blend by all. Calibrate judges first."""
    rows = list(read_rows(context.store.input(spec.generated), "rows", GeneratedRow).values())
    judges = {judge.name: judge for judge in spec.judges}
    check(spec, judges)
    folder = context.store.output(spec.out)
    descriptions = [judge.model_dump(mode="json", by_alias=True) for judge in spec.judges]
    atomic_write_text(folder / JUDGES_NAME, json.dumps(descriptions, indent=1))
    labelled = {
        judge.name: read_labelled(judge.name, judge.calibration, context)
        for judge in spec.judges
        if judge.calibration is not None
    }
    calibrated = _judge(
        spec,
        context,
        patience,
        "calibration",
        {name: [Order(row, "safe") for row in data.rows] for name, data in labelled.items()},
    )
    agreements = [_agreement(judges[name], data, calibrated) for name, data in labelled.items()]
    if agreements:
        write_agreements(folder, agreements)
    verdicts = _judge(
        spec, context, patience, "verdicts", {name: list(orders_for(name, spec, rows)) for name in judges}
    )
    return StageResult(
        stage="judge",
        inputs_hash=spec.inputs_hash,
        rows=len(verdicts),
        calibration=tuple(agreements),
        versions={"safety-worker": __version__},
    )


def _judge(
    spec: JudgeStage,
    context: StageContext,
    patience: Patience,
    prefix: str,
    by_judge: Mapping[str, Sequence[Order]],
) -> dict[str, VerdictRow]:
    """Verdicts on all orders, by key; nothing is written where there are no judges."""
    if not by_judge:
        return {}
    total = sum(map(len, by_judge.values()))
    writer = ShardWriter(context.store, spec.out, prefix, VerdictRow)

    def report(message: str) -> None:
        done = len(writer.finished)
        context.report_progress(Progress(stage="judge", done=done, total=total, message=message[:200]))

    orders = Orders(by_judge, writer, report)
    judges = {judge.name: judge for judge in spec.judges if judge.name in by_judge}
    try:
        for name, judge in judges.items():
            wanted = orders.open(name) if judge.type not in SERVED_TYPES else []
            if wanted:
                judge_all(build_judge(judge, context), wanted, orders)
        asked = [ask_of(judge, orders, context) for judge in judges.values() if judge.type in SERVED_TYPES]
        asked = [item for item in asked if item.rows]
        if asked:
            judge_served(asked, spec.concurrency, writer.sync, report, patience)
    finally:
        writer.close()
    report("judged")
    return writer.consolidate()


def ask_of(judge: JudgeSpec, orders: Orders, context: StageContext) -> Asked:
    """What a served judge has to do, and what becomes of its verdicts."""
    assert judge.served is not None
    wanted = {order.row.key: order for order in orders.open(judge.name)}

    def store(row: GeneratedRow, verdict: Verdict) -> None:
        orders.writer.append(to_row(wanted[row.key], judge.name, verdict))
        orders.report(f"judge {judge.name}")

    rows = [order.row for order in wanted.values()]
    return Asked(judge, context.secret(judge.served.api_key_env), rows, store)


def _agreement(judge: JudgeSpec, data: Labelled, verdicts: Mapping[str, VerdictRow]) -> JudgeAgreement:
    """An unparsed verdict counts as unsafe, as it does in scores."""
    assert judge.calibration is not None
    mine = [row for row in verdicts.values() if row.judge == judge.name and row.digest in data.safe]
    return measure(
        judge.name,
        [(data.safe[row.digest], row.safe is True) for row in mine],
        sum(row.unparsed for row in mine),
        judge.calibration.min_agreement,
    )


def write_agreements(folder: Path, agreements: Sequence[JudgeAgreement]) -> None:
    """Write ``calibration.json``."""
    items = [item.model_dump(mode="json", by_alias=True) for item in agreements]
    atomic_write_text(folder / CALIBRATION_NAME, json.dumps(items, indent=1))


def read_agreements(folder: Path) -> list[JudgeAgreement]:
    """How far the judges of a finished judge stage agree with people; none where none was calibrated."""
    path = folder / CALIBRATION_NAME
    if not path.is_file():
        return []
    return [JudgeAgreement.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8"))]


def orders_for(judge: str, spec: JudgeStage, rows: Sequence[GeneratedRow]) -> Iterator[Order]:
    """What one judge has to judge."""
    if not spec.suites:
        for row in rows:
            yield Order(row, "answer" if row.suite == RETAIN else "safe")
        return
    expects: Mapping[str, Expect] = {
        suite.name: suite.expect for suite in spec.suites if judge in suite.voters
    }
    for row in rows:
        if row.suite in expects:
            yield Order(row, expects[row.suite])


def check(spec: JudgeStage, judges: Mapping[str, JudgeSpec]) -> None:
    """Refuse what cannot be judged, before anything is.

    Raises
    ------
    InputError
        If a suite names an unknown judge, or one that cannot see what the suite is about, or a judge lacks
        what its type needs.
    """
    seeing = {}
    for name, judge in judges.items():
        seeing[name] = sees_refusals(judge)
        if judge.type in SERVED_TYPES and judge.served is None:
            raise InputError("InvalidJudge", f"judge {name}: type {judge.type} needs a model")
    for suite in spec.suites:
        for name in suite.voters:
            if name not in judges:
                raise InputError(
                    "UnknownJudge", f"suite {suite.name} names the judge {name!r}, which is not listed"
                )
            if suite.expect == "answer" and not seeing[name]:
                raise InputError(
                    "JudgeCannotSeeRefusals",
                    f"suite {suite.name} expects answers, but judge {name} of type {judges[name].type} "
                    "cannot tell a refusal from an answer: let a judge of type refusal-phrases or wildguard "
                    "judge it",
                )


def build_judge(spec: JudgeSpec, context: StageContext) -> Judge:
    """The judge of a specification, of those that judge in this process."""
    if spec.type == "refusal-phrases":
        return RefusalPhrases(spec.name, spec.phrases)
    if spec.path:
        classifier: object = load_own(context.store.input(spec.path), spec.unsafe_labels)
    else:
        classifier = load("safety_worker.judging.classifiers:load_classifier")(spec.classifier)
    return ClassifierJudge(spec.name, classifier, spec.threshold)  # type: ignore[arg-type]


def judge_all(judge: Judge, wanted: Sequence[Order], orders: Orders) -> None:
    """Judge rows batch by batch in this process, writing verdicts as they come."""
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        verdicts = {id(order): unjudgeable(order.row) for order in batch}
        pending = [order for order in batch if verdicts[id(order)] is None]
        pairs = [Pair(order.row.prompt, order.row.answer, order.row.context) for order in pending]
        verdicts.update(zip(map(id, pending), judge.judge(pairs) if pairs else [], strict=True))
        for order in batch:
            verdict = verdicts[id(order)]
            assert verdict is not None
            orders.writer.append(to_row(order, judge.name, verdict))
        orders.writer.sync()
        orders.report(f"judge {judge.name}")


def to_row(order: Order, judge: str, verdict: Verdict) -> VerdictRow:
    """A verdict as a row."""
    return VerdictRow(
        suite=order.row.suite,
        digest=order.row.digest,
        candidate=order.row.candidate,
        judge=judge,
        passed=passes(verdict, order.expect),
        **dict(verdict),
    )


def read_judges(folder: Path) -> list[JudgeSpec]:
    """The judges of a finished judge stage."""
    text = (folder / JUDGES_NAME).read_text(encoding="utf-8")
    return [JudgeSpec.model_validate(item) for item in json.loads(text)]
