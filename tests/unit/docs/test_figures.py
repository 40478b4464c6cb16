"""The picture of results shows what reports say, and nothing that a report has not measured."""

import re
from xml.etree import ElementTree as ET

import pytest
from hack.figures import results

BEFORE = {"value": 0.975, "lower": 0.9134, "upper": 0.9931, "samples": 80, "paired": None}
AFTER = BEFORE | {"value": 0.9875, "paired": {"difference": 0.0125, "pValue": 1.0}}


def _report(name: str, **scores: dict) -> dict:
    return {
        "name": name,
        "createdAt": "2026-11-29T23:00:00Z",
        "target": {"uri": "hf://org/Small-1B", "digest": "sha256:00"},
        "scores": [{"metric": metric} | score for metric, score in scores.items()],
    }


def _texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("text")]


def test_values_intervals_and_paired_differences_are_those_of_the_reports():
    reports = [
        _report("base", **{"contentSafety.a": BEFORE}),
        _report("better", **{"contentSafety.a": AFTER}),
    ]
    texts = _texts(results.draw(results.collect(reports)))
    assert "97.5 % [91.3, 99.3]" in texts
    assert "+1.3 points, p = 1" in texts
    assert "Small-1B: base vs. better" in texts


def test_reports_that_measured_different_numbers_of_samples_say_so():
    fewer = AFTER | {"samples": 79}
    reports = [_report("base", **{"accuracy.x": BEFORE}), _report("better", **{"accuracy.x": fewer})]
    assert any(text.endswith("80 and 79 samples") for text in _texts(results.draw(results.collect(reports))))


@pytest.mark.parametrize(("p", "text"), [(1e-9, "p < 0.001"), (0.04, "p = 0.04")])
def test_small_p_values_are_told_as_bounds(p: float, text: str):
    after = BEFORE | {"value": 0.5, "paired": {"difference": -0.475, "pValue": p}}
    reports = [_report("a", **{"accuracy.x": BEFORE}), _report("b", **{"accuracy.x": after})]
    assert f"\N{MINUS SIGN}47.5 points, {text}" in _texts(results.draw(results.collect(reports)))


def test_a_score_that_a_report_lacks_or_could_not_measure_is_left_out():
    missing = BEFORE | {"value": None, "lower": None, "upper": None}
    bare = BEFORE | {"lower": None, "upper": None}
    reports = [
        _report(
            "a", **{"accuracy.x": BEFORE, "accuracy.y": BEFORE, "accuracy.z": BEFORE, "security.q": BEFORE}
        ),
        _report("b", **{"accuracy.x": missing, "accuracy.z": BEFORE, "security.q": BEFORE}),
        _report("c", **{"accuracy.x": BEFORE, "accuracy.y": bare, "accuracy.z": BEFORE}),
    ]
    assert list(results.collect(reports)["reports"][0]["scores"]) == ["accuracy.z"]


def test_names_of_resources_and_models_are_escaped():
    reports = [_report("a<b", **{"accuracy.x": BEFORE}), _report("c", **{"accuracy.x": BEFORE})]
    assert re.search("a&lt;b", results.draw(results.collect(reports)))
