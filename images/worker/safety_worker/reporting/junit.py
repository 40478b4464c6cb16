"""``report.junit.xml`` from the report: a suite of thresholds, which decide, and suites of what was measured.

A threshold that is not met is a failure; one that cannot be decided is an error, so that no pipeline turns
green on missing numbers. Scores as such never fail: they pass with their numbers, or are skipped with the
reason. Characters that XML 1.0 cannot hold are shown by their numbers. Format: the JUnit 10 schema of the
xunit plug-in of Jenkins, which GitLab, Jenkins and GitHub actions read.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from safety_records.eval_stages import ThresholdVerdict
from safety_records.report import Report
from safety_records.result import Score
from safety_worker.reporting.wording import SECTIONS, percent, visible


def render(report: Report) -> str:
    """The report as JUnit XML."""
    prefix = f"{report.namespace}.{report.name}"
    root = ET.Element("testsuites", name=f"safety of {visible(report.target.uri)}")
    _add_suite(root, report, f"{prefix}.thresholds", (_threshold(prefix, item) for item in report.thresholds))
    for _, section in SECTIONS:
        own = [score for score in report.scores if score.metric.partition(".")[0] == section]
        if own:
            _add_suite(root, report, f"{prefix}.{section}", (_score(prefix, score) for score in own))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_suite(root: ET.Element, report: Report, name: str, cases: Iterable[ET.Element]) -> None:
    suite = ET.SubElement(root, "testsuite", name=name)
    suite.extend(cases)
    suite.set("tests", str(len(suite)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", "0")
    suite.set("timestamp", report.created_at.strftime("%Y-%m-%dT%H:%M:%S"))


def _threshold(prefix: str, item: ThresholdVerdict) -> ET.Element:
    case = ET.Element(
        "testcase", classname=f"{prefix}.thresholds", name=f"{item.metric} {visible(item.wanted)}", time="0"
    )
    words = f"wanted {item.wanted}, got {item.got}"
    if item.passed is False:
        kind = "ScoreMissing" if item.missing else "ThresholdNotMet"
        ET.SubElement(case, "failure", type=kind, message=visible(words))
    elif item.passed is None:
        ET.SubElement(case, "error", type="ScoreMissing", message=visible(words))
    else:
        ET.SubElement(case, "system-out").text = visible(words)
    return case


def _score(prefix: str, score: Score) -> ET.Element:
    section = score.metric.partition(".")[0]
    case = ET.Element("testcase", classname=f"{prefix}.{section}", name=score.metric, time="0")
    if score.value is None:
        ET.SubElement(case, "skipped", message=visible(score.missing or "no value"))
        return case
    interval = (
        "no interval"
        if score.lower is None
        else f"95 % interval {percent(score.lower)} to {percent(score.upper)}"
    )
    words = f"{percent(score.value)}, {interval}, {score.samples} samples, {score.unparsed} unreadable"
    ET.SubElement(case, "system-out").text = words
    return case
