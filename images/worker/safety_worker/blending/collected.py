"""Files of a collect stage: rows, sources, and the rules by which rows were compared and drawn."""

import json
from pathlib import Path
from typing import Any

from safety_records.blend import BlendRules
from safety_records.manifest import RESULT_NAME
from safety_records.result import StageResult
from safety_worker.rows import BlendRow

ROWS_NAME = "rows.jsonl"

SOURCES_NAME = "sources.json"

RULES_NAME = "rules.json"


def read_record(folder: Path) -> StageResult:
    """The stage's own result."""
    return StageResult.model_validate_json((folder / RESULT_NAME).read_text(encoding="utf-8"))


def read_inputs(folder: Path) -> dict[str, str]:
    """Digests of the sources and evaluation sets that this stage has read, by name and how far it read."""
    sources = json.loads((folder / SOURCES_NAME).read_text(encoding="utf-8"))
    found = {f"source {item['name']}{_how_far(item['max_records'])}": str(item["digest"]) for item in sources}
    return found | {
        f"evaluation set {item.name}"[:200]: item.digest for item in read_rules(folder).evaluation_sets
    }


def _how_far(max_records: int | None) -> str:
    return "" if max_records is None else f", first {max_records} records"


def read_rules(folder: Path) -> BlendRules:
    """How this stage compared and drew rows."""
    return BlendRules.model_validate_json((folder / RULES_NAME).read_text(encoding="utf-8"))


def read_collected(folder: Path) -> list[BlendRow]:
    """The rows that this stage has written."""
    with (folder / ROWS_NAME).open("rb") as stream:
        return [BlendRow.model_validate_json(line) for line in stream]


def read_sources(collected: Path) -> list[dict[str, Any]]:
    """What the collect stage says of each source."""
    found: list[dict[str, Any]] = json.loads((collected / SOURCES_NAME).read_text(encoding="utf-8"))
    return found
