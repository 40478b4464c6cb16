"""Read what lm-eval left: ``results_<time>.json`` and ``samples_<task>_<time>.jsonl`` next to it.

A name that lm-eval is given stands for a task, for a group, whose score lm-eval aggregates over its tasks (or
does not), or for a tag, which has none. Names are matched whole: files are found by their exact name.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safety_records.report import ReportTask
from safety_worker.empty_answers import empty_answers_problem, find_empty_reason

REMEDY = "raise generation.maxTokens, set sampling.reasoningEnd, or disable the server's reasoning parser"
"""Against answers without text: lm-eval's own limit of 256 tokens is too short for reasoning."""


class QuestionScore(NamedTuple):
    """One question of a task: the row that paired tests join on."""

    id: str
    value: float
    """0..1; 1 or 0 where an answer is either right or wrong."""


class TaskOutput(NamedTuple):
    """What one task gave."""

    results: tuple[ReportTask, ...]
    """Its metrics; the first one says what it was measured with (task, dataset, sampling)."""
    samples: tuple[QuestionScore, ...]
    """Of the first metric; empty where it is no mean of one number per sample."""
    parts: "tuple[TaskOutput, ...]" = ()
    """What the tasks gave, of a name that has no score of its own; ``results`` are then all of theirs."""

    @property
    def each(self) -> "tuple[TaskOutput, ...]":
        """The outputs that have samples: its parts, or itself."""
        return self.parts or (self,)


class Run(NamedTuple):
    """One run of lm-eval."""

    path: Path
    """The results file."""
    content: dict[str, Any]

    def read_samples(self, task: str) -> Iterator[dict[str, Any]]:
        """Per-sample records of a task; nothing where lm-eval wrote none."""
        time = self.path.name.removeprefix("results_").removesuffix(".json")
        path = self.path.with_name(f"samples_{task}_{time}.jsonl")
        if path.is_file():
            # Not splitlines(): text of a model may hold U+2028, which is no line end in JSON lines.
            for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
                yield json.loads(line)

    def children(self, name: str) -> list[str]:
        """Tasks and groups of a group, in lm-eval's order; empty for a task."""
        return list(self.content.get("group_subtasks", {}).get(name, ()))

    def leaves(self, name: str) -> list[str]:
        """The tasks of a group however deep, each once; the task itself for a task."""
        below = self.children(name)
        found = [leaf for child in below for leaf in self.leaves(child)] if below else [name]
        return list(dict.fromkeys(found))

    def has_metric(self, name: str) -> bool:
        """Whether lm-eval gives it a number of its own."""
        scores = self.content.get("results", {}).get(name, {})
        return any(is_metric(key, value) for key, value in scores.items())


def find_run(folder: Path) -> Run | None:
    """The newest run below a folder; None if there is none."""
    files = sorted(folder.rglob("results_*.json"), key=lambda path: path.name)
    return Run(files[-1], json.loads(files[-1].read_text(encoding="utf-8"))) if files else None


def read_task(
    folder: Path, task: str, name: str, wanted: str = "", *, others: Collection[str] = (), under: str = ""
) -> TaskOutput:
    """Metrics and samples of one name that lm-eval was given.

    Parameters
    ----------
    folder
        Where lm-eval wrote.
    task
        The name: a task, a group or a tag.
    name
        What it is reported under.
    wanted
        The metric (``exact_match``, or with its filter ``exact_match.flexible-extract``) that comes first;
        empty: the task's own first. A wanted metric that the task has not is missing.
    others
        Names that lm-eval was given besides: their tasks are not those of a tag.
    under
        What the tasks of a name without a score of its own are reported under; empty: ``name``.
    """
    run = find_run(folder)
    if run is None:
        return _missing(name, 0, "lm-eval gave no result")
    members = [] if run.has_metric(task) else find_members(run, task, others)
    if not members:
        return read_scored(run, task, name, wanted)
    parts = tuple(read_scored(run, member, f"{under or name}.{member}", wanted) for member in members)
    return TaskOutput(tuple(result for part in parts for result in part.results), (), parts)


def find_members(run: Run, name: str, others: Collection[str]) -> list[str]:
    """What has a score, of a group without an aggregate or of a tag; empty where lm-eval knows neither.

    lm-eval's results do not name tags: a tag's tasks are those that nothing else stands for.
    """
    known = run.content.get("results", {})
    if name in known:
        below = run.children(name)
        found = [[one] if run.has_metric(one) else find_members(run, one, others) for one in below]
        return list(dict.fromkeys(member for members in found for member in members))
    groups = run.content.get("group_subtasks", {})
    taken = {leaf for other in (*others, *groups) for leaf in run.leaves(other)}
    return [task for task in known if task not in taken and task not in groups and run.has_metric(task)]


def read_scored(run: Run, task: str, name: str, wanted: str) -> TaskOutput:
    """Metrics and samples of a task, or of a group that lm-eval aggregates."""
    scores = run.content.get("results", {}).get(task)
    if not scores:
        return _missing(name, 0, "lm-eval gave no result")
    leaves = run.leaves(task)
    records = [record for leaf in leaves for record in read_records(run, leaf, several=len(leaves) > 1)]
    count, every = count_questions(run, leaves, len(records))
    drawn = f"the first {count} of {every}" if count < every else ""
    problem = find_silent_records(records)
    if problem:
        return _missing(name, count, problem)
    metrics = [key for key, value in scores.items() if is_metric(key, value)]
    if not metrics:
        return _missing(name, count, "lm-eval gave no number")
    chosen = [key for key in metrics if wanted in (metric_name(key), key.partition(",")[0])]
    if wanted and not chosen:
        has = ", ".join(map(metric_name, metrics))
        return _missing(name, count, f"{task} has no metric {wanted}, it has {has}")
    metrics.sort(key=lambda key: key not in chosen[:1])
    samples = value_samples(records, metrics[0], float(scores[metrics[0]]))
    own = {"task": task_identity(run.content, task, leaves), "dataset": dataset_identity(records)}
    rest = [read_metric(scores, metric, name, count, ()) for metric in metrics[1:]]
    first = read_metric(scores, metrics[0], name, count, samples)
    found = (first.model_copy(update={"identity": own}), *rest)
    return TaskOutput(tuple(result.model_copy(update={"drawn": drawn}) for result in found), samples)


