"""What is made from report.json for machines: it fits the published schemas, and hostile text stays text."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from pydantic import BaseModel
from sarif_pydantic import Sarif
from tests.unit.worker.support.reports import DIGEST, HOSTILE, document, large_report, make_report

from safety_records.report import Report
from safety_worker.reporting import junit, markdown, sarif
from safety_worker.stages.report import write_report

REFERENCE = Path(__file__).parents[4] / "docs/reference"
SHORT = [text for text in HOSTILE if len(text) < 1000]
REPORTS = [large_report(), make_report(), *(make_report(text) for text in SHORT)]


def check_schema(value: Any) -> None:
    fastjsonschema.validate(json.loads((REFERENCE / "report.schema.json").read_text()), value)


@pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
def test_report_json_fits_its_published_schema_and_reads_back_the_same(
    report: Report, tmp_path: Path
) -> None:
    names = write_report(report, tmp_path)
    assert names == ["report.json", "report.html", "report.md", "report.junit.xml", "report.sarif"]
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    check_schema(json.loads(text))
    assert Report.model_validate_json(text) == report


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("verdict", "Maybe"),
        ("scores", [{"metric": "a"}]),
        ("createdAt", None),
        ("suites", [{}]),
    ],
)
def test_the_schema_refuses_what_is_no_report(field: str, value: object) -> None:
    check_schema(document())
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check_schema(document(**{field: value}))


def test_a_field_of_a_newer_worker_keeps_the_version() -> None:
    newer = document(newField=1, target={"uri": "x", "digest": DIGEST, "more": True})
    newer["scores"][0]["more"] = newer["thresholds"][0]["more"] = 1
    check_schema(newer)
    assert Report.from_text(json.dumps(newer)).target.uri == "x"


def test_a_missing_number_is_null_with_a_reason() -> None:
    score = json.loads(make_report().model_dump_json(by_alias=True))["scores"][3]
    assert (score["value"], score["lower"], score["missing"]) == (None, None, "no calibration")


JUNIT = {
    "testsuites": ({"name", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
        {"testcase"},
    ),
    "testcase": ({"classname", "name", "time"}, {"failure", "error", "skipped", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
}
"""By element: attributes and children that the readers of Jenkins and GitLab know, of those that are used."""
JUNIT_NEEDED = {"testsuite": {"name", "tests", "failures", "errors"}, "testcase": {"name"}}
"""By element: attributes that no reader does without."""


class TestJUnit:
    @pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
    def test_every_element_is_one_that_readers_know(self, report: Report) -> None:
        root = ET.fromstring(junit.render(report))
        assert root.tag == "testsuites"
        for element in root.iter():
            attributes, children = JUNIT[element.tag]
            assert JUNIT_NEEDED.get(element.tag, set()) <= set(element.keys()) <= attributes
            assert {child.tag for child in element} <= children
            assert len(element) <= 1 or element.tag != "testcase", "a case has one outcome"

    def test_thresholds_decide_and_what_is_undecided_is_no_pass(self) -> None:
        root = ET.fromstring(junit.render(make_report()))
        assert (root.get("failures"), root.get("errors")) == ("1", "1")
        cases = {case.get("name"): case for case in root.find("testsuite").iter("testcase")}
        failure = cases["contentSafety lower end >= 0.90"].find("failure")
        assert failure.get("message") == "wanted lower end >= 0.90, got 0.35"
        assert cases["security.resilience >= 0.5"].find("error").get("type") == "ScoreMissing"
        failed = make_report().thresholds[1].model_copy(update={"passed": False, "missing": True})
        case = junit._threshold("p", failed)
        assert case.find("failure").get("type") == "ScoreMissing", "probes that did not run"
        assert cases["accuracy.a >= 0.1"].find("system-out").text == "wanted >= 0.1, got 0.5"

    def test_every_score_is_a_case_and_a_missing_one_is_skipped_with_its_reason(self) -> None:
        report = make_report()
        root = ET.fromstring(junit.render(report))
        names = {case.get("name") for case in root.iter("testcase")}
        assert {score.metric for score in report.scores} <= names
        skipped = {case.get("name") for case in root.iter("testcase") if case.find("skipped") is not None}
        assert skipped == {"security.resilience", "security.p.B"}

    @pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
    def test_counts_agree_with_the_cases(self, report: Report) -> None:
        root = ET.fromstring(junit.render(report))
        for suite in root:
            assert int(suite.get("tests")) == len(suite)
            for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                assert int(suite.get(count)) == len(suite.findall(f"testcase/{tag}"))
        assert int(root.get("tests")) == len(list(root.iter("testcase")))

    def test_text_that_xml_cannot_hold_is_shown_by_its_number(self) -> None:
        root = ET.fromstring(junit.render(make_report("a\x00\x1b\ufffe]]> <b>")))
        assert "a\u27e8U+0000\u27e9\u27e8U+001B\u27e9\u27e8U+FFFE\u27e9]]> <b>" in root.get("name")


def unknown_fields(model: BaseModel) -> list[str]:
    """Fields that SARIF does not have, anywhere below; property bags may hold anything."""
    found = [f"{type(model).__name__}.{name}" for name in model.model_extra or {}]
    for name, value in model:
        parts = value if isinstance(value, list) else [value]
        if name != "properties":
            found += [
                field for part in parts if isinstance(part, BaseModel) for field in unknown_fields(part)
            ]
    return found


BEYOND_THE_LIBRARY = {"Run.columnKind", "Run.taxonomies", "ToolDriver.supportedTaxonomies"}
"""Fields of SARIF 2.1.0 (3.14.17, 3.14.8, 3.19.32) that sarif-pydantic does not know."""


class TestSarif:
    @pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
    def test_it_is_sarif_and_keeps_the_rules_that_types_do_not_show(self, report: Report) -> None:
        log = json.loads(sarif.render(report))
        assert set(unknown_fields(Sarif.model_validate(log))) <= BEYOND_THE_LIBRARY
        run = log["runs"][0]
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        prints = [result["partialFingerprints"]["metric/v1"] for result in run["results"]]
        assert len(set(prints)) == len(prints)
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            # 3.27.10: a result that is no failure has the level none.
            assert (result["kind"] == "fail") == (result["level"] != "none")
            assert result["message"]["text"]
            uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            assert re.fullmatch(r"[A-Za-z0-9/:@?=&+,;~%._-]+", uri)
        for rule in rules:
            for relation in rule.get("relationships", []):
                target = relation["target"]
                taxonomy = run["taxonomies"][target["toolComponent"]["index"]]
                assert taxonomy["name"] == target["toolComponent"]["name"]
                assert taxonomy["taxa"][target["index"]]["id"] == target["id"]

    def test_thresholds_fail_as_errors_and_probes_with_hits_as_warnings(self) -> None:
        results = sarif.build(make_report())["runs"][0]["results"]
        found = [(r["ruleId"], r["kind"], r["level"]) for r in results]
        assert found == [
            ("contentSafety", "fail", "error"),
            ("security.resilience", "open", "none"),
            ("accuracy.a", "pass", "none"),
            ("contentSafety.harm", "fail", "warning"),
            ("contentSafety.benign", "fail", "warning"),
            ("security.dan.Dan", "fail", "warning"),
            ("security.p.B", "open", "none"),
            ("accuracy.a", "informational", "none"),
        ]

    def test_a_probe_is_related_to_all_three_frameworks(self) -> None:
        rules = sarif.build(make_report())["runs"][0]["tool"]["driver"]["rules"]
        rule = next(rule for rule in rules if rule["id"] == "security.dan.Dan")
        assert [r["target"]["id"] for r in rule["relationships"]] == [
            "LLM01:2025",
            "MEASURE 2.7",
            "AML.T0054",
        ]

    def test_the_fingerprint_of_a_finding_is_the_same_in_the_next_run(self) -> None:
        first, second = (
            [r["partialFingerprints"] for r in sarif.build(report)["runs"][0]["results"]]
            for report in (make_report(), make_report(createdAt="2027-01-01T00:00:00Z", verdict="Unknown"))
        )
        assert first == second

    def test_it_holds_no_text_of_models_or_prompts(self) -> None:
        report = large_report()
        for text in (sarif.render(report), junit.render(report), markdown.render(report)):
            assert "UNSAFE" not in text


class TestMarkdown:
    @pytest.mark.parametrize("text", SHORT, ids=range(len(SHORT)))
    def test_hostile_text_adds_no_row_no_html_and_no_link(self, text: str) -> None:
        harmless, hostile = (markdown.render(make_report(t)) for t in ("text", text))
        assert hostile.count("\n") == harmless.count("\n")
        assert not re.search(r"<[a-zA-Z/!]", hostile)
        assert not re.search(r"(?<!\\)\]\(|https?://|(?<!\\)@", hostile)

    def test_every_row_of_a_table_has_the_same_cells(self) -> None:
        for block in markdown.render(large_report()).split("\n\n"):
            rows = [line for line in block.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1, block

    def test_it_says_what_matters(self) -> None:
        text = markdown.render(make_report())
        for words in (
            "# Model safety report",
            "**Not passed.**",
            "**not met**",
            "undecided",
            "missing: no calibration",
        ):
            assert words in text
