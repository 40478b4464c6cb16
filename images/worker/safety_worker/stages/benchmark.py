"""The benchmark stage: lm-eval, one entry after the other.

Output: ``tasks.json``, ``samples-<name>.jsonl`` (right or wrong, question by question) and ``entries/`` with
what each finished entry gave, so that a stage started again goes on with the next.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from safety_records.eval_stages import BenchmarkStage, BenchmarkTask
from safety_records.measures import AnswerKind
from safety_records.progress import Progress
from safety_records.report import ReportAccuracy, ReportTask
from safety_records.result import StageResult
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.benchmarks.command import asks_chat, build_command, lm_eval_environment, lm_eval_settings
from safety_worker.benchmarks.questions import (
    COLUMNS,
    TaskQuestion,
    draw_questions,
    read_questions,
    write_task,
)
from safety_worker.benchmarks.results import QuestionScore, TaskOutput, count_correct, read_task
from safety_worker.context import StageContext
from safety_worker.datasets.readers import read_file
from safety_worker.datasets.resolve import find_files
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.error_words import may_pass
from safety_worker.generation.server_errors import remedy
from safety_worker.generation.target import Target
from safety_worker.generation.tls_relay import asked_directly, without_tls
from safety_worker.library_warnings import warnings_in_log
from safety_worker.reporting.tool_results import TASKS_NAME
from safety_worker.subprocesses import Ending, Outcome, read_tail, run_process
from safety_worker.transport.hub_cache import open_cache

LOG_NAME = "lm-eval.log"

TRIES = 3
"""Runs of lm-eval for one entry while the server keeps going away."""

ENTRY_SECONDS = 24 * 3600.0
"""Longest time for one entry; the Job's own deadline is the one that counts."""

_RESULTS = TypeAdapter(list[ReportTask])
_REQUESTS = re.compile(r"(\d+)/(\d+) \[")
_ERROR = re.compile(r"^(?:[a-z_]+\.)*([A-Z]\w*(?:Error|Exception|NotFound\w*)): (.*)$", re.MULTILINE)


def run(spec: BenchmarkStage, context: StageContext) -> StageResult:
    """Measure every entry that has no result yet."""
    folder = context.store.output(spec.out)
    benchmark = Benchmark(spec, context, folder)
    outputs = [benchmark.entry(number, entry) for number, entry in enumerate(spec.accuracy)]
    context.report_progress(benchmark.progress(len(spec.accuracy), "measured"))
    results = [result for output in outputs for result in output]
    found = ReportAccuracy(lm_eval_version=version("lm_eval"), tasks=tuple(results))
    atomic_write_text(folder / TASKS_NAME, json.dumps(found.model_dump(mode="json", by_alias=True), indent=1))
    return StageResult(
        stage="benchmark",
        inputs_hash=spec.inputs_hash,
        warnings=benchmark.read_warnings(),
        rows=sum(result.samples for result in results),
        versions={"lm-eval": version("lm_eval")},
    )


