"""The screening section of a blend's page."""

import re
from typing import Any

import pytest
from tests.unit.worker.screening.summaries import SUMMARY

from safety_worker.blending.screening_section import draw_bars, screening_view
from safety_worker.reporting.page import build_templates


def page(summary: dict[str, Any], cut: float | None = None) -> str:
    template = build_templates().get_template("screening.html.jinja")
    return str(template.module.screening_section(screening_view(summary, "gradient", cut)))  # type: ignore[attr-defined]


def test_it_shows_distribution_shares_overlap_and_rows_of_each_method() -> None:
    text = page(SUMMARY, cut=0.0)
    assert text.count('<svg viewBox="0 0 648 128" role="img"') == 2
    assert "Distribution of 990 scores from \u22120.900 to 0.750, median \u22120.250" in text
    assert text.count('class="taken"') == 1, "the cut is the deciding method's"
    assert text.count('class="bound"') == 1
    assert "10 too long" in text
    assert "50.0\u202f%" in text
    assert "25.0\u202f%" in text
    assert re.search(r">37</td><td class=\"number\">100</td><td class=\"number\">10\.1<", text)
    assert text.count("<details>") == 120, "all hundred of the method that decides, twenty of the other"


def test_the_method_that_decides_comes_first_and_has_the_cut() -> None:
    view = screening_view(SUMMARY, "representation", 0.0)
    assert [method.name for method in view.methods] == ["representation", "gradient"]
    assert [bool(method.cut) for method in view.methods] == [True, False]


def test_texts_are_closed_and_stay_texts() -> None:
    text = page(SUMMARY)
    assert "<details open" not in text
    assert "<script" not in text
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in text
    shown_at_once = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "alert" not in shown_at_once


def test_nothing_on_it_needs_a_style_or_a_request_that_the_pages_policy_forbids() -> None:
    assert not re.search(r"\sstyle=|\son\w+=|https?://|url\(", page(SUMMARY))


def test_a_method_without_a_score_says_why() -> None:
    bare = {"method": "larf", "scored": 0, "missing": {"not-finite": 1000}, "top": []}
    text = page({"methods": [bare], "overlaps": [], "layer": {"layer": 14}})
    assert "0 rows have a score; 1000 not finite" in text
    assert "layer 14" in text
    assert "<svg" not in text


@pytest.mark.parametrize("count", [1, 5])
def test_few_rows_are_seen_beside_many(count: int) -> None:
    small, large = draw_bars([0.0, 1.0, 2.0, 3.0], [count, 0, 1_000_000], None)
    assert float(small.height) == 1.0
    assert float(large.height) == 120.0
    assert float(small.x) < float(large.x)


def test_a_cut_outside_the_scores_is_not_drawn() -> None:
    assert 'class="bound"' not in page(SUMMARY, cut=7.0)
