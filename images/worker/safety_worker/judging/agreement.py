"""How far a judge agrees with people: accuracy, Cohen's kappa, false-safe rate, each with a 95 % interval.

Shares have Wilson intervals. Kappa's interval is the large-sample one of Fleiss, Cohen and Everitt (1969,
Psychological Bulletin 72, 323-327). Also reads the labelled rows.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scipy import stats

from safety_records.data import Dataset
from safety_records.eval_stages import CalibrationSpec
from safety_records.result import JudgeAgreement
from safety_worker.context import StageContext
from safety_worker.datasets.loading import MAX_INVALID_SHARE, check_invalid, load_dataset
from safety_worker.datasets.sampling import draw
from safety_worker.datasets.unrecognised import shown_values
from safety_worker.empty_answers import has_text, too_many_empty
from safety_worker.errors import InputError
from safety_worker.rows import SOURCE, GeneratedRow, PromptRow
from safety_worker.statistics import CONFIDENCE, Interval, wilson
from safety_worker.text import fold

CALIBRATION = "calibration"
"""Suite name of labelled rows in verdict files."""


class Table(NamedTuple):
    """Labelled rows by label and verdict."""

    safe_safe: int
    safe_unsafe: int
    """Labelled safe, called unsafe."""
    unsafe_safe: int
    """Labelled unsafe, called safe: the dangerous mistake."""
    unsafe_unsafe: int

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self)


class Labelled(NamedTuple):
    """Rows to judge, and whether people call each safe, by digest."""

    rows: list[GeneratedRow]
    safe: dict[str, bool]
    contradicting: int = 0
    """Answers that are left out because as many people call them safe as unsafe."""
    warnings: tuple[str, ...] = ()
    """What was left out, and what was not understood."""


def read_labelled(judge: str, spec: CalibrationSpec, context: StageContext) -> Labelled:
    """The labelled rows of a calibration; those without a response or a label are left out.

    An answer that several rows label is one row with the label that most of them give; where as many say
    safe as unsafe it is left out. So the order of the file decides nothing.

    Raises
    ------
    InputError
        If a label is unknown, or no row is left.
    """
    where = f"judge {judge}: calibration"
    data = load_dataset(where, _with_labels(spec), context)
    check_invalid(data, MAX_INVALID_SHARE)
    usable = [row for row in data.rows if has_text(row.response) and row.label]
    _check_known(where, usable)
    votes: dict[str, int] = {}
    for row in usable:
        votes[row.digest] = votes.get(row.digest, 0) + (1 if row.label == "safe" else -1)
    kept = {row.digest: row for row in sorted(usable, key=_spelling, reverse=True) if votes[row.digest]}
    limit = len(kept) if spec.dataset.limit is None else spec.dataset.limit
    rows = draw(list(kept.values()), limit, spec.dataset.seed)
    silent = 0 if spec.dataset.preset else len(data.rows) - len(usable)  # presets are known to have some
    left_out = (
        (silent, "rows have no label, or no response"),
        (len(votes) - len(kept), "answers have labels that contradict each other, one as often as the other"),
    )
    said = tuple(f"{count} of its {words}: they are left out" for count, words in left_out if count)
    if not rows:
        raise InputError("NoRows", f"{where}: no row has both a response and a label{'; '.join(('', *said))}")
    return Labelled(
        [GeneratedRow.of(row, CALIBRATION, answer=row.response, finish_reason=SOURCE) for row in rows],
        {row.digest: votes[row.digest] > 0 for row in rows},
        len(votes) - len(kept),
        tuple(f"{where}: {text}" for text in (*said, *data.warnings)),
    )


def _with_labels(spec: CalibrationSpec) -> Dataset:
    """The data set, with what the calibration says of its labels."""
    columns = spec.dataset.columns
    labels = {**columns.labels, **spec.labels}
    return spec.dataset.model_copy(update={"columns": columns.model_copy(update={"labels": labels})})


def _check_known(where: str, rows: Sequence[PromptRow]) -> None:
    unknown = {fold(row.label) for row in rows} - {"safe", "unsafe"}
    if unknown:
        raise InputError(
            "UnknownLabel",
            f"{where}: the label column holds values without a meaning{shown_values(unknown)}: say what they "
            "mean in calibration.labels",
        )


def _spelling(row: PromptRow) -> tuple[str, str, tuple[str, ...]]:
    """Tells rows of one digest apart, wherever they stand."""
    return row.prompt, row.response, row.categories


def measure(
    judge: str, pairs: Iterable[tuple[bool, bool]], unparsed: int, min_agreement: float | None
) -> JudgeAgreement:
    """The agreement of (labelled safe, called safe) pairs."""
    counts = {(a, b): 0 for a in (True, False) for b in (True, False)}
    for pair in pairs:
        counts[pair] += 1
    table = Table(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    if too_many_empty(unparsed, table.total):
        why = (
            f"{unparsed} of {table.total} verdicts on labelled rows held nothing to read: give it room "
            "for its answer, or disable its server's reasoning parser"
        )
        return JudgeAgreement(
            judge=judge, samples=table.total, unparsed=unparsed, min_agreement=min_agreement, missing=why
        )
    same = wilson(table.safe_safe + table.unsafe_unsafe, table.total)
    missed = wilson(table.unsafe_safe, table.unsafe_safe + table.unsafe_unsafe)
    chance = kappa(table)
    return JudgeAgreement(
        judge=judge,
        samples=table.total,
        unparsed=unparsed,
        min_agreement=min_agreement,
        **_fields("agreement", same),
        **_fields("kappa", chance),
        **_fields("false_safe", missed),
    )


def _fields(name: str, interval: Interval | None) -> dict[str, float | None]:
    value, lower, upper = interval if interval is not None else (None, None, None)
    return {name: value, f"{name}_lower": lower, f"{name}_upper": upper}


def kappa(table: Table) -> Interval | None:
    """Cohen's kappa, -1..1; None without rows, or where both sides always say the same one thing."""
    total = table.total
    if not total:
        return None
    cells = {
        (0, 0): table.safe_safe / total,
        (0, 1): table.safe_unsafe / total,
        (1, 0): table.unsafe_safe / total,
        (1, 1): table.unsafe_unsafe / total,
    }
    rows = [cells[i, 0] + cells[i, 1] for i in (0, 1)]
    columns = [cells[0, j] + cells[1, j] for j in (0, 1)]
    observed = cells[0, 0] + cells[1, 1]
    expected = rows[0] * columns[0] + rows[1] * columns[1]
    if math.isclose(expected, 1.0):
        return None
    value = (observed - expected) / (1 - expected)
    left = 1 - value
    agree = sum(cells[i, i] * (1 - (rows[i] + columns[i]) * left) ** 2 for i in (0, 1))
    differ = left**2 * sum(cells[i, 1 - i] * (columns[i] + rows[1 - i]) ** 2 for i in (0, 1))
    spread = agree + differ - (value - expected * left) ** 2
    error = math.sqrt(max(spread, 0.0) / total) / (1 - expected)
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Interval(value, max(value - half, -1.0), min(value + half, 1.0))
