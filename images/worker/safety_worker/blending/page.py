"""``blend.html``: the page of a blend, from ``blend.json`` and, where rows were screened, ``screening.json``.

It is as deaf to hostile text as the report's page.
"""

from collections.abc import Mapping
from typing import Any

from safety_records.blend import BlendReport
from safety_worker.blending.flow_diagram import draw_flow
from safety_worker.blending.screening_section import screening_view
from safety_worker.blending.wording import (
    REASON_WORDS,
    STEP_WORDS,
    answer_words,
    beginning_words,
    outcome_columns,
    rule_lines,
    screening_words,
)
from safety_worker.reporting.page import assets, build_templates


def render(report: BlendReport, scores: Mapping[str, Any] | None = None) -> str:
    """The page of a blend.

    Parameters
    ----------
    report
        The blend.
    scores
        The content of ``screening.json``; None where nothing was screened.
    """
    found = None
    if scores is not None and report.screening is not None:
        found = screening_view(scores, report.screening.method, report.screening.cut)
    return (
        build_templates()
        .get_template("blend.html.jinja")
        .render(
            report=report,
            picture=draw_flow(report),
            columns=outcome_columns(report),
            step_words=STEP_WORDS,
            reason_words=REASON_WORDS,
            answers=answer_words(report),
            rules=rule_lines(report),
            beginning_words=beginning_words,
            screening=screening_words(report),
            found=found,
            **assets("report.css", "blend.css", "screening.css"),
        )
    )
