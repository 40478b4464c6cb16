"""A real Chromium that opens report pages, and remembers all that a page asked for or complained of."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from safety_records.report import Report
from safety_worker.reporting.page import render

CACHE = Path(os.environ.get("MSO_CACHE", Path.home() / ".cache/model-safety-operator"))
TIMEOUT_MS = 120_000
"""A test fails on what it finds, not on a busy machine."""
CHROMIUM = CACHE / "bin/chromium"


@dataclass
class Opened:
    """A page, and what happened in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """Every address asked for besides the page itself."""
    blocked: list[str] = field(default_factory=list)
    """Those of them that the page's own policy stopped."""
    complaints: list[str] = field(default_factory=list)
    """Console messages, errors and dialogs."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: run hack/tools.sh chromium (make test-browser does)"
    with sync_playwright() as playwright:
        # Containers often lack the user namespaces that Chromium's own sandbox needs.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def open_(report: Report | str, **options: Any) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(report if isinstance(report, str) else render(report), encoding="utf-8")
        context = browser.new_context(**options)
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        opened = Opened(context.new_page())
        url = path.as_uri()

        def asked(request: Any) -> None:
            if request.url.partition("#")[0] != url:
                opened.requests.append(request.url)

        def dialog(dialog: Any) -> None:
            opened.complaints.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        def failed(request: Any) -> None:
            if request.failure == "csp":
                opened.blocked.append(request.url)

        opened.page.on("request", asked)
        opened.page.on("requestfailed", failed)
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("dialog", dialog)
        opened.page.goto(url)
        return opened

    yield open_
    for context in contexts:
        context.close()
