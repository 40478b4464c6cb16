"""One row per judged sample: the table behind every content-safety score and every paired comparison."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from safety_records.eval_stages import EvalSuite, JudgeSpec
from safety_worker.empty_answers import EmptyReason
from safety_worker.judging.voting import combine_verdicts
from safety_worker.rows import GeneratedRow, VerdictRow

ROWS_NAME = "rows.parquet"
UNGUARDED_ROWS_NAME = "rows-unguarded.parquet"
"""The same of the model without its rails, where both were asked."""

SCHEMA = pa.schema(
    [
        ("suite", pa.string()),
        ("digest", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("passed", pa.bool_()),
        ("unparsed", pa.bool_()),
        ("truncated", pa.bool_()),
        ("truncated_reasoning", pa.bool_()),
        ("detail", pa.string()),
        ("judge", pa.string()),
        ("judge_hash", pa.string()),
        ("completion_tokens", pa.int64()),
        ("value", pa.float64()),
        ("blocked", pa.bool_()),
        ("seconds", pa.float64()),
        ("silence", pa.string()),
    ]
)


class Sample(NamedTuple):
    """One judged sample, in the order of the table's columns."""

    suite: str
    digest: str
    categories: list[str]
    passed: bool
    unparsed: bool
    truncated: bool
    truncated_reasoning: bool
    detail: str
    judge: str
    judge_hash: str
    completion_tokens: int | None
    value: float | None = None
    """0..1 where a sample is neither right nor wrong; ``passed`` then says nothing."""
    blocked: bool | None = None
    """Whether rails withheld the answer; None: no content-safety sample, or an older table."""
    seconds: float | None = None
    """Time of the answer; None: there is none, or it is not known."""
    silence: str = ""
    """Why the answer holds no text, a value of Silence; empty if it does."""

    @property
    def grade(self) -> float:
        """0..1; 1 or 0 where a sample is either right or wrong."""
        return float(self.passed) if self.value is None else self.value

    @property
    def unanswered(self) -> bool:
        """Whether the server refused the prompt for good."""
        return self.silence == EmptyReason.REFUSED


def judge_hash(judge: JudgeSpec) -> str:
    """What identifies a judge whatever it is called: verdicts under different ones cannot be compared.

    Of a served judge that is its model's digest, or where it has none its address and name.
    """
    update: dict[str, object] = {"name": "judge", "calibration": None, "path": ""}
    if judge.served is not None:
        own = {"api_key_env": "", "path": "", "max_length": None}
        known = {"base_url": "", "model": ""} if judge.served.digest else {}
        update["served"] = judge.served.model_copy(update=own | known)
    return hashlib.sha256(judge.model_copy(update=update).to_json().encode()).hexdigest()[:16]


def voters_hash(suite: EvalSuite, hashes: Mapping[str, str]) -> str:
    """What identifies the judges of a suite and how they vote."""
    names = suite.voters
    if len(names) == 1:
        return hashes.get(names[0], "")
    parts = [suite.agreement, *sorted(hashes.get(name, "") for name in names)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def build_samples(
    suites: Sequence[EvalSuite],
    generated: Mapping[str, GeneratedRow],
    verdicts: Iterable[VerdictRow],
    judges: Sequence[JudgeSpec],
) -> list[Sample]:
    """Samples of all suites. A generated row without a verdict counts as unparsed: it never passes."""
    hashes = {judge.name: judge_hash(judge) for judge in judges}
    by_key = {(row.suite, row.digest, row.candidate, row.judge): row for row in verdicts}
    samples = []
    for suite in suites:
        for row in generated.values():
            if row.suite != suite.name:
                continue
            votes = [by_key.get((row.suite, row.digest, row.candidate, name)) for name in suite.voters]
            combined = combine_verdicts(suite.voters, votes, suite.agreement)
            samples.append(
                Sample(
                    suite=suite.name,
                    digest=row.digest,
                    categories=list(row.categories),
                    passed=combined.passed,
                    unparsed=combined.unparsed,
                    truncated=row.truncated,
                    truncated_reasoning=row.truncated_reasoning,
                    detail=combined.detail,
                    judge=suite.judge,
                    judge_hash=voters_hash(suite, hashes),
                    completion_tokens=row.completion_tokens,
                    blocked=row.blocked,
                    seconds=row.seconds,
                    silence=row.silence or "",
                )
            )
    return sorted(samples, key=lambda sample: (sample.suite, sample.digest))


def write_samples(folder: Path, samples: Sequence[Sample], name: str = ROWS_NAME) -> None:
    """Write the table."""
    table = pa.Table.from_pylist([sample._asdict() for sample in samples], schema=SCHEMA)
    pq.write_table(table, folder / name)


def read_samples(folder: Path) -> list[Sample]:
    """Read the table."""
    records = pq.read_table(folder / ROWS_NAME, schema=SCHEMA).to_pylist()
    return [Sample(**record | {"silence": record["silence"] or _older_silence(record)}) for record in records]


def _older_silence(record: Mapping[str, Any]) -> str:
    """What a table without the column says of it by other words."""
    if record["truncated_reasoning"]:
        return EmptyReason.UNFINISHED
    return record["detail"] if record["detail"] in set(EmptyReason) else ""


def count_silence(samples: Iterable[Sample]) -> Counter[EmptyReason]:
    """How many answers hold no text, by why."""
    return Counter(EmptyReason(sample.silence) for sample in samples if sample.silence)


def by_suite(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples by their suite."""
    grouped: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.suite].append(sample)
    return grouped


SCORES_NAME = "scores.json"