def read_records(run: Run, task: str, *, several: bool) -> Iterator[dict[str, Any]]:
    """Records of a task, each with its ``id``, which says the task where records of several come together."""
    for record in run.read_samples(task):
        yield {**record, "id": f"{task}/{sample_id(record)}" if several else sample_id(record)}


def count_questions(run: Run, tasks: list[str], num_records: int) -> tuple[int, int]:
    """Questions that were asked, and all that there are."""
    sizes = [run.content.get("n-samples", {}).get(task, {}) for task in tasks]
    if not all("effective" in size for size in sizes):
        return num_records, num_records
    asked = sum(size["effective"] for size in sizes)
    return asked, sum(size.get("original", size["effective"]) for size in sizes)


def find_silent_records(records: list[dict[str, Any]]) -> str:
    """Why answers without text leave no number; empty if they are few enough, or nothing was written.

    lm-eval takes an answer that it cannot read for an empty one and counts it as wrong. A question has a
    record for each filter; it is silent if all answers to it are.
    """
    written = {record["id"]: texts for record in records if (texts := answer_texts(record))}
    kinds = ([find_empty_reason(text) for text in texts] for texts in written.values())
    found = Counter(several[0] for several in kinds if several[0] and all(several))
    return empty_answers_problem(found, len(written), REMEDY)


def answer_texts(record: dict[str, Any]) -> list[str]:
    """What the model wrote; empty where log-likelihoods were asked for."""
    texts = [text for several in record.get("resps") or () for text in several]
    return texts if all(isinstance(text, str) for text in texts) else []


def _missing(name: str, count: int, reason: str) -> TaskOutput:
    return TaskOutput((ReportTask(name=name, samples=count, missing=reason),), ())


def task_identity(results: dict[str, Any], task: str, leaves: list[str]) -> str:
    """Version and generation arguments of a task as lm-eval used them; of a group also those of its tasks."""

    def own(name: str) -> list[Any]:
        used = results.get("configs", {}).get(name, {}).get("generation_kwargs")
        return [name, results.get("versions", {}).get(name), used]

    if leaves == [task]:
        return json.dumps(own(task), sort_keys=True, default=str)
    below = json.dumps([own(leaf) for leaf in leaves], sort_keys=True, default=str)
    return json.dumps([*own(task), hashlib.sha256(below.encode()).hexdigest()], default=str)


def dataset_identity(records: list[dict[str, Any]]) -> str:
    """sha256 over the questions that were asked; empty for none."""
    if not records:
        return ""
    names = sorted({record["id"] for record in records})
    return "sha256:" + hashlib.sha256("\n".join(names).encode()).hexdigest()


def metric_name(key: str) -> str:
    """``exact_match,flexible-extract`` as ``exact_match.flexible-extract``; without a filter its name."""
    metric, _, kind = key.partition(",")
    return metric if kind == "none" else f"{metric}.{kind}"


def is_metric(key: str, value: object) -> bool:
    """Whether an entry such as ``acc,none`` is a metric's value."""
    return "," in key and "_stderr," not in key and isinstance(value, int | float) and math.isfinite(value)


def read_metric(
    scores: dict[str, Any], key: str, name: str, count: int, samples: tuple[QuestionScore, ...]
) -> ReportTask:
    """One metric with its standard error."""
    metric, _, kind = key.partition(",")
    stderr = scores.get(f"{metric}_stderr,{kind}")
    known = float(stderr) if isinstance(stderr, int | float) and math.isfinite(stderr) else None
    return ReportTask(
        name=name,
        metric=metric_name(key),
        value=float(scores[key]),
        stderr=known,
        correct=count_correct(samples) if len(samples) == count else None,
        samples=count,
    )


def value_samples(records: list[dict[str, Any]], key: str, mean: float) -> tuple[QuestionScore, ...]:
    """Each sample's value of a metric, sorted by id.

    Empty if one is no number from 0 to 1, or if they do not make up the metric's value, as with a metric of
    the whole text.
    """
    metric, _, kind = key.partition(",")
    chosen = [record for record in records if record.get("filter", "none") == kind]
    if not chosen or not all(_is_share(record.get(metric)) for record in chosen):
        return ()
    samples = {record["id"]: float(record[metric]) for record in chosen}
    found = sum(float(record[metric]) for record in chosen) / len(chosen)
    if not math.isclose(found, mean, abs_tol=1e-6):
        return ()
    return tuple(QuestionScore(name, samples[name]) for name in sorted(samples))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def count_correct(samples: tuple[QuestionScore, ...]) -> int | None:
    """Right answers, None where not every sample is either right or wrong."""
    if not samples or any(sample.value not in (0, 1) for sample in samples):
        return None
    return sum(sample.value == 1 for sample in samples)


def sample_id(record: dict[str, Any]) -> str:
    """Our own id where the row has one, else lm-eval's hash of the row."""
    own = record.get("doc", {}).get("id")
    return own if isinstance(own, str) and len(own) == 64 else str(record["doc_hash"])  # noqa: PLR2004 - sha256
