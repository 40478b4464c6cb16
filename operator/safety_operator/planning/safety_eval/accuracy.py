"""Accuracy entries of a spec as the benchmark stage reads them: known benchmarks, tasks, own data."""

from dataclasses import dataclass

from safety_operator.api.eval_measures import AccuracyTask
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.planning.engine.references import Reference, uri_reference
from safety_operator.planning.safety_eval.through_rails import shown_reasoning_end
from safety_operator.planning.shared.datasets import token_name, token_reference
from safety_records.base import shared
from safety_records.data import Dataset
from safety_records.eval_stages import BenchmarkTask
from safety_records.measures import TaskSettings
from safety_records.sampling import GenerationArguments


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A known benchmark: task and metric of lm-eval, asked through the chat template."""

    task: str
    metric: str
    max_tokens: int
    """New tokens of an answer at least: lm-eval's own 256 would cut off most chains of thought."""


BENCHMARKS = {
    "gpqa-diamond": Benchmark("gpqa_diamond_cot_zeroshot", "exact_match.flexible-extract", 2048),
    "math-500": Benchmark("minerva_math500", "math_verify", 2048),
    "ifeval": Benchmark("ifeval", "prompt_level_strict_acc", 1280),
}
"""By preset: GPQA (arXiv 2311.12022), MATH-500 (2305.20050) and IFEval (2311.07911) as lm-eval has them."""


def benchmark_tasks(spec: SafetyEvalSpec) -> tuple[BenchmarkTask, ...]:
    """The accuracy entries of an evaluation."""
    return tuple(_record(spec, task) for task in spec.accuracy)


def _record(spec: SafetyEvalSpec, task: AccuracyTask) -> BenchmarkTask:
    benchmark = BENCHMARKS.get(task.preset or "")
    written = task.answers == "written"
    chat = benchmark is not None or written if task.chat_template is None else task.chat_template
    known = {"tasks": (benchmark.task,), "metric": task.metric or benchmark.metric} if benchmark else {}
    settings = shared(task, TaskSettings) | known | {"generation": _generation(spec, task, benchmark)}
    return BenchmarkTask(
        name=task.name,
        dataset=Dataset(uri=task.dataset, seed=spec.sampling.seed) if task.dataset else None,
        chat_template=chat,
        reasoning_end=shown_reasoning_end(spec) if chat and (written or task.dataset is None) else "",
        token_env=token_name(task.token_secret_ref) if task.token_secret_ref else "",
        **settings,
    )


def _generation(
    spec: SafetyEvalSpec, task: AccuracyTask, benchmark: Benchmark | None
) -> GenerationArguments | None:
    """Generation arguments; a benchmark's answers are as long as it needs, or as those of the suites.

    Written answers to own questions are as long as those of the suites.
    """
    written = task.answers == "written"
    if task.generation is None and benchmark is None and not written:
        return None
    given = task.generation or GenerationArguments()
    longest = spec.sampling.max_tokens if benchmark or written else None
    if benchmark:
        longest = max(spec.sampling.max_tokens, benchmark.max_tokens)
    return given.model_copy(update={"max_tokens": given.max_tokens or longest})


def downloads(spec: SafetyEvalSpec) -> bool:
    """Whether an entry reads a data set from the hub."""
    return any(task.dataset is None and not task.cache for task in spec.accuracy)


def task_references(spec: SafetyEvalSpec, stage: str) -> tuple[Reference, ...]:
    """Own data, caches and tokens."""
    found: list[Reference] = []
    for index, task in enumerate(spec.accuracy):
        where = f"spec.accuracy[{index}]"
        data = {f"{where}.dataset": task.dataset, f"{where}.cache": task.cache}
        found += [uri_reference(field, uri, stage) for field, uri in data.items() if uri]
        found += token_reference(where, task.token_secret_ref, stage)
    return tuple(found)
