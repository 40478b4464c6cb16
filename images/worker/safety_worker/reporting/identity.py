"""What a score was measured with: judge, data set, sampling. Only scores with the same are compared.

The score stage writes it next to its scores, as ``identity.json``, for the runs that will be compared with
this one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from safety_records.base import Record
from safety_records.eval_stages import EvalSuite
from safety_records.report import ReportAccuracy
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.datasets.suites import SUITES_NAME
from safety_worker.reporting.samples import Sample, by_suite
from safety_worker.reporting.tool_results import accuracy_metric

IDENTITY_NAME = "identity.json"


class Identity(Record):
    """What one score was measured with; equal texts mean the same."""

    judge: str
    """Hash over the judges (for a benchmark over harness, metric and settings)."""
    dataset: str
    """Digest of the data set, and what was drawn from it."""
    sampling: str
    """Hash over how answers were drawn; empty where it is not known."""


Identities = Mapping[str, Identity]
"""By metric."""

_ADAPTER = TypeAdapter(dict[str, Identity])


def content_identities(suites: Sequence[EvalSuite], samples: Sequence[Sample], generated: Path) -> Identities:
    """Of each suite. The generate stage says what it read and how answers were drawn."""
    path = generated / SUITES_NAME
    described = {item["name"]: item for item in json.loads(path.read_text(encoding="utf-8"))}
    rows = by_suite(samples)
    found = {}
    for suite in suites:
        item = described.get(suite.name, {})
        judges = sorted({row.judge_hash for row in rows.get(suite.name, [])})
        limit = item.get("limit")
        draw = "all" if limit is None else f"{limit} with seed {item.get('seed')}"
        found[f"contentSafety.{suite.name}"] = Identity(
            judge=" ".join(judges),
            dataset=f"{item.get('digest', '')} {draw}",
            sampling=_hash(item["sampling"]) if item.get("sampling") else "",
        )
    return found


def draws(generated: Path) -> dict[str, str]:
    """By metric of a suite of which not all prompts were asked: how many of how many, and the seed."""
    found = {}
    for item in json.loads((generated / SUITES_NAME).read_text(encoding="utf-8")):
        if item.get("limit") is None:
            continue
        left_out = sum(item.get(name, 0) for name in ("invalid", "filtered", "duplicate"))
        asked, usable = item.get("asked", 0), item.get("read", 0) - left_out
        if asked < usable:
            found[f"contentSafety.{item['name']}"] = f"{asked} of {usable}, seed {item['seed']}"
    return found


def accuracy_identities(tasks: ReportAccuracy) -> Identities:
    """Of each entry's first metric."""
    found: dict[str, Identity] = {}
    for task in tasks.tasks:
        settings = task.identity
        identity = Identity(
            judge=_hash([tasks.lm_eval_version, task.metric, settings.get("task", "")]),
            dataset=settings.get("dataset", ""),
            sampling=settings.get("sampling", ""),
        )
        found.setdefault(accuracy_metric(task.name), identity)
    return found


def write_identities(folder: Path, identities: Identities) -> None:
    """Write them next to the scores."""
    plain = {metric: identity.model_dump(mode="json") for metric, identity in identities.items()}
    atomic_write_text(folder / IDENTITY_NAME, json.dumps(plain, indent=1, sort_keys=True))


def read_identities(folder: Path) -> Identities:
    """Read them; none where an older version has written the scores."""
    try:
        return _ADAPTER.validate_json((folder / IDENTITY_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def compare_with(mine: Identities, theirs: Identities) -> Callable[[str], str]:
    """Why a metric cannot be compared, by its name; empty where it can."""

    def differs(metric: str) -> str:
        here, there = mine.get(metric), theirs.get(metric)
        if theirs and there is None:
            return "the baseline has no samples of this suite"
        if here is None or there is None or not (here.sampling and there.sampling):
            return "the baseline does not say what it was measured with: evaluate it again"
        if here.judge != there.judge:
            return "the baseline was judged by another judge, or by one with other settings"
        if here.dataset != there.dataset:
            return "the baseline used another data set, or another draw from it"
        if here.sampling != there.sampling:
            return (
                "the baseline's answers were sampled in another way, or their reasoning taken out by another "
                "parser: compare spec.sampling and serving.reasoningParser"
            )
        return ""

    return differs


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
