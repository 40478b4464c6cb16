"""What failed, for a person to review: a small random sample per metric, always the same for the same run.

Content suites give their rows, garak its hit logs. Texts are cut; the whole ones stay in the artifacts.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safety_records.report import ReportHit, ReportHits
from safety_worker.reporting.samples import Sample
from safety_worker.rows import GeneratedRow, seeded_order
from safety_worker.text import clean

HITS_PER_SUITE = 20
"""Failed samples shown for review, of each suite."""

HITS_PER_PROBE = 3
"""Of each probe: a scan has dozens of them, and its hits are much alike."""

HIT_SEED = 42

MAX_TEXT = 4000
"""Characters of a prompt or answer in the report; the whole text is in the artifacts."""

MAX_NAME = 200
"""Characters of a category, title or detail: they come from data sets too."""

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longest line of a hit log that is read; answers end at a token limit far below it."""


def cut(text: str, length: int = MAX_TEXT) -> str:
    """The text, or its beginning and how much is missing."""
    text = clean(text)
    return text if len(text) <= length else f"{text[:length]}\n[... {len(text) - length} more characters]"


def short(text: str) -> str:
    """A name on one line."""
    text = " ".join(clean(text[: 2 * MAX_NAME]).split())
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 2]} \u2026"


def suite_hits(metric: str, samples: Sequence[Sample], rows: Mapping[str, GeneratedRow]) -> ReportHits:
    """Failed samples of a suite; ``rows`` are its answers by digest.

    Answers that never left their reasoning are neither safe nor unsafe, so they are not among them.
    """
    failed = [sample for sample in samples if not sample.passed and not sample.truncated_reasoning]
    chosen = heapq.nsmallest(HITS_PER_SUITE, failed, key=lambda row: seeded_order(HIT_SEED, row.digest))
    shown = tuple(_suite_hit(sample, rows[sample.digest]) for sample in chosen)
    return ReportHits(metric=metric, failed=len(failed), shown=shown)


def _suite_hit(sample: Sample, row: GeneratedRow) -> ReportHit:
    return ReportHit(
        digest=sample.digest,
        judge=sample.judge,
        detail=short(sample.detail),
        categories=tuple(short(name) for name in sample.categories[:20]),
        truncated=sample.truncated,
        prompt=cut(row.prompt),
        answer=cut(row.answer),
        error=short(row.error),
    )


@dataclass
class _Drawn:
    """A bounded random sample of a log that may be large: the entries with the smallest keys."""

    seen: int = 0
    kept: dict[bytes, ReportHit] = field(default_factory=dict)

    def add(self, key: bytes, entry: Mapping[str, Any]) -> None:
        self.seen += 1
        if len(self.kept) < HITS_PER_PROBE or key < max(self.kept):
            self.kept[key] = _probe_hit(key, entry)
            if len(self.kept) > HITS_PER_PROBE:
                del self.kept[max(self.kept)]


def probe_hits(scanned: Iterable[Path]) -> list[ReportHits]:
    """Hits of every probe in the hit logs of a scan's shards, in whatever folders."""
    drawn: dict[str, _Drawn] = {}
    for path in (path for folder in scanned for path in sorted(folder.rglob("*.hitlog.jsonl"))):
        with path.open("rb") as stream:
            for line in read_lines(stream):
                entry = parse_hit(line)
                if entry is None:
                    continue
                key = hashlib.sha256(f"{HIT_SEED}\0".encode() + line).digest()
                drawn.setdefault(f"security.{entry['probe']}", _Drawn()).add(key, entry)
    return [
        ReportHits(
            metric=metric, failed=found.seen, shown=tuple(hit for _, hit in sorted(found.kept.items()))
        )
        for metric, found in sorted(drawn.items())
    ]


def read_lines(stream: Any) -> Iterator[bytes]:
    """Lines of a log, none longer than :data:`MAX_LINE_BYTES` in memory."""
    while line := stream.readline(MAX_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < MAX_LINE_BYTES:
            yield line
            continue
        while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass


def parse_hit(line: bytes) -> dict[str, Any] | None:
    """An entry of garak's hit log; None for a line that was cut off or is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("probe"), str) else None


def _probe_hit(key: bytes, entry: Mapping[str, Any]) -> ReportHit:
    score = entry.get("score")
    return ReportHit(
        digest=key.hex(),
        judge=short(str(entry.get("detector", ""))),
        detail=f"score {score:.2f}" if isinstance(score, int | float) else "",
        categories=(short(str(entry.get("goal") or "")),) if entry.get("goal") else (),
        prompt=cut(message_text(entry.get("prompt"))),
        answer=cut(message_text(entry.get("output"))),
    )


def message_text(value: Any) -> str:
    """Text of a message or conversation as garak writes them: a string, ``text``, or ``turns``."""
    match value:
        case str():
            return value
        case {"text": str(text)}:
            return text
        case {"turns": list(turns)}:
            found = [turn for turn in turns if isinstance(turn, dict)]
            parts = [(str(turn.get("role", "")), message_text(turn.get("content"))) for turn in found]
            return (
                parts[0][1] if len(parts) == 1 else "\n\n".join(f"[{role}]\n{text}" for role, text in parts)
            )
        case _:
            return ""
