"""A blend's page in a real Chromium: the picture is there in every light, and hostile text does nothing."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.browser.conftest import Opened
from tests.unit.worker.support.blends import blend, large_blend
from tests.unit.worker.support.reports import HOSTILE

from safety_worker.blending.page import render

Open = Callable[..., Opened]


@pytest.fixture
def page(open_report: Open) -> Page:
    return open_report(render(large_blend()), viewport={"width": 1360, "height": 900}).page


def test_the_page_loads_and_asks_for_nothing(open_report: Open) -> None:
    opened = open_report(render(large_blend()))
    expect(opened.page.get_by_role("heading", level=1)).to_have_text("demo / blend")
    words = opened.page.get_by_role("img").get_attribute("aria-label") or ""
    assert words.startswith("Of 44,050 rows that were read; 43,651 were left after leaving out 12 malformed")
    assert words.endswith("5,437 are for training, 168 for validation.")
    opened.page.wait_for_load_state("networkidle")
    assert opened.requests == []
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_can_be_seen_in_every_light(open_report: Open, scheme: str) -> None:
    page = open_report(render(large_blend()), color_scheme=scheme).page
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for shape in ("path.safety", "path.retain", "path.output", "rect.safety", "text.title", "text.drop"):
        fill = page.evaluate(f"getComputedStyle(document.querySelector('.flow {shape}')).fill")
        assert fill not in (paper, "none", "rgb(0, 0, 0)"), f"{shape} has no colour of its own: {fill}"
    assert "#fade" in page.evaluate("getComputedStyle(document.querySelector('.flow path.gone')).fill")


def test_no_text_of_the_picture_lies_on_another_or_outside(page: Page) -> None:
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.flow text')].map(t => {
             const b = t.getBBox(); return [t.textContent, b.x, b.y, b.width, b.height]; })"""
    )
    height = page.evaluate("document.querySelector('.flow svg').viewBox.baseVal.height")
    assert len(boxes) > 30
    for number, (text, x, y, width, tall) in enumerate(boxes):
        assert min(x, y) >= 0, f"{text} is cut off"
        assert x + width <= 1180, f"{text} is cut off"
        assert y + tall <= height, f"{text} is cut off"
        for other, x2, y2, width2, tall2 in boxes[number + 1 :]:
            apart = x + width <= x2 or x2 + width2 <= x or y + tall - 4 <= y2 or y2 + tall2 - 4 <= y
            assert apart, f"{text!r} and {other!r} overlap"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(open_report: Open, scheme: str) -> None:
    page = open_report(render(large_blend()), color_scheme=scheme).page
    page.locator("#review-list summary").first.click()
    found = Axe().run(page)
    assert [f"{item['id']}: {item['nodes'][0]['html']}" for item in found.response["violations"]] == []


def test_print_is_white_and_shows_the_whole_picture(open_report: Open) -> None:
    page = open_report(
        render(large_blend()), color_scheme="dark", viewport={"width": 700, "height": 900}
    ).page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelector('.flow svg').getBoundingClientRect().width") <= 700
    assert page.locator("#review-list pre:visible").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_sources_sort_by_their_numbers(page: Page) -> None:
    page.locator("#source-table").get_by_role("button", name=re.compile("^Read")).click()
    names = page.locator("#source-table tbody th").all_inner_texts()
    assert names == ["redteam", "tasks", "gretel", "nemotron", "aegis"]


def test_without_scripts_everything_is_there(open_report: Open) -> None:
    page = open_report(render(large_blend()), java_script_enabled=False).page
    assert page.locator("#source-table tbody tr:visible").count() == 5
    page.locator("#review-list summary").first.click()
    assert page.locator("#review-list pre:visible").count() == 3


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(open_report: Open, width: int) -> None:
    page = open_report(render(large_blend()), viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30].encode("unicode_escape").decode())
def test_hostile_text_does_nothing(open_report: Open, text: str) -> None:
    opened = open_report(render(blend(text)), viewport={"width": 390, "height": 800})
    page = opened.page
    page.get_by_role("button", name="Open all shown").click()
    page.locator("#example-list summary").first.click()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('script, img, iframe, link, base, object').length") == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.title() == "Blend: demo/blend"
    assert opened.requests == []
    assert opened.complaints == []
