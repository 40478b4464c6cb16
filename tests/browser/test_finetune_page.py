"""A fine-tune's page in a real Chromium: curves are seen in every light and on a phone; nothing is loaded."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tests.browser.conftest import Opened
from tests.unit.worker.support.finetunes import finetune, metrics
from tests.unit.worker.support.reports import HOSTILE

from safety_worker.training_report.page import render

Open = Callable[..., Opened]


def best_of_240() -> str:
    training = finetune().training.model_copy(update={"best_step": 240})
    return render(finetune(training=training), metrics(300))


def test_the_page_loads_and_asks_for_nothing(open_report: Open) -> None:
    opened = open_report(best_of_240())
    expect(opened.page.get_by_role("heading", level=1)).to_have_text("demo / hardened")
    charts = opened.page.get_by_role("img")
    assert charts.count() == 6
    words = charts.first.get_attribute("aria-label") or ""
    assert words.startswith("Loss by step. Training: 2.")
    opened.page.wait_for_load_state("networkidle")
    assert opened.requests == []
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_can_be_told_from_the_paper_and_from_each_other(open_report: Open, scheme: str) -> None:
    page = open_report(best_of_240(), color_scheme=scheme).page
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")

    def stroke(selector: str) -> str:
        found = page.evaluate(f"getComputedStyle(document.querySelector('svg.chart {selector}')).stroke")
        return str(found)

    strokes = [stroke(f".{kind}") for kind in ("main.line", "second.line", "best")]
    assert len({paper, *strokes}) == 4


@pytest.mark.parametrize("width", [320, 390, 1360])
def test_no_number_of_a_chart_is_cut_off_or_on_another(open_report: Open, width: int) -> None:
    page = open_report(best_of_240(), viewport={"width": width, "height": 900}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.evaluate(
        """() => [...document.querySelectorAll('svg.chart')].map(s =>
             [...s.querySelectorAll('text')].map(t => { const b = t.getBBox();
               return [t.textContent, b.x, b.y, b.x + b.width, b.y + b.height]; }))"""
    )
    for boxes in charts:
        for number, (text, left, top, right, bottom) in enumerate(boxes):
            assert min(left, top) >= 0, f"{text} is cut off"
            assert right <= 440, f"{text} is cut off"
            assert bottom <= 216, f"{text} is cut off"
            for other, left2, top2, right2, bottom2 in boxes[number + 1 :]:
                apart = right <= left2 or right2 <= left or bottom <= top2 + 4 or bottom2 <= top + 4
                assert apart, f"{text!r} and {other!r} overlap"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(open_report: Open, scheme: str) -> None:
    page = open_report(best_of_240(), color_scheme=scheme).page
    page.locator("summary").click()
    found = Axe().run(page)
    assert [f"{item['id']}: {item['nodes'][0]['html']}" for item in found.response["violations"]] == []


def test_without_scripts_everything_is_there(open_report: Open) -> None:
    page = open_report(best_of_240(), java_script_enabled=False).page
    page.locator("summary").click()
    assert page.locator("#step-table tbody tr:visible").count() == 60


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30].encode("unicode_escape").decode())
def test_hostile_text_does_nothing(open_report: Open, text: str) -> None:
    opened = open_report(render(finetune(text), metrics(5)), viewport={"width": 390, "height": 800})
    opened.page.wait_for_load_state("networkidle")
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.evaluate("document.querySelectorAll('script, img, iframe, link, base').length") == 1
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.requests == []
    assert opened.complaints == []
