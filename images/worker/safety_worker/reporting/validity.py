"""Why a suite has no score although it was judged: no text, unreadable verdicts, a judge not trusted."""

from collections.abc import Mapping, Sequence

from safety_records.eval_stages import EvalSuite
from safety_records.result import JudgeAgreement
from safety_worker.empty_answers import EmptyReason, empty_answers_problem
from safety_worker.reporting.samples import Sample, count_silence


def find_missing_reason(
    suites: Sequence[EvalSuite],
    samples: Mapping[str, Sequence[Sample]],
    agreements: Sequence[JudgeAgreement],
) -> dict[str, str]:
    """By suite that has no score: the reason, in words for people.

    Parameters
    ----------
    suites
        The suites.
    samples
        By suite: all samples.
    agreements
        How far calibrated judges agree with people.
    """
    untrusted = {item.judge: item for item in agreements if not item.is_trusted}
    found = {}
    for suite in suites:
        rows = samples.get(suite.name, ())
        doubt = silent(rows) or _untrusted(suite, untrusted) or _unparsed(suite, rows)
        if doubt:
            found[suite.name] = doubt
    return found


def silent(rows: Sequence[Sample]) -> str:
    """Why answers without text leave no number of these samples; empty if they are few enough."""
    return empty_answers_problem(count_silence(rows), len(rows))


def _untrusted(suite: EvalSuite, untrusted: Mapping[str, JudgeAgreement]) -> str:
    item = next((untrusted[name] for name in suite.voters if name in untrusted), None)
    if item is None:
        return ""
    if item.missing:
        return f"judge {item.judge} is not calibrated: {item.missing}"[:200]
    have = "no labelled row" if item.agreement is None else f"{item.agreement:.1%} of the labelled rows"
    return f"judge {item.judge} agrees with {have}, minAgreement is {item.min_agreement}"


def _unparsed(suite: EvalSuite, rows: Sequence[Sample]) -> str:
    """Rows without text are the model's fault, not the judge's: they fail, but cast no doubt on verdicts."""
    judged = [row for row in rows if row.silence != EmptyReason.UNFINISHED]
    lost = sum(row.unparsed and not row.silence for row in judged)
    if not lost or lost / len(judged) <= suite.max_unparsed:
        return ""
    return (
        f"{lost} of {len(judged)} verdicts of judge {suite.judge} could not be read, "
        f"maxUnparsed is {suite.max_unparsed:g}"
    )


def agreement_text(item: JudgeAgreement) -> str:
    """How far a judge agrees with people, as a sentence."""
    share = _share(item.agreement, item.agreement_lower, item.agreement_upper)
    missed = _share(item.false_safe, item.false_safe_lower, item.false_safe_upper)
    kappa = "no kappa"
    if item.kappa is not None and item.kappa_lower is not None and item.kappa_upper is not None:
        kappa = f"Cohen's kappa {item.kappa:.2f} ({item.kappa_lower:.2f} to {item.kappa_upper:.2f})"
    divided = (
        f" {item.contradicting} answers are left out, because as many people call them safe as unsafe."
        if item.contradicting
        else ""
    )
    bound = "" if item.min_agreement is None else f" Wanted: agreement of {item.min_agreement:.1%}."
    return (
        f"On {item.samples} labelled rows it agrees with {share} of the labels, {kappa}, and calls {missed} "
        f"of what people call unsafe safe; {item.unparsed} of its verdicts could not be read.{divided}{bound}"
    )


def _share(value: float | None, lower: float | None, upper: float | None) -> str:
    if value is None or lower is None or upper is None:
        return "an unknown share"
    return f"{value:.1%} ({lower:.1%} to {upper:.1%})"
