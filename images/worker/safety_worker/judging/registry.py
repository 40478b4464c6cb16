"""Which code judges for which type: a row for each type of ``safety_records.judges.JUDGE_TYPES``."""

from collections.abc import Callable, Mapping

from safety_records.eval_stages import JudgeSpec
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.judging.base import Judge
from safety_worker.judging.classifier import ClassifierJudge, Predict, load_image_classifier
from safety_worker.judging.formats.aegis import Aegis, AegisReasoning
from safety_worker.judging.formats.base import Format
from safety_worker.judging.formats.custom import Custom
from safety_worker.judging.formats.llama_guard import LlamaGuard
from safety_worker.judging.formats.rubric import Rubric
from safety_worker.judging.formats.wildguard import WildGuard
from safety_worker.judging.model_classifier import load_model_classifier
from safety_worker.judging.refusals import RefusalPhrases


def _custom(judge: JudgeSpec) -> Format:
    assert judge.custom is not None
    return Custom(judge.custom)


def _classifier(judge: JudgeSpec, context: StageContext) -> Judge:
    if judge.path:
        predict: Predict = load_model_classifier(context.store.input(judge.path), judge.unsafe_labels or ())
    else:
        predict = load_image_classifier(judge.classifier or "")
    return ClassifierJudge(predict, judge.threshold)


FORMATS: Mapping[str, Callable[[JudgeSpec], Format]] = {
    "aegis": lambda judge: AegisReasoning() if judge.format == "reasoning" else Aegis(),
    "wildguard": lambda _: WildGuard(),
    "llama-guard": lambda judge: LlamaGuard(judge.format),
    "rubric": lambda judge: Rubric(judge.unsafe_from),
    "custom": _custom,
}
"""Types that ask a model on a server: what they ask, and how they read its output."""

IN_PROCESS: Mapping[str, Callable[[JudgeSpec, StageContext], Judge]] = {
    "refusal-phrases": lambda judge, _: RefusalPhrases(judge.phrases),
    "classifier": _classifier,
}
"""Types that judge in the stage's own process."""


def check_judge(judge: JudgeSpec) -> None:
    """Refuse a judge without what its type needs. The API server has said so before, of those in a resource.

    Raises
    ------
    InputError
        If something is missing, or there is no such variant.
    """
    kind = judge.kind
    why = ""
    if judge.variant is not None and judge.variant not in kind.variants:
        why = f"has no variant {judge.variant}"
    if any(getattr(judge, name) is None for name in kind.needs):
        why = "lacks its settings"
    if judge.type in FORMATS and judge.served is None:
        why = "needs a model"
    if why:
        raise InputError("InvalidJudge", f"judge {judge.name}: type {judge.type} {why}")
