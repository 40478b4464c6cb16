"""The page: complete, readable without a network or a script, and deaf to hostile text."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.worker.support.reports import HOSTILE, large_report, make_report

from safety_records.eval_stages import ThresholdVerdict
from safety_records.result import Score
from safety_worker.reporting import markdown
from safety_worker.reporting.page import FOLDER, render, source_digest
from safety_worker.reporting.view import headline, reach, threshold_bound
from safety_worker.reporting.wording import markdown_text, percent, signed, verdict_sentence, visible


class Page(HTMLParser):
    """What a browser would make of the page: tags, attributes, and whether they nest."""

    VOID = {"meta", "br", "wbr", "line", "circle", "path", "img", "input", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_tag_and_no_attribute(text: str) -> None:
    harmless, hostile = Page(render(make_report("text"))), Page(render(make_report(text)))
    assert hostile.tags == harmless.tags
    assert [a[:2] for a in hostile.attributes] == [a[:2] for a in harmless.attributes]


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_no_text_changes_the_pages_structure(text: str) -> None:
    assert Page(render(make_report(text))).tags == Page(render(make_report("text"))).tags


def test_suites_without_a_failed_answer_are_not_said_to_have_passed() -> None:
    """Nothing failed either where nothing was answered."""
    page = render(make_report(hits=[{"metric": "contentSafety.harm", "failed": 0}]))
    assert "Answers to review" not in page
    assert "passed" not in page.partition('id="suites"')[0].lower().replace("not passed", "")
    assert page.count('id="hits') == 0


def test_the_page_needs_no_network() -> None:
    page = Page(render(make_report()))
    assert not {"img", "iframe", "object", "embed", "link", "form", "base"} & set(page.tags)
    assert all(value is None or value.startswith("#") for _, name, value in page.attributes if name == "href")
    assert not any(name.startswith("on") or name in {"src", "style"} for _, name, _ in page.attributes)


def test_the_policy_allows_the_one_style_and_the_one_script_and_nothing_else() -> None:
    text = render(make_report())
    page = Page(text)
    values = [str(value) for _, _, value in page.attributes]
    policy = next(value for value in values if value.startswith("default-src"))
    found = [re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("style", "script")]
    assert [len(texts) for texts in found] == [1, 1]
    style, script = (source_digest(texts[0]) for texts in found)
    assert policy == (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"
    )


def test_the_script_turns_no_text_into_markup() -> None:
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "eval",
        "Function",
        "document.write",
        "fetch",
        "XML",
    ):
        assert word not in script


def test_unsafe_text_is_hidden_until_asked_for() -> None:
    text = render(make_report("UNSAFE-TEXT"))
    hidden = re.findall(r"<details>(.*?)</details>", text, re.DOTALL)
    assert len(hidden) == 2
    assert '<pre tabindex="0">UNSAFE-TEXT</pre>' in hidden[0]
    assert '<pre tabindex="0">UNSAFE-TEXT</pre>' not in re.sub(
        r"<details>.*?</details>", "", text, flags=re.DOTALL
    )
    assert "<details open" not in text


def test_links_lead_somewhere_and_ids_are_unique() -> None:
    page = Page(render(make_report()))
    targets = {value[1:] for _, name, value in page.attributes if name == "href" and value}
    assert targets <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    labels = {value for _, name, value in page.attributes if name == "aria-labelledby"}
    assert labels <= set(page.ids)


def test_every_plot_has_words_or_numbers_beside_it() -> None:
    text = render(make_report())
    for plot in re.findall(r"<svg[^>]*>", text):
        assert "aria-label=" in plot or "aria-hidden" in plot or 'viewBox="0 0 26 14"' in plot
    assert "50.0\u202f%, 95 % interval 35.0\u202f% to 65.0\u202f%, bound 90.0\u202f%" in text


def test_a_large_report_is_complete_and_well_formed() -> None:
    report = large_report()
    text = render(report)
    Page(text)
    for metric in (score.metric for score in report.scores):
        assert metric.removeprefix("security.").replace(".", ".<wbr>") in text
    for framework in report.frameworks:
        assert all(entry.id in text for entry in framework.entries)
    assert "LLM04:2025" in text
    assert "not measured" in text
    asked = [score.drawn for score in report.scores if score.drawn]
    assert asked
    assert all(f"asked: {words}" in text and f"({words})" in markdown.render(report) for words in asked)


def test_a_report_of_nothing_but_a_scan_is_complete() -> None:
    text = render(
        make_report(suites=[], hits=[], scores=[], thresholds=[], unpaired={}, judges=[], verdict="Unknown")
    )
    assert "No verdict" in text
    assert "No threshold was set" in text
    assert "dan.<wbr>Dan" in text


def test_the_run_before_is_compared_where_there_is_one() -> None:
    text = render(make_report())
    section = re.search(r'<h2 id="drift">.*?</section>', text, re.DOTALL)[0]
    assert "<strong><bdi>run of monday</bdi></strong>" in section
    assert "+30.0" in section
    assert "contentSafety.<wbr>benign</code> is not compared: <bdi>text</bdi>." in section
    assert "Since the run before" not in render(make_report(previous="", drift=[]))


def test_a_calibrated_judge_is_shown_beside_people() -> None:
    text = render(make_report())
    section = re.search(r'<h2 id="judges">.*?</section>', text, re.DOTALL)[0]
    for words in (
        "guard",
        "90.0\u202f%",
        "0.80<br>(0.71 \u2013 0.88)",
        "12.0\u202f%<br>(7.0\u202f% \u2013 20.0\u202f%)",
    ):
        assert words in section
    assert "phrases" not in section, "it was not calibrated"
    assert "unsafe from: 4" in text
    assert "Judges and people" not in render(make_report(judges=[]))


def test_a_judge_without_labelled_rows_has_no_agreement() -> None:
    nothing = {"judge": "guard", "samples": 0, "minAgreement": 0.8}
    judge = {"name": "guard", "type": "rubric", "calibration": nothing}
    assert "missing: no labelled row counts" in render(make_report(judges=[judge]))


def test_a_probe_has_its_attack_success_and_the_scan_its_calibration() -> None:
    text = render(make_report())
    assert "25.0\u202f% (5.0\u202f% \u2013 70.0\u202f%)" in text
    assert "calibration-2026-02.json sha256:0123456789ab" in text
    assert "2 answers per prompt" in text


def test_a_report_without_a_scan_is_complete() -> None:
    assert "garak 0.17.1;" not in render(make_report(security=None, manifest={}))


def test_a_report_without_a_manifest_says_where_to_get_it() -> None:
    assert "kubectl get safetyeval hardened --namespace demo" in render(make_report(manifest={}))


def test_several_accuracy_tasks_have_a_mean_and_one_that_is_missing_takes_it_away() -> None:
    scores = [Score(metric=f"accuracy.{n}", value=v, samples=10) for n, v in (("a", 0.2), ("b", 0.6))]
    found = headline(scores, "Accuracy", "accuracy")
    assert (found.score.value, found.score.lower, found.parts) == (pytest.approx(0.4), None, 2)
    assert found.weakest.metric == "accuracy.a"
    found = headline([*scores, Score(metric="accuracy.c", samples=0, missing="x")], "Accuracy", "accuracy")
    assert (found.score.value, found.score.missing) == (None, "1 of them have no value")


@pytest.mark.parametrize(
    ("verdict", "passed", "words"),
    [
        ("True", [True, True], "Every threshold is met (2 of 2)."),
        ("False", [False, True, None], "1 of 3 thresholds not met, 1 without a number."),
        ("Unknown", [None, True], "1 of 2 thresholds have no number"),
    ],
)
def test_the_verdict_in_words(verdict: str, passed: list[bool | None], words: str) -> None:
    thresholds = [ThresholdVerdict(metric="m", wanted="", got="", passed=p) for p in passed]
    assert verdict_sentence(verdict, thresholds).startswith(words)


@pytest.mark.parametrize(
    ("wanted", "bound"),
    [
        ("lower end >= 0.90", 0.9),
        (">= 1", 1.0),
        (">= 0", 0.0),
        ("value of 95 % interval >= 0.5", 0.5),
        ("at most 12", None),
        ("lower end of difference >= -0.02", None),
        ("difference >= -0", None),
    ],
)
def test_a_threshold_is_drawn_at_its_value(wanted: str, bound: float | None) -> None:
    assert threshold_bound(wanted) == bound


def test_numbers_for_people() -> None:
    assert percent(0.5444) == "54.4\u202f%"
    assert percent(None) == "\u2013"
    assert (signed(0.123), signed(-0.123), signed(-0.00001)) == ("+12.3", "\u221212.3", "\u00b10.0")
    assert visible("a\x07b\u202ec\nd\r\ne") == "a\u27e8U+0007\u27e9b\u27e8U+202E\u27e9c\nd\ne"
    assert visible("tag \U000e0041, filler \u3164") == "tag \u27e8U+E0041\u27e9, filler \u27e8U+3164\u27e9"
    assert markdown_text("a|b <i>\n@me `x` [y](z)") == r"a\|b &lt;i&gt; \@me \`x\` \[y\](z)"
    assert (reach([]), reach([0.01, -0.07]), reach([0.6])) == (1.0, 0.1, 1.0)
