"""Read what lm-eval left: ``results_*.json`` and ``samples_<task>_*.jsonl``."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class TaskResult(NamedTuple):
    """One metric of one task."""

    name: str
    """Name of the entry, with the task's where it has several."""
    metric: str
    value: float | None = None
    stderr: float | None = None
    correct: int | None = None
    """Right answers, where every sample is either right or wrong."""
    samples: int = 0
    missing: str = ""
    """Why there is no number."""
    identity: dict[str, str] = {}
    """What the first metric was measured with: task, dataset, sampling; only equal ones are compared."""
    drawn: str = ""
    """Which questions, where a limit left some out."""


class Sample(NamedTuple):
    """One question of a task: the row that paired tests join on."""

    id: str
    value: float
    """0..1; 1 or 0 where an answer is either right or wrong."""


class TaskOutput(NamedTuple):
    """What one task gave."""

    results: tuple[TaskResult, ...]
    samples: tuple[Sample, ...]
    """Of the first metric; empty where it is no mean of one number per sample."""


def find_results(folder: Path) -> dict[str, Any] | None:
    """Content of the newest results file below a folder; None if there is none."""
    files = sorted(folder.rglob("results_*.json"))
    if not files:
        return None
    results: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return results


def read_task(folder: Path, task: str, name: str, wanted: str = "") -> TaskOutput:
    """Metrics and samples of one task, reported under ``name``.

    The metric ``wanted`` (``exact_match``, or with its filter ``exact_match.flexible-extract``) comes first;
    without it the task's own first one does. A wanted metric that the task has not is missing.
    """
    results = find_results(folder)
    scores = (results or {}).get("results", {}).get(task)
    if results is None or not scores:
        return _missing(name, 0, "lm-eval gave no result")
    records = list(read_samples(folder, task))
    sizes = results.get("n-samples", {}).get(task, {})
    count = sizes.get("effective", len(records))
    every = sizes.get("original", count)
    drawn = f"the first {count} of {every}" if count < every else ""
    if records and all(map(has_no_text, records)):
        return _missing(name, count, "the server's answers held no text that lm-eval could read")
    metrics = [key for key, value in scores.items() if is_metric(key, value)]
    if not metrics:
        return _missing(name, count, "lm-eval gave no number")
    chosen = [key for key in metrics if wanted in (metric_name(key), key.partition(",")[0])]
    if wanted and not chosen:
        has = ", ".join(map(metric_name, metrics))
        return _missing(name, count, f"{task} has no metric {wanted}, it has {has}")
    metrics.sort(key=lambda key: key not in chosen[:1])
    samples = value_samples(records, metrics[0], float(scores[metrics[0]]))
    own = {"task": task_identity(results, task), "dataset": dataset_identity(records)}
    rest = [read_metric(scores, metric, name, count, ()) for metric in metrics[1:]]
    first = read_metric(scores, metrics[0], name, count, samples)
    found = (first._replace(identity=own), *rest)
    return TaskOutput(tuple(result._replace(drawn=drawn) for result in found), samples)


def has_no_text(record: dict[str, Any]) -> bool:
    """Whether a sample is one of generation whose answers are all empty.

    lm-eval takes an answer that it cannot read for an empty one and counts it as wrong.
    """
    texts = [text for several in record.get("resps") or () for text in several]
    return bool(texts) and not any(texts)


def _missing(name: str, count: int, reason: str) -> TaskOutput:
    return TaskOutput((TaskResult(name, "", samples=count, missing=reason),), ())


def task_identity(results: dict[str, Any], task: str) -> str:
    """A task's version and generation arguments, as lm-eval used them."""
    used = results.get("configs", {}).get(task, {}).get("generation_kwargs")
    version = results.get("versions", {}).get(task)
    return json.dumps([task, version, used], sort_keys=True, default=str)


def dataset_identity(records: list[dict[str, Any]]) -> str:
    """sha256 over the questions that were asked; empty for none."""
    if not records:
        return ""
    names = sorted({sample_id(record) for record in records})
    return "sha256:" + hashlib.sha256("\n".join(names).encode()).hexdigest()


def metric_name(key: str) -> str:
    """``exact_match,flexible-extract`` as ``exact_match.flexible-extract``; without a filter its name."""
    metric, _, kind = key.partition(",")
    return metric if kind == "none" else f"{metric}.{kind}"


def is_metric(key: str, value: object) -> bool:
    """Whether an entry such as ``acc,none`` is a metric's value."""
    return "," in key and "_stderr," not in key and isinstance(value, int | float) and math.isfinite(value)


def read_metric(
    scores: dict[str, Any], key: str, name: str, count: int, samples: tuple[Sample, ...]
) -> TaskResult:
    """One metric with its standard error."""
    metric, _, kind = key.partition(",")
    stderr = scores.get(f"{metric}_stderr,{kind}")
    known = float(stderr) if isinstance(stderr, int | float) and math.isfinite(stderr) else None
    return TaskResult(
        name,
        metric_name(key),
        value=float(scores[key]),
        stderr=known,
        correct=count_correct(samples) if len(samples) == count else None,
        samples=count,
    )


def read_samples(folder: Path, task: str) -> Iterator[dict[str, Any]]:
    """Per-sample records of a task, from the newest file."""
    files = sorted(folder.rglob(f"samples_{task}_*.jsonl"))
    if files:
        # Not splitlines(): text of a model may hold U+2028, which is no line end in JSON lines.
        for line in filter(None, files[-1].read_text(encoding="utf-8").split("\n")):
            yield json.loads(line)


def value_samples(records: list[dict[str, Any]], key: str, mean: float) -> tuple[Sample, ...]:
    """Each sample's value of a metric, sorted by id.

    Empty if one is no number from 0 to 1, or if they do not make up the metric's value, as with a metric of
    the whole text.
    """
    metric, _, kind = key.partition(",")
    chosen = [record for record in records if record.get("filter", "none") == kind]
    if not chosen or not all(_is_share(record.get(metric)) for record in chosen):
        return ()
    samples = {sample_id(record): float(record[metric]) for record in chosen}
    found = sum(float(record[metric]) for record in chosen) / len(chosen)
    if not math.isclose(found, mean, abs_tol=1e-6):
        return ()
    return tuple(Sample(name, samples[name]) for name in sorted(samples))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def count_correct(samples: tuple[Sample, ...]) -> int | None:
    """Right answers, None where not every sample is either right or wrong."""
    if not samples or any(sample.value not in (0, 1) for sample in samples):
        return None
    return sum(sample.value == 1 for sample in samples)


def sample_id(record: dict[str, Any]) -> str:
    """Our own id where the row has one, else lm-eval's hash of the row."""
    own = record.get("doc", {}).get("id")
    return own if isinstance(own, str) and len(own) == 64 else str(record["doc_hash"])  # noqa: PLR2004 - sha256
