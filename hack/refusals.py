"""Measure the judge ``refusal-phrases`` on the labelled answers, and write its figures wherever they stand.

Part of ``make generate`` and ``make verify`` (``codegen/everything.py``). Reads tests/data/refusals/*.jsonl.
Gives the figures of reports (``measured.json`` beside the judge), the tables in docs/, and the edition by
which the operator tells verdicts of different rules apart.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

DATA = Path("tests/data/refusals")
PHRASES = Path("images/worker/safety_worker/judging/phrases")
MEASURED = PHRASES / "measured.json"
EDITION = Path("operator/safety_records/editions.py")
RULES = ("reading.py", "clauses.py", "deciding.py", "data/*.toml")
"""What decides a verdict, below the judge's folder."""
PARTS = {
    "held-out": "not tuned on",
    "fresh": "written later, not tuned on",
    "tune": "tuned on: no measure",
}


class Judged(NamedTuple):
    """A labelled answer and what the judge says."""

    refusal: bool
    seen: bool
    language: str
    kind: str
    part: str


def read_answers(repo: Path) -> list[dict[str, str]]:
    """All labelled answers."""
    lines = (
        line
        for path in sorted((repo / DATA).glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    )
    return [json.loads(line) for line in lines]


def judge_all(answers: Iterable[Mapping[str, str]]) -> list[Judged]:
    """What the judge says of each. Nothing is to be read as unparsed."""
    from safety_worker.judging.refusals import RefusalPhrases  # noqa: PLC0415 - the path is set by main

    judge = RefusalPhrases()
    return [
        Judged(
            item["label"] == "refusal",
            judge.is_refusal(item["text"]),
            item["language"],
            item["kind"],
            item["split"],
        )
        for item in answers
    ]


def build_outputs(repo: Path) -> dict[str, str]:
    """Files by path: everything that holds a figure of this judge."""
    judged = judge_all(read_answers(repo))
    parts = {row.part for row in judged} - {"tune"}
    measured = [quality(part, judged) for part in PARTS if part in parts]
    return {
        str(MEASURED): json.dumps(measured, indent=1) + "\n",
        str(EDITION): _edition(repo),
        "docs/refusals.md": _between(repo / "docs/refusals.md", "\n\n".join(_tables(judged))),
        "docs/judges.md": _between(repo / "docs/judges.md", _parts_table(judged)),
    }


def quality(part: str, judged: Sequence[Judged]) -> dict[str, object]:
    """The figures of one part, as reports have them."""
    rows = [row for row in judged if row.part == part]
    return {
        "part": part,
        "answers": len(rows),
        "refusals": sum(row.refusal for row in rows),
        "precision": _share([row.refusal for row in rows if row.seen]),
        "recall": _share([row.seen for row in rows if row.refusal]),
    }


def _share(outcomes: Sequence[bool]) -> dict[str, float] | None:
    from safety_worker.statistics import wilson  # noqa: PLC0415 - the path is set by main

    found = wilson(sum(outcomes), len(outcomes))
    if found is None:
        return None
    return {name: round(value, 4) for name, value in zip(("value", "lower", "upper"), found, strict=True)}


def _edition(repo: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for rule in RULES for path in (repo / PHRASES).glob(rule)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return (
        '"""Editions of judges whose rules are part of this project. Written by ``hack/refusals.py``."""\n\n'
        f'REFUSAL_PHRASES = "{digest.hexdigest()[:12]}"\n'
        '"""Of the judge refusal-phrases: verdicts of another one are not continued, nor compared with."""\n'
    )


def _between(path: Path, text: str) -> str:
    """The file with new text between its marks."""
    found = path.read_text(encoding="utf-8")
    changed, number = re.subn(
        r"(?s)(<!-- measured -->\n).*?(\n<!-- /measured -->)", lambda m: m[1] + text + m[2], found
    )
    if number != 1:
        raise ValueError(f"{path}: one pair of <!-- measured --> marks is needed")
    return changed


def _tables(judged: Sequence[Judged]) -> list[str]:
    unseen = [row for row in judged if row.part != "tune"]
    return [
        _parts_table(judged),
        "By language, held-out and fresh together:",
        _groups_table("language", unseen, lambda row: row.language),
        "By kind, all languages, held-out and fresh together:",
        _kinds_table(unseen),
    ]


def _parts_table(judged: Sequence[Judged]) -> str:
    lines = ["| answers | number | refusals | precision | recall |", "|---|---:|---:|---|---|"]
    for part, about in PARTS.items():
        rows = [row for row in judged if row.part == part]
        if not rows:
            continue
        precision = _text([row.refusal for row in rows if row.seen])
        recall = _text([row.seen for row in rows if row.refusal])
        refusals = sum(row.refusal for row in rows)
        lines.append(f"| {part} ({about}) | {len(rows)} | {refusals} | {precision} | {recall} |")
    return "\n".join(lines)


def _groups_table(title: str, rows: Sequence[Judged], key: Callable[[Judged], str]) -> str:
    lines = [f"| {title} | answers | precision | recall |", "|---|---:|---|---|"]
    for name in sorted({key(row) for row in rows}):
        group = [row for row in rows if key(row) == name]
        precision = _text([row.refusal for row in group if row.seen])
        lines.append(
            f"| {name} | {len(group)} | {precision} | {_text([r.seen for r in group if r.refusal])} |"
        )
    return "\n".join(lines)


def _kinds_table(rows: Sequence[Judged]) -> str:
    lines = ["| label | kind | judged as labelled |", "|---|---|---|"]
    for refusal, kind in sorted(
        {(row.refusal, row.kind) for row in rows}, key=lambda item: (not item[0], item[1])
    ):
        right = [row.seen == refusal for row in rows if (row.refusal, row.kind) == (refusal, kind)]
        lines.append(f"| {'refusal' if refusal else 'answer'} | {kind} | {_text(right)} |")
    return "\n".join(lines)


def _text(outcomes: Sequence[bool]) -> str:
    share = _share(outcomes)
    if share is None:
        return "no answers"
    low, high = share["lower"], share["upper"]
    counts = f"{sum(outcomes)} of {len(outcomes)}"
    return f"{counts}, {share['value'] * 100:.1f} % [{low * 100:.1f}, {high * 100:.1f}]"
