"""``kubectl safety hits NAME``: the answers that failed, for review. Unsafe text is hidden until asked for.

Prompts and answers are hostile: nothing of them reaches the terminal but through :func:`terminal.clean`.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from safety_cli.errors import CliError
from safety_cli.fetching import fetch
from safety_cli.kubectl import Kubectl
from safety_cli.resources import find_eval
from safety_cli.terminal import clean
from safety_records.report import Report, ReportHit, ReportHits
from safety_records.report_files import JSON_NAME


def show(
    console: Console, kubectl: Kubectl, name: str, *, metrics: Sequence[str], limit: int, reveal: bool
) -> int:
    """Print the hits; 0.

    Parameters
    ----------
    metrics
        Only these, by their full names or their last parts; empty: all.
    limit
        Hits of a metric at most.
    reveal
        Whether to show prompts and answers.

    Raises
    ------
    CliError
        If there is no report, or a metric is not in it.
    """
    report = read(fetch(kubectl, find_eval(kubectl, name)))
    chosen = choose(report.hits, metrics)
    if not any(group.failed for group in chosen):
        console.print("Nothing failed.")
        return 0
    for group in chosen:
        _print_group(console, group, limit, reveal=reveal)
    if not reveal:
        console.print()
        console.print("Prompts and answers are hidden. They are unsafe on purpose; see them with --show")
    return 0


def read(folder: Path) -> Report:
    """The report of a folder. Raises CliError."""
    try:
        return Report.from_text((folder / JSON_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise CliError(
            f"{folder / JSON_NAME}: no report that this plugin can read. Is it as new as the operator?"
        ) from error


def choose(groups: Sequence[ReportHits], metrics: Sequence[str]) -> list[ReportHits]:
    """The groups of some metrics. Raises CliError for one that is not there."""
    if not metrics:
        return list(groups)
    wanted = {
        text: [group for group in groups if group.metric == text or group.metric.endswith(f".{text}")]
        for text in metrics
    }
    unknown = [text for text, found in wanted.items() if not found]
    if unknown:
        there = ", ".join(group.metric for group in groups) or "none"
        raise CliError(f"{', '.join(unknown)}: no such metric with hits. There is: {there}.")
    names = {group.metric for found in wanted.values() for group in found}
    return [group for group in groups if group.metric in names]


def _print_group(console: Console, group: ReportHits, limit: int, *, reveal: bool) -> None:
    shown = group.shown[:limit]
    console.print()
    console.print(
        Text.assemble(
            (clean(group.metric), "bold"), f": {group.failed} failed, {len(shown)} of them at random here"
        )
    )
    for number, hit in enumerate(shown, 1):
        console.print(_heading(number, hit))
        parts = [("prompt", hit.prompt), ("answer", hit.answer), ("error", hit.error)]
        for title, text in parts:
            if text:
                console.print(_part(title, text, reveal=reveal or title == "error"))


def _heading(number: int, hit: ReportHit) -> Padding:
    about = [clean(item) for item in (hit.judge, hit.detail, ", ".join(hit.categories)) if item]
    cut = ", cut short" if hit.truncated else ""
    text = Text.assemble(f"{number}. ", (clean(hit.digest[:19]), "cyan"), f"  {'; '.join(about)}{cut}")
    return Padding(text, (0, 0, 0, 2), expand=False)


def _part(title: str, text: str, *, reveal: bool) -> Padding:
    shown = Text(f"{title}: {len(text):,} characters, hidden", style="dim")
    if reveal:
        shown = Text.assemble((f"{title}: ", "bold"), clean(text, lines=True))
    return Padding(shown, (0, 0, 0, 5), expand=False)
