"""The screening section of a blend's page in a real Chromium."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.browser.conftest import Opened
from tests.unit.worker.screening.summaries import SUMMARY
from tests.unit.worker.support.blends import large_blend

from safety_worker.blending.page import render

Open = Callable[..., Opened]
PAGE = render(large_blend(), SUMMARY)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(open_report: Open, scheme: str) -> None:
    page = open_report(PAGE, color_scheme=scheme).page
    page.locator("section[aria-labelledby=screening] summary").first.click()
    found = Axe().run(page)
    assert [f"{item['id']}: {item['nodes'][0]['html']}" for item in found.response["violations"]] == []


@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_shows_bars_and_keeps_texts_closed(open_report: Open, width: int) -> None:
    opened = open_report(PAGE, viewport={"width": width, "height": 800})
    page = opened.page
    section = page.locator("section[aria-labelledby=screening]")
    assert section.locator("svg").count() == 2
    assert section.locator("pre:visible").count() == 0
    section.locator("summary").first.click()
    assert section.locator("pre:visible").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert page.evaluate("getComputedStyle(document.querySelector('.histogram .bar')).fill") != paper
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert opened.requests == []
    assert opened.complaints == []