class Benchmark:
    """One run of the stage."""

    def __init__(self, spec: BenchmarkStage, context: StageContext, folder: Path) -> None:
        self._spec = spec
        self._context = context
        self._folder = folder
        self._left_out: dict[str, tuple[str, ...]] = {}
        self._key = context.secret(spec.target.api_key_env)
        self._target = Target(spec.target, self._key)

    def entry(self, number: int, entry: BenchmarkTask) -> list[ReportTask]:
        """An entry's results: the kept ones, or new ones."""
        kept = self._folder / "entries" / f"{entry.name}.json"
        if kept.is_file():
            return _RESULTS.validate_json(kept.read_bytes())
        own_choices = entry.dataset is not None and entry.answers is AnswerKind.CHOICE
        if own_choices and not self._spec.target.path:
            reason = "log-likelihoods need the model's tokenizer, which an endpoint does not give"
            return [ReportTask(name=entry.name, missing=reason)]
        outputs = self._measure(number, entry)
        results = [result for output in outputs.values() for result in output.results]
        if any(result.missing for result in results):
            return results
        for name, output in outputs.items():
            self._write_samples(name, output.samples)
        kept.parent.mkdir(exist_ok=True)
        atomic_write_text(kept, json.dumps(_RESULTS.dump_python(results, mode="json")))
        return results

    def progress(self, done: int, message: str) -> Progress:
        """A progress line."""
        return Progress(
            stage="benchmark", done=done, total=len(self._spec.accuracy), unit="tasks", message=message
        )

    def _measure(self, number: int, entry: BenchmarkTask) -> dict[str, TaskOutput]:
        scratch = self._context.scratch / "lm-eval" / entry.name
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "home").mkdir(parents=True)
        tasks, drawn = self._prepare(entry, scratch)
        reason = self._try(number, entry, list(tasks), scratch)
        if reason:
            return {name: TaskOutput((ReportTask(name=name, missing=reason),), ()) for name in tasks.values()}
        settings = self._settings(entry)
        outputs = read_entry(entry, tasks, scratch / "results")
        return {name: with_settings(output, settings, drawn) for name, output in outputs.items()}

    def _try(self, number: int, entry: BenchmarkTask, tasks: list[str], scratch: Path) -> str:
        """Run lm-eval; why it gives nothing, empty if it does.

        What the server refuses is asked of the server: lm-eval would say that a request failed, and no more.
        """
        sure = lm_eval_settings(self._spec, entry)
        refused = self._refusal(number, entry, sure)
        if refused:
            return refused
        outcome = self._run(number, entry, tasks, scratch)
        self._keep_warnings(entry, scratch / LOG_NAME)
        if outcome.code == 0:
            return ""
        return self._refusal(number, entry, {"temperature": 0, **sure}) or explain_outcome(outcome)

    def _refusal(self, number: int, entry: BenchmarkTask, settings: Mapping[str, Any]) -> str:
        """Why the chat route refuses requests with some settings, and what to do; empty: it does not.

        lm-eval sends what it sends, so that nothing can be left out or renamed.
        """
        if not asks_chat(self._spec, entry):
            return ""  # a server of our own, on another route
        self._target.wait(lambda seconds: self._report_waiting(number, seconds))
        words = self._target.refusal(settings)
        if words is None or may_pass(words.status):
            return ""
        return f"the server refuses lm-eval's requests, {words.text}: {remedy(words)}"[:200]

    def _report_waiting(self, number: int, seconds: float) -> None:
        message = f"waiting for the target to answer: {seconds:.0f} s"
        self._context.report_progress(self.progress(number, message))

    def _keep_warnings(self, entry: BenchmarkTask, log: Path) -> None:
        """Keep what is to be said of the entry beside it, since it is not run again when the stage is."""
        with log.open(encoding="utf-8", errors="replace") as lines:
            found = (*self._left_out.get(entry.name, ()), *warnings_in_log(lines))
        path = self._folder / "warnings" / f"{entry.name}.json"
        path.parent.mkdir(exist_ok=True)
        atomic_write_text(path, json.dumps([f"accuracy {entry.name}: {said}" for said in found]))

    def read_warnings(self) -> tuple[str, ...]:
        """What lm-eval warned of, and what of a folder with questions was left out, entry by entry."""
        files = [self._folder / "warnings" / f"{entry.name}.json" for entry in self._spec.accuracy]
        kept = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
        return tuple(said for found in kept for said in found)

    def _settings(self, entry: BenchmarkTask) -> str:
        """Hash of what an entry's answers depend on besides model, task and questions."""
        fields = {
            *("num_fewshot", "chat_template", "generation", "reasoning_end"),
            *("answers", "answer_pattern"),
        }
        plain = [entry.model_dump(mode="json", include=fields), self._spec.seed]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    def _prepare(self, entry: BenchmarkTask, scratch: Path) -> tuple[dict[str, str], str]:
        """lm-eval's task names and the names that results are reported under; what was drawn of own data."""
        if entry.dataset is None:
            several = len(entry.tasks) > 1
            return {task: f"{entry.name}.{task}" if several else entry.name for task in entry.tasks}, ""
        pattern = compile_answer_pattern(entry)
        questions, self._left_out[entry.name] = load_questions(entry, self._context)
        limits = [limit for limit in (entry.limit, entry.dataset.limit) if limit is not None]
        drawn = draw_questions(questions, min(limits, default=None), entry.dataset.seed)
        if not drawn:
            raise InputError("NoQuestions", f"accuracy {entry.name}: the data set holds no question")
        some = len(drawn) < len(questions)
        words = f"{len(drawn)} of {len(questions)}, seed {entry.dataset.seed}" if some else ""
        return {write_task(scratch, entry.name, drawn, pattern): entry.name}, words

    def _run(self, number: int, entry: BenchmarkTask, tasks: list[str], scratch: Path) -> Outcome:
        """Run lm-eval; again if the server went away meanwhile.

        Raises
        ------
        InfrastructureError
            If the server does not come, or goes away each time.
        """
        path = self._spec.target.path
        tokenizer = self._context.store.path(path) if path else None
        cache = None
        if entry.cache:
            cache = open_cache(entry.cache, self._context.inputs, scratch, f"accuracy {entry.name}")
        environment = lm_eval_environment(
            self._context.environment,
            scratch,
            self._key,
            hub=entry.dataset is None and cache is None,
            token=self._context.secret(entry.token_env),
            cache=cache,
        )
        log = scratch / LOG_NAME

        def on_tick(seconds: float) -> bool:
            self._context.report_progress(self.progress(number, describe_progress(entry.name, log, seconds)))
            return False

        for _ in range(TRIES):
            self._target.wait(lambda seconds: self._report_waiting(number, seconds))
            with without_tls(self._spec.target) as asked:
                spec = self._spec.model_copy(update={"target": asked})
                command = build_command(spec, entry, tasks, tokenizer, scratch)
                outcome = run_process(command, asked_directly(environment), log, ENTRY_SECONDS, on_tick)
            if outcome.code == 0 or self._target.is_alive():
                return outcome
        raise InfrastructureError(
            "TargetUnreachable", f"{self._spec.target.base_url} went away {TRIES} times during {entry.name}"
        )

    def _write_samples(self, name: str, samples: tuple[QuestionScore, ...]) -> None:
        graded = count_correct(samples) is None
        lines = "".join(
            json.dumps({"id": id_, "value": value} if graded else {"id": id_, "correct": int(value)}) + "\n"
            for id_, value in samples
        )
        if lines:
            atomic_write_text(self._folder / f"samples-{name}.jsonl", lines)


