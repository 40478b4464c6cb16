"""Builds ``blend.json`` from what an assemble stage knows."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from safety_records.blend import (
    BlendCandidate,
    BlendCategory,
    BlendExample,
    BlendJudge,
    BlendLengths,
    BlendReport,
    BlendReview,
    BlendSource,
    Part,
)
from safety_records.result import Screening
from safety_records.stages import AssembleStage, JudgeSpec
from safety_worker import __version__
from safety_worker.datasets.choosing import Unkept, reason_of
from safety_worker.datasets.collect import SOURCES_NAME
from safety_worker.datasets.fates import KEPT, Fate, build_steps, tally
from safety_worker.datasets.splitting import Split
from safety_worker.rows import seeded_order

SHOWN_TEXT = 4_000
"""Characters of a prompt or answer in the document."""

SHOWN_REVIEW = 50
"""Rows without a safe answer in the document; the file beside it has all."""

SHOWN_EXAMPLES = 8
"""Rows of the output in the document."""

SHOWN_CATEGORIES = 100


def build_document(
    spec: AssembleStage,
    collected: Path,
    fates: Sequence[Fate],
    parts: Split,
    *,
    judges: Sequence[JudgeSpec],
    unkept: Sequence[Unkept],
    screening: Screening | None,
    lineage: Mapping[str, str],
) -> BlendReport:
    """The document of a blend."""
    described = read_sources(collected)
    part_of: dict[str, Part] = {item["name"]: item["part"] for item in described}
    counts = tally(collected, fates)
    skipped = {"screen"} if spec.selection is None else set()
    skipped |= set() if spec.tokenizer else {"length"}
    kept = [fate for fate in fates if not fate.reason]
    return BlendReport(
        namespace=spec.namespace,
        name=spec.name,
        inputs_hash=spec.inputs_hash,
        format=spec.format,
        train_rows=len(parts.train),
        validation_rows=len(parts.validation),
        validation_share=spec.validation,
        split_seed=spec.split_seed,
        lengths=_lengths(kept, spec),
        sources=tuple(_source(item, counts) for item in described),
        steps=build_steps(counts, part_of, frozenset(skipped)),
        agreement=spec.agreement,
        judges=tuple(_judge(judge) for judge in judges),
        screening=screening,
        selection=spec.selection,
        categories=_categories(fates),
        review=tuple(map(_review, unkept[:SHOWN_REVIEW])),
        review_total=len(unkept),
        candidates=spec.candidates,
        pick=spec.pick,
        reasoning=spec.reasoning if spec.reasoning_end else "none",
        fallback=sum(fate.source and fate.row.part == "safety" for fate in kept),
        examples=_examples(kept, spec.split_seed),
        lineage=dict(lineage),
        versions={"safety-worker": __version__},
    )


def read_sources(collected: Path) -> list[dict[str, Any]]:
    """What the collect stage says of each source."""
    found: list[dict[str, Any]] = json.loads((collected / SOURCES_NAME).read_text(encoding="utf-8"))
    return found


def _source(item: Mapping[str, Any], counts: Mapping[tuple[str, str], int]) -> BlendSource:
    fates = {reason: rows for (source, reason), rows in sorted(counts.items()) if source == item["name"]}
    return BlendSource(
        name=item["name"],
        part=item["part"],
        title=str(item["title"])[:400],
        origin=str(item["origin"])[:400],
        licence=str(item["licence"])[:200],
        digest=item["digest"],
        read=sum(fates.values()),
        fates=fates,
    )


def _lengths(kept: Sequence[Fate], spec: AssembleStage) -> BlendLengths | None:
    lengths = [fate.tokens for fate in kept if fate.tokens is not None]
    if not lengths:
        return None
    return BlendLengths(
        total=sum(lengths), median=round(median(lengths)), longest=max(lengths), limit=spec.max_tokens
    )


def _judge(judge: JudgeSpec) -> BlendJudge:
    served = judge.served.model if judge.served is not None else ""
    return BlendJudge(name=judge.name, type=judge.type, model=str(served or judge.classifier or "")[:200])


def _categories(fates: Iterable[Fate]) -> tuple[BlendCategory, ...]:
    asked: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for fate in fates:
        if fate.row.part == "safety":
            names = [name[:120] for name in dict.fromkeys(fate.row.categories)]
            asked.update(names)
            kept.update(() if fate.reason else names)
    order = sorted(asked, key=lambda name: (-asked[name], name))[:SHOWN_CATEGORIES]
    return tuple(BlendCategory(name=name, asked=asked[name], kept=kept[name]) for name in order)


def _review(item: Unkept) -> BlendReview:
    row, found = item
    return BlendReview(
        source=row.origin.source,
        file=row.origin.file[:200],
        index=row.origin.index,
        categories=tuple(name[:120] for name in row.categories[:20]),
        prompt=row.prompt[:SHOWN_TEXT],
        reason=reason_of(found),
        candidates=tuple(
            BlendCandidate(answer=one.text[:SHOWN_TEXT], reason=one.reason or KEPT, source=one.source)
            for one in found
        ),
    )


def _examples(kept: Sequence[Fate], seed: int) -> tuple[BlendExample, ...]:
    """Some rows, drawn by the seed; half of them of each part where both have enough."""
    ordered = sorted(kept, key=lambda fate: seeded_order(seed, fate.row.digest))
    shown: list[Fate] = []
    for part in ("safety", "retain"):
        shown += [fate for fate in ordered if fate.row.part == part][: SHOWN_EXAMPLES // 2]
    return tuple(
        BlendExample(
            source=fate.row.origin.source,
            prompt=fate.row.prompt[:SHOWN_TEXT],
            answer=fate.answer[:SHOWN_TEXT],
        )
        for fate in shown
    )
