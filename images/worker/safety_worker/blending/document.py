"""Builds ``blend.json`` from what an assemble stage knows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from safety_records.blend import (
    BlendCandidate,
    BlendCategory,
    BlendedSource,
    BlendExample,
    BlendJudge,
    BlendLengths,
    BlendReport,
    BlendReview,
    Part,
)
from safety_records.blend_stages import AssembleStage
from safety_records.eval_stages import JudgeSpec
from safety_records.result import ScreeningResult
from safety_worker import __version__
from safety_worker.blending.choosing import RowWithoutAnswer, reason_of
from safety_worker.blending.collected import read_rules, read_sources
from safety_worker.blending.outcomes import KEPT, build_steps, tally_dropped
from safety_worker.blending.splitting import Split
from safety_worker.blending.statistics import BlendStatistics, Example
from safety_worker.judging.phrases.quality import quality_of

SHOWN_TEXT = 4_000
"""Characters of a prompt or answer in the document."""

SHOWN_CATEGORIES = 100
SHOWN_WARNINGS = 64


def build_blend_report(
    spec: AssembleStage,
    collected: Path,
    statistics: BlendStatistics,
    parts: Split,
    *,
    judges: Sequence[JudgeSpec],
    warnings: Sequence[str],
    screening: ScreeningResult | None,
    lineage: Mapping[str, str],
) -> BlendReport:
    """The document of a blend."""
    described = read_sources(collected)
    part_of: dict[str, Part] = {item["name"]: item["part"] for item in described}
    counts = statistics.outcomes + tally_dropped(collected)
    skipped = {"screen"} if spec.selection is None else set()
    skipped |= set() if spec.tokenizer else {"length"}
    return BlendReport(
        namespace=spec.namespace,
        name=spec.name,
        format=spec.format,
        train_rows=len(parts.train),
        validation_rows=len(parts.validation),
        validation_share=spec.validation,
        split_seed=spec.split_seed,
        lengths=_lengths(statistics, spec),
        sources=tuple(_source(item, counts) for item in described),
        warnings=tuple(text[:512] for text in warnings[:SHOWN_WARNINGS]),
        rules=read_rules(collected),
        steps=build_steps(counts, part_of, frozenset(skipped)),
        agreement=spec.agreement,
        judges=tuple(_judge(judge) for judge in judges),
        screening=screening,
        selection=spec.selection,
        categories=_categories(statistics),
        review=tuple(map(_review, statistics.review)),
        review_total=statistics.review_total,
        candidates=spec.candidates,
        pick=spec.pick,
        reasoning=spec.reasoning if spec.reasoning_end else "none",
        fallback=statistics.borrowed.total(),
        examples=tuple(map(_example, statistics.examples)),
        lineage=dict(lineage),
        versions={"safety-worker": __version__},
    )


def _source(item: Mapping[str, Any], counts: Mapping[tuple[str, str], int]) -> BlendedSource:
    fates = {reason: rows for (source, reason), rows in sorted(counts.items()) if source == item["name"]}
    return BlendedSource(
        name=item["name"],
        part=item["part"],
        title=str(item["title"])[:400],
        origin=str(item["origin"])[:400],
        licence=str(item["licence"])[:200],
        digest=item["digest"],
        rules=tuple(str(rule)[:400] for rule in item["rules"][:40]),
        max_records=item.get("max_records"),
        read=sum(fates.values()),
        fates=fates,
    )


def _lengths(statistics: BlendStatistics, spec: AssembleStage) -> BlendLengths | None:
    lengths = statistics.lengths
    if not lengths:
        return None
    return BlendLengths(
        total=sum(lengths), median=round(median(lengths)), longest=max(lengths), limit=spec.max_tokens
    )


def _judge(judge: JudgeSpec) -> BlendJudge:
    served = judge.served.model if judge.served is not None else ""
    return BlendJudge(
        name=judge.name,
        type=judge.type,
        model=str(served or judge.classifier or "")[:200],
        quality=quality_of(judge),
    )


def _categories(statistics: BlendStatistics) -> tuple[BlendCategory, ...]:
    asked, kept = statistics.asked, statistics.kept
    order = sorted(asked, key=lambda name: (-asked[name], name))[:SHOWN_CATEGORIES]
    return tuple(BlendCategory(name=name, asked=asked[name], kept=kept[name]) for name in order)


def _review(item: RowWithoutAnswer) -> BlendReview:
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


def _example(item: Example) -> BlendExample:
    return BlendExample(
        source=item.row.origin.source,
        prompt=item.row.prompt[:SHOWN_TEXT],
        answer=item.answer[:SHOWN_TEXT],
    )
