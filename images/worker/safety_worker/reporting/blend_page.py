"""``blend.html``: the page of a blend, from ``blend.json`` alone; as deaf to hostile text as the report's."""

from safety_records.blend import BlendReport
from safety_worker.reporting.blend_words import REASON_WORDS, STEP_WORDS, fate_columns, screening_words
from safety_worker.reporting.flow_picture import draw
from safety_worker.reporting.page import assets, build_environment


def render(report: BlendReport) -> str:
    """The page of a blend."""
    return (
        build_environment()
        .get_template("blend.html.jinja")
        .render(
            report=report,
            picture=draw(report),
            columns=fate_columns(report),
            step_words=STEP_WORDS,
            reason_words=REASON_WORDS,
            screening=screening_words(report),
            **assets("report.css", "blend.css"),
        )
    )
