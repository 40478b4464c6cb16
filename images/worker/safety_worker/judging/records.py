"""Files of a judge stage: what the judges were, and how far they agree with people."""

import json
from collections.abc import Sequence
from pathlib import Path

from safety_records.eval_stages import JudgeSpec
from safety_records.result import JudgeAgreement
from safety_worker.artifacts.files import atomic_write_text

JUDGES_NAME = "judges.json"
"""What the judges were; a baseline judged by others cannot be compared with."""

CALIBRATION_NAME = "calibration.json"
"""How far the calibrated judges agree with people."""


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


def read_judges(folder: Path) -> list[JudgeSpec]:
    """The judges of a finished judge stage."""
    text = (folder / JUDGES_NAME).read_text(encoding="utf-8")
    return [JudgeSpec.model_validate(item) for item in json.loads(text)]