def read_entry(entry: BenchmarkTask, tasks: dict[str, str], folder: Path) -> dict[str, TaskOutput]:
    """By the name that it is reported under: what each task gave. Names without a score give their tasks'."""
    read = (
        read_task(folder, task, name, entry.metric, others=tasks.keys() - {task}, under=entry.name)
        for task, name in tasks.items()
    )
    return {part.results[0].name: part for output in read for part in output.each}


def with_settings(output: TaskOutput, settings: str, drawn: str = "") -> TaskOutput:
    """The output with the hash of its settings, where there is something to compare, and what was drawn."""

    def complete(result: ReportTask) -> ReportTask:
        identity = {**result.identity, "sampling": settings} if result.identity else {}
        return result.model_copy(update={"identity": identity, "drawn": drawn or result.drawn})

    return output._replace(results=tuple(map(complete, output.results)))


def compile_answer_pattern(entry: BenchmarkTask) -> str:
    """The pattern of written answers.

    Raises
    ------
    InputError
        If it is no regular expression, or has several groups.
    """
    where = f"accuracy {entry.name}: answerPattern"
    try:
        groups = re.compile(entry.answer_pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError("InvalidPattern", f"{where}: {error}") from error
    if groups > 1:
        raise InputError("InvalidPattern", f"{where} has {groups} groups: mark the answer with one")
    return entry.answer_pattern


def load_questions(entry: BenchmarkTask, context: StageContext) -> tuple[list[TaskQuestion], tuple[str, ...]]:
    """All questions of an entry's data set, and what of its folder was left out.

    Raises
    ------
    InputError
        If it cannot be found or read, or a row is no question.
    """
    uri = entry.dataset.uri if entry.dataset else ""
    if not uri:
        raise InputError("InvalidDataset", "an accuracy data set needs a uri, presets hold prompts only")
    found = find_files(uri, context, entry.token_env)
    questions = [
        question
        for file in found.files
        for question in read_questions(read_file(file.path, COLUMNS), file.name, entry.answers)
    ]
    return questions, found.left_out


def describe_progress(name: str, log: Path, seconds: float) -> str:
    """What a run does, from the progress bar in its log."""
    found = _REQUESTS.findall(read_tail(log))
    requests = f", {found[-1][0]} of {found[-1][1]} requests" if found else ""
    return f"lm-eval {name}: {seconds:.0f} s{requests}"


def explain_outcome(outcome: Outcome) -> str:
    """Why a run gave nothing, from the last error in its log."""
    if outcome.ending is not Ending.EXITED:
        return f"lm-eval was stopped after {outcome.seconds:.0f} s"
    errors: list[Any] = _ERROR.findall(outcome.log)
    said = f": {errors[-1][0]}: {errors[-1][1]}" if errors else ""
    return f"lm-eval ended with exit code {outcome.code}{said}"[:200]
