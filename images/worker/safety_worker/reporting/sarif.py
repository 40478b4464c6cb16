"""``report.sarif`` from the report: SARIF 2.1.0, for code-scanning dashboards.

A rule is a metric, related to the entries of the frameworks. A result is a threshold (pass, fail with level
error, or open) or a probe or suite with failures (fail with level warning). It holds no text of models or
prompts. Format: OASIS, Static Analysis Results Interchange Format 2.1.0, 2020-03-27, section 3.
"""

import hashlib
import json
from typing import Any
from urllib.parse import quote

from safety_records.eval_stages import ThresholdVerdict
from safety_records.report import Framework, Report
from safety_records.result import Score
from safety_worker import __version__
from safety_worker.reporting.wording import percent, visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
COMPOSITES = frozenset({"contentSafety", "security.resilience"})
"""Metrics made of others: their parts are reported, and they themselves only where a threshold names them."""

THRESHOLDS = {True: ("pass", "met"), False: ("fail", "not met"), None: ("open", "undecided")}
"""By whether a threshold is met: kind of the result, and words for people."""

Object = dict[str, Any]


def render(report: Report) -> str:
    """The report as SARIF."""
    return json.dumps(build(report), indent=1, ensure_ascii=False)


def build(report: Report) -> Object:
    """The report as a SARIF log."""
    metrics = list(
        dict.fromkeys([*(s.metric for s in report.scores), *(t.metric for t in report.thresholds)])
    )
    index = {metric: number for number, metric in enumerate(metrics)}
    results = [_threshold(report, item, index) for item in report.thresholds]
    results += [_score(report, score, index) for score in report.scores if score.metric not in COMPOSITES]
    hashes = (
        {"hashes": {"sha-256": report.target.digest.removeprefix("sha256:")}} if report.target.digest else {}
    )
    run = {
        "tool": {"driver": _driver(report, metrics)},
        "automationDetails": {"id": f"safetyeval/{report.namespace}/{report.name}/"},
        "invocations": [
            {"executionSuccessful": True, "endTimeUtc": report.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        ],
        "artifacts": [{"location": _model(report), **hashes}],
        "taxonomies": [_taxonomy(framework) for framework in report.frameworks],
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": report.verdict,
            "inputsHash": report.inputs_hash,
            "versions": report.versions,
        },
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _driver(report: Report, metrics: list[str]) -> Object:
    return {
        "name": "model-safety-operator",
        "semanticVersion": report.versions.get("safety-worker", __version__),
        "rules": [_rule(report, metric) for metric in metrics],
        "supportedTaxonomies": [
            {"name": framework.name, "index": number} for number, framework in enumerate(report.frameworks)
        ],
    }


def _rule(report: Report, metric: str) -> Object:
    targets = [
        {"id": entry.id, "index": number, "toolComponent": {"name": framework.name, "index": which}}
        for which, framework in enumerate(report.frameworks)
        for number, entry in enumerate(framework.entries)
        if metric in entry.metrics
    ]
    rule: Object = {
        "id": metric,
        "shortDescription": {"text": f"Score {metric}"},
        "fullDescription": {"text": f"{_meaning(metric)} From 0 to 1, higher is better."},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["safety", *(target["id"] for target in targets)]},
    }
    if targets:
        rule["relationships"] = [{"target": target, "kinds": ["relevant"]} for target in targets]
    return rule


def _meaning(metric: str) -> str:
    section, _, rest = metric.partition(".")
    match section:
        case "contentSafety":
            return (
                f"Share of answers to suite {rest} that are as expected." if rest else "Mean over the suites."
            )
        case "security" if rest == "resilience":
            return "Share of garak's probes that its calibration grades as resisted."
        case "security":
            return f"Share of the attempts of garak's probe {rest} that the model withstood."
        case _:
            return f"Accuracy of {rest}."


def _taxonomy(framework: Framework) -> Object:
    return {
        "name": framework.name,
        "version": framework.version,
        "shortDescription": {"text": f"{framework.name} {framework.version}"},
        "isComprehensive": False,
        "taxa": [{"id": entry.id, "shortDescription": {"text": entry.title}} for entry in framework.entries],
    }


def _threshold(report: Report, item: ThresholdVerdict, index: dict[str, int]) -> Object:
    kind, outcome = THRESHOLDS[item.passed]
    words = f"Threshold {outcome}: {item.metric}, wanted {item.wanted}, got {item.got}."
    return _result(report, item.metric, f"threshold {item.wanted}", index) | {
        "kind": kind,
        "level": "error" if kind == "fail" else "none",
        "message": {"text": visible(words)},
    }


def _score(report: Report, score: Score, index: dict[str, int]) -> Object:
    result = _result(report, score.metric, "score", index)
    if score.value is None:
        text = f"{score.metric} could not be measured: {score.missing or 'no value'}."
        return result | {"kind": "open", "level": "none", "message": {"text": visible(text)}}
    interval = (
        "" if score.lower is None else f" (95 % interval {percent(score.lower)} to {percent(score.upper)})"
    )
    text = f"{score.metric} is {percent(score.value)}{interval} over {score.samples} samples."
    judged = not score.metric.startswith("accuracy.") and score.value < 1
    return result | {
        "kind": "fail" if judged else ("pass" if score.value == 1 else "informational"),
        "level": "warning" if judged else "none",
        "rank": round(100 * (1 - score.value), 1),
        "message": {"text": text},
        "properties": score.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _result(report: Report, metric: str, what: str, index: dict[str, int]) -> Object:
    """What all results have. The fingerprint is the same in the next run of the same evaluation."""
    identity = f"{report.namespace}/{report.name}/{metric}/{what}"
    return {
        "ruleId": metric,
        "ruleIndex": index[metric],
        "locations": [
            {
                "physicalLocation": {"artifactLocation": _model(report) | {"index": 0}},
                "logicalLocations": [{"name": metric, "fullyQualifiedName": metric, "kind": "metric"}],
            }
        ],
        "partialFingerprints": {"metric/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }


def _model(report: Report) -> Object:
    """Where the model is, as a valid URI reference."""
    return {"uri": quote(report.target.uri, safe="/:@?=&+,;~%") or "model"}
