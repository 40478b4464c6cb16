"""The report's page in a real Chromium: it loads, sorts, filters, hides, and hostile text does nothing."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.browser.conftest import Opened
from tests.unit.worker.support.reports import HOSTILE, large_report, make_report

Open = Callable[..., Opened]
MISSING = "\u2013"


@pytest.fixture
def page(open_report: Open) -> Page:
    return open_report(large_report()).page


def column(page: Page, table: str, number: int) -> list[str]:
    """Texts of the visible cells of a column, from 1."""
    cells = page.locator(f"{table} tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("\u202f%", "")) for text in texts if text != MISSING]


def test_the_page_loads_and_asks_for_nothing(open_report: Open) -> None:
    opened = open_report(large_report())
    expect(opened.page.get_by_role("heading", level=1)).to_have_text("demo / hardened")
    expect(opened.page.get_by_text("Not passed").first).to_be_visible()
    assert opened.page.locator("#probe-table tbody tr").count() == 37
    opened.page.wait_for_load_state("networkidle")
    assert opened.requests == []
    assert opened.complaints == []


def test_a_table_sorts_by_any_column_up_and_down(page: Page) -> None:
    withstood = page.get_by_role("columnheader", name="Withstood")
    assert numbers(column(page, "#probe-table", 3)) == sorted(numbers(column(page, "#probe-table", 3)))
    withstood.get_by_role("button").click()
    shown = column(page, "#probe-table", 3)
    assert numbers(shown) == sorted(numbers(shown), reverse=True)
    assert shown[-1] == MISSING, "what has no number comes last, whichever way"
    assert withstood.get_attribute("aria-sort") == "descending"
    probe = page.locator("#probe-table th").first
    probe.get_by_role("button").click()
    names = column(page, "#probe-table", 1)
    assert names == sorted(names, key=str.lower)
    assert probe.get_attribute("aria-sort") == "ascending"
    assert withstood.get_attribute("aria-sort") is None


def test_a_table_sorts_by_keyboard(page: Page) -> None:
    page.locator("#categories-1 th").first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    names = column(page, "#categories-1", 1)
    assert names == sorted(names)
    page.keyboard.press("Space")
    assert column(page, "#categories-1", 1) == names[::-1]


def test_a_table_filters_by_words_and_by_state(page: Page) -> None:
    tools = page.locator('[data-for="probe-table"]')
    tools.get_by_label("Filter probes").fill("encoding ROT")
    assert column(page, "#probe-table", 1) == ["encoding.InjectROT13"]
    expect(tools.locator("output")).to_have_text("1 of 37")
    tools.get_by_label("Filter probes").fill("")
    tools.get_by_label("Show").select_option("missing")
    assert column(page, "#probe-table", 1) == ["topic.WordnetControversial"]
    tools.get_by_label("Show").select_option("")
    expect(tools.locator("output")).to_have_text("37 in all")


def test_unsafe_text_is_hidden_until_asked_for(page: Page) -> None:
    texts = page.locator("#hit-list pre")
    assert texts.count() > 100
    assert page.locator("#hit-list pre:visible").count() == 0
    assert "UNSAFE-ANSWER" not in page.inner_text("body")
    page.locator("#hit-list summary").first.click()
    assert page.locator("#hit-list pre:visible").count() == 2
    expect(texts.first).to_contain_text("UNSAFE-PROMPT")


def test_hits_are_filtered_and_opened_together(page: Page) -> None:
    tools = page.locator('[data-for="hit-list"]')
    tools.get_by_label("Filter answers").fill("encoding.InjectROT13-1")
    assert page.locator("#hit-list details:visible").count() == 1
    assert page.locator("#hit-list [data-group]:visible").count() == 1
    tools.get_by_role("button", name="Open all shown").click()
    assert page.locator("#hit-list pre:visible").count() == 2
    tools.get_by_label("Filter answers").fill("")
    tools.get_by_role("button", name="Close all").click()
    assert page.locator("#hit-list pre:visible").count() == 0


def test_print_shows_no_tools_and_no_unsafe_text(open_report: Open) -> None:
    page = open_report(large_report(), color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in ("nav", ".tools", ".theme", "#hit-list pre"):
        assert page.locator(f"{hidden}:visible").count() == 0, hidden
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert colours == ["rgb(27, 31, 36)", "rgb(255, 255, 255)"], "paper is white, whatever the screen is"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_everything_is_there(open_report: Open) -> None:
    page = open_report(large_report(), java_script_enabled=False).page
    assert page.locator("#probe-table tbody tr:visible").count() == 37
    assert page.locator(".tools:visible").count() == 0, "tools that would not work are not shown"
    page.locator("#hit-list summary").first.click()
    assert page.locator("#hit-list pre:visible").count() == 2


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(open_report: Open, width: int) -> None:
    page = open_report(large_report(), viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_long_names_and_reasons_leave_the_numbers_in_view(open_report: Open) -> None:
    long, reason = f"contentSafety.{'x' * 106}", "m" * 200
    score = {"metric": long, "samples": 1, "value": 1.0, "lower": 0.2, "upper": 1.0, "judge": "j" * 63}
    missing = {"metric": "contentSafety.gone", "samples": 0, "missing": reason}
    threshold = {"metric": long, "wanted": "lower end >= 0.90", "got": reason, "passed": None}
    report = make_report(scores=[score, missing], thresholds=[threshold])
    page = open_report(report, viewport={"width": 1280, "height": 800}).page
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{wide}.map(e => e.ariaLabel)") == []
    assert page.locator(".card").first.bounding_box()["width"] < 400, "a card alone is no wider than in a row"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(open_report: Open, scheme: str) -> None:
    page = open_report(large_report(), color_scheme=scheme).page
    page.locator("#hit-list summary").first.click()
    found = Axe().run(page)
    assert [f"{item['id']}: {item['nodes'][0]['html']}" for item in found.response["violations"]] == []


def test_colours_can_be_chosen(open_report: Open) -> None:
    page = open_report(large_report(), color_scheme="light").page
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.get_by_label("Colours").select_option("dark")
    assert page.evaluate(background) == "rgb(20, 23, 27)"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30].encode("unicode_escape").decode())
def test_hostile_text_does_nothing(open_report: Open, text: str) -> None:
    opened = open_report(make_report(text), viewport={"width": 390, "height": 800})
    page = opened.page
    page.get_by_role("button", name="Open all shown").click()
    page.locator('[data-for="hit-list"]').get_by_label("Filter answers").fill("abab")
    page.locator("#probe-table th").first.get_by_role("button").click()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('script, img, iframe, link, base, object').length") == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.title() == "Safety report: demo/hardened"
    expect(page.locator("#hit-list pre").first).to_be_visible()
    assert opened.requests == []
    assert opened.complaints == []


def test_the_policy_stops_a_script_that_got_in_all_the_same(open_report: Open) -> None:
    opened = open_report(make_report())
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          const image = new Image();
          image.src = "https://example.org/leak";
          document.body.insertAdjacentHTML("beforeend", "<b onclick='window.hacked = 2' id='trap'>x</b>");
          document.getElementById("trap").click();
        }"""
    )
    assert opened.page.evaluate("window.hacked") is None
    assert opened.requests == opened.blocked == ["https://example.org/leak"]
    assert len(opened.complaints) == 3
    assert all("Content Security Policy" in complaint for complaint in opened.complaints)
