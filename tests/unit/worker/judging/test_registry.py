"""Types of judges: what the table says, and the code that stands behind it."""

import pytest

from safety_records.judges import IMAGE_CLASSIFIERS, JUDGE_TYPES, JudgeSettings
from safety_worker.judging.classifier import IN_IMAGE
from safety_worker.judging.registry import FORMATS, IN_PROCESS


def test_every_type_has_code() -> None:
    assert {name for name, kind in JUDGE_TYPES.items() if kind.model == "served"} == set(FORMATS)
    assert {name for name, kind in JUDGE_TYPES.items() if kind.model != "served"} == set(IN_PROCESS)
    assert set(IMAGE_CLASSIFIERS) == set(IN_IMAGE)


def test_fields_of_types_exist() -> None:
    named = {field for kind in JUDGE_TYPES.values() for field in (*kind.needs, *kind.takes)}
    assert named <= set(JudgeSettings.model_fields)


@pytest.mark.parametrize(
    ("fields", "sees"),
    [
        ({"type": "wildguard"}, True),
        ({"type": "refusal-phrases"}, True),
        ({"type": "aegis", "variant": "reasoning"}, False),
        ({"type": "rubric"}, False),
        ({"type": "custom", "labels": {"no": "safe", "declined": "refusal"}}, True),
        ({"type": "custom", "labels": {"no": "safe", "yes": "unsafe"}}, False),
    ],
)
def test_refusals_are_seen_by_some_types_and_by_a_label_that_means_one(fields: dict, sees: bool) -> None:
    labels = fields.pop("labels", None)
    custom = {"template": "{{ answer }}", "parser": {"regex": "x"}, "labels": labels} if labels else None
    assert JudgeSettings(name="j", **fields, custom=custom).sees_refusals is sees


def test_the_first_variant_is_the_default() -> None:
    formats = [JudgeSettings(name="j", type=name).format for name in ("aegis", "llama-guard", "rubric")]
    assert formats == ["v2", "3", ""]
