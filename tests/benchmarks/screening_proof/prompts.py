"""Which prompts go where. No prompt has two roles, and none of the exam is trained on or compared with."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safety_records.data import Dataset
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.context import StageContext
from safety_worker.datasets.loading import load_dataset
from safety_worker.rows import row_digest, seeded_order

from .sizes import SEED, Sizes

QUICKSTART = Path(__file__).parents[3] / "examples/01-quickstart/data"
HIDDEN_CATEGORIES = ("malicious_uses", "discrimination_exclusion_toxicity_hateful_offensive")
"""Of Do-Not-Answer: plain malice. Its other categories look like everyday questions."""

Row = dict[str, Any]


class Prompts(NamedTuple):
    """Prompts by role; disjoint."""

    refusals: list[Row]
    hidden: list[Row]
    anchors: list[Row]
    hardening_benign: list[Row]
    benign: list[Row]


def divide(sizes: Sizes, root: Path) -> Prompts:
    """Draw the prompts of all roles; the same ones every time."""
    context = StageContext(ArtifactStore(f"file://{root}"), root, lambda _progress: None)
    rows = load_dataset("do-not-answer", Dataset(preset="do-not-answer"), context).rows
    plain = [row for row in rows if set(row.categories) & set(HIDDEN_CATEGORIES)]
    harmful = _shuffled([{"prompt": row.prompt, "category": row.categories[0]} for row in plain])
    lines = (QUICKSTART / "benign-train.jsonl").read_text(encoding="utf-8").splitlines()
    benign = _shuffled([json.loads(line) for line in lines])
    hidden, anchors = sizes.hidden, sizes.hidden + sizes.anchors
    return Prompts(
        refusals=harmful[anchors : anchors + sizes.refusals],
        hidden=harmful[:hidden],
        anchors=harmful[hidden:anchors],
        hardening_benign=benign[: sizes.hardening_benign],
        benign=benign[sizes.hardening_benign : sizes.hardening_benign + sizes.benign],
    )


def _shuffled(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: seeded_order(SEED, row_digest(str(row["prompt"]))))
