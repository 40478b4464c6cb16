"""Steps, reasons and screening of a blend in words: what its card and its page share."""

from collections.abc import Mapping

from safety_records.blend import BlendedSource, BlendReport

STEP_WORDS: Mapping[str, str] = {
    "read": "Read",
    "clean": "Clean and new",
    "sample": "Drawn",
    "answer": "Answered",
    "judge": "Safe",
    "length": "Short enough",
    "screen": "Harmless to train on",
}
"""What the rows that are left after a step are."""

CLEANED = ("invalid", "filtered", "duplicate", "near-duplicate", "contaminated")
"""Reasons of the step ``clean``."""

REASON_WORDS: Mapping[str, str] = {
    "invalid": "malformed",
    "filtered": "filtered out",
    "duplicate": "duplicate",
    "near-duplicate": "near duplicate",
    "contaminated": "in an evaluation set",
    "not-sampled": "not drawn",
    "unanswered": "not answered",
    "truncated": "cut off",
    "unsafe": "judged unsafe",
    "unparsed": "unreadable verdict",
    "untemplated": "refused by the chat template",
    "too-long": "too long",
    "screened": "screened out",
    "unscored": "without a score",
    "kept": "kept",
}
"""Why rows were dropped."""


def outcome_columns(report: BlendReport) -> list[str]:
    """Outcomes that any row had, in the order of the steps, ``kept`` last."""
    seen = {name for source in report.sources for name, rows in source.fates.items() if rows}
    known = [name for name in REASON_WORDS if name in seen and name != "kept"]
    return [*known, *sorted(seen - set(REASON_WORDS)), "kept"]


def rule_lines(report: BlendReport) -> list[tuple[str, str]]:
    """What rows had to be and how they were drawn: whom it is about, and in words."""
    rules = report.rules
    near = "they stay" if rules.near is None else f"left out from a similarity of {rules.near:g}"
    return [
        *((f"Source {source.name}", "; ".join(source.rules)) for source in report.sources if source.rules),
        ("Sample of safety rows", rules.sample or "not known"),
        ("Near duplicates", near),
        *(("Kept apart from", f"{item.name}, {item.prompts} prompts") for item in rules.evaluation_sets),
    ]


def beginning_words(source: BlendedSource) -> str:
    """That a source goes on behind what was read of it; empty if it does not. Follows its origin."""
    if source.max_records is None:
        return ""
    return f", only the first {source.max_records:,} records (of each subset, where it has some)"


def answer_words(report: BlendReport) -> str:
    """How the model's answers were drawn and chosen."""
    which = {"first": "the first safe one", "best": "the best safe one"}[report.pick]
    asked = f"{which} of {report.candidates}" if report.candidates > 1 else "one"
    reasoning = {
        "none": "",
        "strip": " Reasoning is left out.",
        "keep": " Reasoning is kept, whole and before the answer.",
    }[report.reasoning]
    instead = f" Rows with the source's own response instead: {report.fallback}." if report.fallback else ""
    return f"{asked} per safety prompt.{reasoning}{instead}"


def screening_words(report: BlendReport) -> str:
    """What screening did."""
    found, wanted = report.screening, report.selection
    if found is None or wanted is None:
        return "None: rows that look harmless and break safety when trained on were not looked for."
    how = "drawn at random, as many as the scores would take" if wanted.select == "random" else "the highest"
    rule = (
        f"score of at least {wanted.threshold:g}"
        if wanted.threshold is not None
        else f"share of {wanted.top_fraction:g}"
    )
    done = "left out" if wanted.action == "drop" else "kept and flagged"
    unscored = f", of them {found.unscored} that could not be scored" if found.unscored else ""
    return (
        f"Method {found.method}, {rule}, {how}: rows {done}: {found.selected}{unscored}. Rows scored: "
        f"{found.scored}; scores, ranks and flags are in rows.parquet. No filter finds everything: evaluate "
        "the trained model."
    )
