"""The screen stage of a SafetyBlend: score every row that would be trained on, rank, describe.

Output: ``scores.parquet``, ``screening.json``. Windows of rows are scored and written one by one into
``<out>.work``, which all pods of the Job share: see ``pool``. What a window holds, and with it how its rows
are batched, depends on the rows alone, so the scores are the same however often pods were killed and however
many there were. Scores, not selections: those are made when the blend is assembled.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from safety_records.blend_stages import ScreenStage
from safety_records.progress import Progress
from safety_records.result import ScreeningResult, StageResult
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.blending.choosing import rule_of
from safety_worker.blending.chosen import stream_candidates
from safety_worker.context import PROGRESS_SECONDS, StageContext
from safety_worker.errors import InputError
from safety_worker.judging.records import read_judges
from safety_worker.lazy import load
from safety_worker.screening.anchors import load_anchors
from safety_worker.screening.candidates import Candidate, WindowReader
from safety_worker.screening.forms import is_list, is_maths
from safety_worker.screening.memory import told_memory
from safety_worker.screening.pool import Pool, pod_index
from safety_worker.screening.records import LAYER_NAME, VERSIONS_NAME, ScoreLine, Scorer
from safety_worker.screening.table import (
    SCORES_NAME,
    SUMMARY_NAME,
    Windows,
    rank_rows,
    summarise_scores,
    write_scores,
)

WINDOW_ROWS = 256
"""Rows that are scored before anything is on disk: enough to batch by length, and minutes of work on CPU."""


def run(spec: ScreenStage, context: StageContext) -> StageResult:
    """Screen the rows of a blend."""
    pool = Pool(context.store, f"{spec.out}.work", pod_index(context.environment, spec.shards), spec.shards)
    answered, judged = context.store.input(spec.answered), context.store.input(spec.judged)
    rule = rule_of(spec, len(read_judges(judged)))

    def rows() -> Iterator[Candidate]:
        return stream_candidates(answered, judged, rule, spec.parts)

    total = sum(1 for _ in rows())
    if not total:
        raise InputError(
            "NothingToScreen",
            f"screening: no row of {' and '.join(spec.parts)} passed the judges: add rows to it, or set "
            "screening.rows",
        )
    names = [f"window-{number:06d}.json" for number in range(-(-total // WINDOW_ROWS))]
    if not pool.names().issuperset(names):
        with told_memory():
            score_windows(spec, context, pool, names, WindowReader(rows, WINDOW_ROWS))

    def windows() -> Iterator[list[ScoreLine]]:
        for name in names:
            yield [ScoreLine.model_validate(line) for line in pool.read(name)]

    return write_ranking(spec, context, pool, windows, rows)


def score_windows(
    spec: ScreenStage, context: StageContext, pool: Pool, names: Sequence[str], reader: WindowReader
) -> None:
    """Score all windows that are missing."""
    wanted = frozenset(names)
    done, looked = 0, float("-inf")

    def say(message: str) -> None:
        nonlocal done, looked
        if time.monotonic() - looked > PROGRESS_SECONDS:  # other pods' windows count as well
            done, looked = len(wanted & pool.names()), time.monotonic()
        context.report_progress(
            Progress(stage="screen", done=done, total=len(names), unit="windows", message=message)
        )

    say("loading the model and the anchors")
    anchors = load_anchors(spec.anchors, context)
    # Before torch is imported: threads that wait by spinning cost a shared machine a third of its time
    # (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    build = load("safety_worker.screening.scorers:build_scorers")
    scorers: Sequence[Scorer] = build(spec, context, anchors, pool, say)  # type: ignore[assignment]

    def score(number: int) -> list[dict[str, Any]]:
        found = [line.model_dump() for line in score_rows(reader.read(number), scorers)]
        say("scoring rows")
        return found

    pool.complete(names, score)


def score_rows(rows: Sequence[Candidate], scorers: Sequence[Scorer]) -> list[ScoreLine]:
    """Lines of some rows, method by method."""
    found = []
    for scorer in scorers:
        for row, scored in zip(rows, scorer.score(rows), strict=True):
            found.append(
                ScoreLine(
                    method=scorer.method,
                    part=row.part,
                    digest=row.digest,
                    source=row.origin.source,
                    file=row.origin.file,
                    index=row.origin.index,
                    list=is_list(row.answer),
                    maths=is_maths(row.prompt, row.answer),
                    **scored._asdict(),
                )
            )
    return found


def write_ranking(
    spec: ScreenStage,
    context: StageContext,
    pool: Pool,
    windows: Windows,
    rows: Callable[[], Iterator[Candidate]],
) -> StageResult:
    """Rank, write the table and the summary. Every pod does so, and all come to the same files."""
    methods = [str(method) for method in spec.methods]
    rankings = {method: rank_rows(windows, method) for method in methods}
    first = rankings[methods[0]]
    if not len(first.scores):
        raise InputError("NoScores", f"screening: not one row has a score: {dict(first.missing)}")
    folder = context.store.output(spec.out)
    written = write_scores(folder / SCORES_NAME, windows, rankings)

    def lines(method: str) -> Iterator[ScoreLine]:
        return (line for window in windows() for line in window if line.method == method)

    layer = pool.read(LAYER_NAME) if pool.has(LAYER_NAME) else None
    summary = summarise_scores(rankings, lines, rows(), spec.gradient.seed) | {"layer": layer}
    atomic_write_text(folder / SUMMARY_NAME, json.dumps(summary, indent=1, sort_keys=True))
    versions = pool.read(VERSIONS_NAME) if pool.has(VERSIONS_NAME) else {}
    return StageResult(
        stage="screen",
        inputs_hash=spec.inputs_hash,
        rows=written,
        screening=ScreeningResult(
            method=methods[0],
            scored=len(first.scores),
            unscored=sum(first.missing.values()),
            layer=layer["layer"] if layer else None,
        ),
        versions={"safety-worker": __version__, **versions},
    )
