"""``report.md`` from the report: for a pull request or a model card.

It holds no text of models or prompts.
"""

import re

from safety_records.report import Report
from safety_worker.reporting.page import build_templates
from safety_worker.reporting.view import view


def render(report: Report) -> str:
    """The report as Markdown (CommonMark with the tables of GitHub)."""
    text: str = build_templates().get_template("report.md.jinja").render(report=report, **view(report))
    return re.sub(r"\n{3,}", "\n\n", text)
