"""The README's picture of measured results: scores of two or more reports with their intervals.

Usage: python hack/figures/results.py --reports BEFORE/report.json AFTER/report.json [-o OUTPUT.svg]
Writes the picture, and next to it its numbers as JSON, from which `make generate` draws the picture again and
`make verify` checks it. Differences are the paired ones of a report whose evaluation names a baseline.
"""

import argparse
import json
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

REPO = Path(__file__).resolve().parents[2]
DEFAULT = REPO / "docs/figures/results.svg"
LABELS = {
    "contentSafety.harmbench": "Harmful prompts refused (HarmBench)",
    "contentSafety.over-refusal": "Benign prompts answered",
    "accuracy.common-knowledge": "Questions answered correctly",
}
"""What metrics of examples/ are called in the picture; others by their own name."""

WIDTH, TOP = 840, 80
"""In pixels: of the picture, and above the first metric."""
LEFT, RIGHT, VALUE_X, DIFFERENCE_X = 100, 440, 466, 640
"""The two ends of the axis, and where the columns of text begin."""
ROW, HEAD, GAP = 24, 24, 18
"""Heights: of a report's row, of a metric's name above its rows, and between metrics."""
TICKS = (0, 0.25, 0.5, 0.75, 1)
LEAST_P = 0.001
"""Smaller p-values are told as smaller than this."""
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; } .head { font-weight: 600; } .soft { fill: #59636e; }
  .num { font-variant-numeric: tabular-nums; }
  .grid { stroke: #d1d9e0; } .s0 { stroke: #59636e; fill: #59636e; } .s1 { stroke: #0969da; fill: #0969da; }
  .s2 { stroke: #1a7f37; fill: #1a7f37; } .bar { stroke-width: 3; stroke-linecap: round; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .soft { fill: #9198a1; } .grid { stroke: #3d444d; }
    .s0 { stroke: #9198a1; fill: #9198a1; } .s1 { stroke: #4493f8; fill: #4493f8; }
    .s2 { stroke: #3fb950; fill: #3fb950; }
  }
"""


class Row(NamedTuple):
    """A score of one report: shares from 0 to 1 with 95 % limits, and the paired difference."""

    report: str
    score: dict[str, Any]

    @property
    def text(self) -> str:
        """Value and interval in per cent."""
        value, lower, upper = (_percent(self.score[key]) for key in ("value", "lower", "upper"))
        return f"{value} % [{lower}, {upper}]"


def collect(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of the picture: scores that every report has, with their intervals."""
    scores = [{one["metric"]: one for one in report["scores"]} for report in reports]
    metrics = [name for name in scores[0] if _is_shown(name, scores)]
    kept = ("value", "lower", "upper", "samples", "paired")
    return {
        "model": reports[0]["target"]["uri"].rsplit("/", 1)[-1],
        "reports": [
            {
                "name": report["name"],
                "createdAt": report["createdAt"],
                "digest": report["target"]["digest"],
                "scores": {name: {key: found[name].get(key) for key in kept} for name in metrics},
            }
            for report, found in zip(reports, scores, strict=True)
        ],
    }


def _is_shown(metric: str, scores: list[dict[str, Any]]) -> bool:
    single = metric.startswith(("contentSafety.", "accuracy."))
    return single and all(found.get(metric, {}).get("lower") is not None for found in scores)


def draw(numbers: dict[str, Any]) -> str:
    """The picture as SVG, for light and dark backgrounds."""
    reports = numbers["reports"]
    metrics = list(reports[0]["scores"])
    parts, y = [], TOP
    for metric in metrics:
        rows = [Row(report["name"], report["scores"][metric]) for report in reports]
        parts.append(_group(metric, rows, y))
        y += HEAD + ROW * len(rows) + GAP
    about = _about(numbers, metrics)
    size = f'width="{WIDTH}" height="{y + 20}" viewBox="0 0 {WIDTH} {y + 20}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t d">',
            f'<title id="t">{escape(about[0])}</title>',
            f'<desc id="d">{escape(_describe(numbers, metrics))}</desc>',
            f"<style>{STYLE}</style>",
            f'<text class="title" x="20" y="32">{escape(about[0])}</text>',
            f'<text class="soft" x="20" y="54">{escape(about[1])}</text>',
            *parts,
            _axis(y),
            "</svg>\n",
        ]
    )


def _about(numbers: dict[str, Any], metrics: list[str]) -> tuple[str, str]:
    """Title and subtitle."""
    names = " vs. ".join(report["name"] for report in numbers["reports"])
    day = numbers["reports"][-1]["createdAt"][:10]
    sets = f"Measured on {day} with {len(metrics)} test sets that training never saw."
    return (
        f"{numbers['model'].split('.')[0]}: {names}",
        f"{sets} Lines: 95 % intervals. Differences: paired.",
    )


def _describe(numbers: dict[str, Any], metrics: list[str]) -> str:
    """The picture in words, for those who do not see it."""
    sentences = []
    for metric in metrics:
        rows = [Row(report["name"], report["scores"][metric]) for report in numbers["reports"]]
        sentences.append(f"{_label(metric)}: " + ", ".join(f"{row.report} {row.text}" for row in rows) + ".")
    return " ".join(sentences)


def _axis(y: int) -> str:
    return "\n".join(
        f'<text class="soft num" x="{_x(share)}" y="{y}" text-anchor="middle">{share:.0%}</text>'
        for share in TICKS
    )


def _group(metric: str, rows: list[Row], y: int) -> str:
    top, bottom = y + HEAD, y + HEAD + ROW * len(rows)
    name = f'<text class="head" x="20" y="{y + 12}">{escape(_label(metric))}'
    counts = " and ".join(dict.fromkeys(str(row.score["samples"]) for row in rows))
    samples = f'<tspan class="soft" font-weight="400"> · {counts} samples</tspan></text>'
    grid = (f'<line class="grid" x1="{_x(t)}" y1="{top}" x2="{_x(t)}" y2="{bottom}"/>' for t in TICKS)
    marks = (_row(row, index, top + ROW * index + ROW // 2) for index, row in enumerate(rows))
    return "\n".join([name + samples, *grid, *marks])


def _row(row: Row, index: int, y: int) -> str:
    score, shade = row.score, f"s{index % 3}"
    low, mid, high = (_x(score[key]) for key in ("lower", "value", "upper"))
    return (
        f'<text class="soft" x="{LEFT - 14}" y="{y + 5}" text-anchor="end">{escape(row.report)}</text>'
        f'<line class="bar {shade}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
        f'<circle class="{shade}" cx="{mid}" cy="{y}" r="6"/>'
        f'<text class="num" x="{VALUE_X}" y="{y + 5}">{row.text}</text>'
        f'<text class="soft num" x="{DIFFERENCE_X}" y="{y + 5}">{_difference(score.get("paired"))}</text>'
    )


def _difference(paired: dict[str, Any] | None) -> str:
    if paired is None:
        return ""
    sign = "\N{MINUS SIGN}" if paired["difference"] < 0 else "+"
    return f"{sign}{_percent(abs(paired['difference']))} points, {_p(paired['pValue'])}"


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= LEAST_P else f"p &lt; {LEAST_P}"


def _percent(share: float) -> str:
    """One decimal, halves upwards: 98.75 - 97.5 has to look like the 1.25 next to it."""
    return str((100 * Decimal(repr(share))).quantize(Decimal("0.1"), ROUND_HALF_UP)).removesuffix(".0")


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * share, 1)


def _label(metric: str) -> str:
    return LABELS.get(metric, metric)


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", nargs="+", type=Path, required=True, metavar="report.json")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT)
    given = parser.parse_args()
    numbers = collect([json.loads(path.read_text(encoding="utf-8")) for path in given.reports])
    given.output.with_suffix(".json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    given.output.write_text(draw(numbers), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
