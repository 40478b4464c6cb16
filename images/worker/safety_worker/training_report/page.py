"""``finetune.html``: the page of a fine-tune, from its document and its metrics.

It is as deaf to hostile text as the report's page, and loads nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from safety_records.finetune import FinetuneReport
from safety_worker.reporting.page import assets, build_templates
from safety_worker.training_report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw_plots, points_of
from safety_worker.training_report.wording import result_lines, setting_lines, size

COLUMNS = ("loss", "validation_loss", "learning_rate", "grad_norm", "tokens_per_second")
"""Of the table of steps."""
SHOWN_STEPS = 60
"""Lines of that table; of more steps some are left out, evenly, and none that was validated last."""

Lines = Sequence[Mapping[str, Any]]


def render(report: FinetuneReport, lines: Lines) -> str:
    """The page of a fine-tune.

    Parameters
    ----------
    report
        The finished training.
    lines
        Of ``metrics.jsonl``; empty: there are no curves, and the page says so.
    """
    steps = merge_steps(lines)
    return (
        build_templates()
        .get_template("finetune.html.jinja")
        .render(
            report=report,
            plots=draw_plots(lines, report.training.best_step),
            width=WIDTH,
            height=HEIGHT,
            left=LEFT,
            right=RIGHT,
            top=TOP,
            bottom=BOTTOM,
            results=result_lines(report),
            settings=setting_lines(report),
            size=size(report.bytes),
            columns=[name for name in COLUMNS if points_of(lines, name)],
            steps=choose_steps(steps),
            num_steps=len(steps),
            **assets("report.css", "finetune.css"),
        )
    )


def merge_steps(lines: Lines) -> list[dict[str, Any]]:
    """One entry for each step, in their order, with all that was measured there."""
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        found.setdefault(line["step"], {}).update(line)
    return [found[step] for step in sorted(found)]


def choose_steps(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most so many steps as the table shows: the first, the last, those between at even distances."""
    if len(steps) <= SHOWN_STEPS:
        return list(steps)
    places = {round(number * (len(steps) - 1) / (SHOWN_STEPS - 1)) for number in range(SHOWN_STEPS)}
    return [steps[place] for place in sorted(places)]
