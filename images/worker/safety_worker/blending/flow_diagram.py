"""The flow of rows from sources to output, as shapes to draw: where bars stand, how bands run, labels.

Widths of bands are rows. What a step drops leaves its bar at the bottom and fades out. Where few of many rows
are drawn, the drawn ones are shown a second time, enlarged, because nothing could be seen of them otherwise;
the picture says so. Called by the page; knows nothing of markup.
"""

from collections.abc import Sequence
from typing import NamedTuple

from safety_records.blend import BlendedSource, BlendReport, BlendStep
from safety_worker.blending.wording import CLEANED, REASON_WORDS

WIDTH = 1180.0
LEFT = 180.0
"""Where the bars of the sources stand; their names are on the left of it."""
RIGHT = 1068.0
"""Where the bars of the output stand."""
TOP = 62.0
HEIGHT = 300.0
"""Of the bar of all rows."""
BAR = 9.0
GAP = 12.0
"""Between the bars of sources."""
LINE = 17.0
"""Between lines of text."""
DROP_LINE = 15.0
"""Between a number of dropped rows and its reason."""
SHOWN_SOURCES = 12
"""Smaller ones are drawn together."""
ENLARGE_BELOW = 0.45
"""Share of rows that are drawn, below which they are shown enlarged."""
THINNEST = 0.8
"""Bands of few rows can still be seen."""
NAMED_FROM = 22.0
"""Bands that are as thick as this are named."""

TITLES = {
    "clean": "Clean",
    "sample": "Drawn",
    "answer": "Answered",
    "judge": "Safe",
    "length": "Fits",
    "screen": "Screened",
}
"""Of the bars: shorter than in tables."""

WORDS = {
    "filtered": "filtered",
    "untemplated": "no template",
    "unsafe": "unsafe",
    "unparsed": "unreadable",
    "screened": "screened",
}
"""Reasons that have to be shorter here than in tables."""


class DiagramLabel(NamedTuple):
    """A text; it grows from ``x`` to the side that ``anchor`` says."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    kind: str = ""


class DiagramBar(NamedTuple):
    """An upright bar."""

    x: float
    y: float
    height: float
    kind: str = ""


class Band(NamedTuple):
    """A band between two bars, as a path; its words are its tooltip."""

    path: str
    kind: str
    words: str


class FlowDiagram(NamedTuple):
    """Everything to draw."""

    height: float
    bars: list[DiagramBar]
    bands: list[Band]
    labels: list[DiagramLabel]
    words: str
    """The picture in a sentence or two, for those who do not see it."""


class _Lane(NamedTuple):
    """A source, or several small ones together."""

    name: str
    part: str
    read: int
    clean: int


class _Place(NamedTuple):
    """Left upper end of a band, or of a bar."""

    x: float
    y: float


def draw_flow(report: BlendReport) -> FlowDiagram:
    """The picture of a blend's rows."""
    steps = [step for step in report.steps[1:] if step.dropped or step.name != "sample"]
    enlarged = [
        number
        for number in range(1, len(steps))
        if steps[number].name == "sample" and 0 < steps[number].left < steps[number - 1].left * ENLARGE_BELOW
    ]
    columns = len(steps) + len(enlarged) + 1
    xs = [LEFT + (RIGHT - LEFT) * number / columns for number in range(columns + 1)]
    drawing = _Drawing(HEIGHT / max(report.steps[0].left, 1))
    bottom = drawing.sources(_lanes(report.sources), xs[0], xs[1])
    lowest, column = 0.0, 1
    for number, step in enumerate(steps):
        drawing.bar(_Place(xs[column], TOP), step.left)
        drawing.title(xs[column], TITLES.get(step.name, step.name), f"{step.left:,}")
        lowest = max(lowest, drawing.drops((xs[column - 1] + xs[column] + BAR) / 2, bottom + 26, step))
        if number in enlarged:
            drawing.enlarge(xs[column], xs[column + 1], step.left)
            column += 1
        if number + 1 < len(steps):
            drawing.step(xs[column], xs[column + 1], step, steps[number + 1])
        column += 1
    drawing.output(xs[-2], xs[-1], report)
    return FlowDiagram(
        bottom + 20 + lowest, drawing.bars, drawing.bands, drawing.labels, describe_flow(report)
    )


def describe_flow(report: BlendReport) -> str:
    """The picture in words."""
    parts = [f"Of {report.steps[0].left:,} rows that were read"]
    for step in report.steps[1:]:
        gone = ", ".join(f"{drop.rows:,} {_reason(drop.reason)}" for drop in step.dropped)
        if gone:
            parts.append(f"{step.left:,} were left after leaving out {gone}")
    train, validation = report.train_rows, report.validation_rows
    return f"{'; '.join(parts)}. {train:,} are for training, {validation:,} for validation."


def _reason(name: str) -> str:
    return REASON_WORDS.get(name, name)


def _lanes(sources: Sequence[BlendedSource]) -> list[_Lane]:
    """Sources in the order of their parts, the small ones of each part together where there are too many."""
    lanes = []
    room = SHOWN_SOURCES // 2 if len(sources) > SHOWN_SOURCES else SHOWN_SOURCES
    for part in ("safety", "retain"):
        own = [source for source in sources if source.part == part]
        large = sorted(own, key=lambda source: (-source.read, source.name))[:room]
        lanes += [_Lane(s.name, part, s.read, _clean(s)) for s in own if s in large]
        small = [source for source in own if source not in large]
        if small:
            read, clean = sum(s.read for s in small), sum(map(_clean, small))
            lanes.append(_Lane(f"{len(small)} more", part, read, clean))
    return lanes


def _clean(source: BlendedSource) -> int:
    """Rows that the first step leaves."""
    return sum(rows for reason, rows in source.fates.items() if reason not in CLEANED)


class _Drawing:
    """Collects shapes. ``scale`` is units of height per row."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.bars: list[DiagramBar] = []
        self.bands: list[Band] = []
        self.labels: list[DiagramLabel] = []

    def title(self, x: float, title: str, count: str) -> None:
        """What a bar is, above it."""
        self.labels.append(DiagramLabel(x + BAR / 2, 18, title, kind="title"))
        self.labels.append(DiagramLabel(x + BAR / 2, 18 + LINE, count, kind="soft"))

    def bar(self, at: _Place, rows: int, kind: str = "") -> float:
        """A bar of rows; its height."""
        height = max(rows * self.scale, THINNEST)
        self.bars.append(DiagramBar(at.x, at.y, height, kind))
        return height

    def band(self, start: _Place, end: _Place, rows: int, kind: str, words: str) -> None:
        """A band of even thickness; none for no rows."""
        if not rows:
            return
        thick = max(rows * self.scale, THINNEST)
        (x, y), (to, down) = start, end
        half = (x + to) / 2
        self.bands.append(
            Band(
                f"M{x:.1f} {y:.1f}C{half:.1f} {y:.1f} {half:.1f} {down:.1f} {to:.1f} {down:.1f}v{thick:.1f}"
                f"C{half:.1f} {down + thick:.1f} {half:.1f} {y + thick:.1f} {x:.1f} {y + thick:.1f}Z",
                kind,
                words,
            )
        )

    def fading(self, start: _Place, to: float, rows: int, words: str) -> None:
        """Rows that go no further: a short band that fades."""
        if rows:
            end = start.x + (to - start.x) * 0.55
            thick = max(rows * self.scale, THINNEST)
            path = f"M{start.x:.1f} {start.y:.1f}H{end:.1f}v{thick:.1f}H{start.x:.1f}Z"
            self.bands.append(Band(path, "gone", words))

    def sources(self, lanes: Sequence[_Lane], x: float, to: float) -> float:
        """The sources and their bands to the first bar; the lowest place that is used."""
        self.title(x, "Read", f"{sum(lane.read for lane in lanes):,}")
        y, target, text_y = TOP, TOP, 0.0
        for lane in lanes:
            height = self.bar(_Place(x, y), lane.read, lane.part)
            text_y = max(y + height / 2 + 4.5, text_y + LINE)
            self.labels.append(DiagramLabel(x - 64, text_y, _short(lane.name), "end"))
            self.labels.append(DiagramLabel(x - 10, text_y, f"{lane.read:,}", "end", "soft"))
            words = f"{lane.name}: {lane.clean:,} of {lane.read:,} rows are clean"
            self.band(_Place(x + BAR, y), _Place(to, target), lane.clean, lane.part, words)
            gone = lane.read - lane.clean
            below = _Place(x + BAR, y + lane.clean * self.scale)
            self.fading(below, to, gone, f"{lane.name}: {gone:,} rows left out")
            target += lane.clean * self.scale
            y = max(y + height + GAP, text_y + GAP / 2)
        return max(y - GAP, TOP + HEIGHT, text_y)

    def step(self, x: float, to: float, step: BlendStep, after: BlendStep) -> None:
        """Bands of both parts to the next bar; what is left out fades at the bottom."""
        y = TOP
        for part, rows in (("safety", after.safety), ("retain", after.retain)):
            self.band(_Place(x + BAR, y), _Place(to, y), rows, part, f"{rows:,} {part} rows go on")
            if after.name in ("sample", "judge") and rows * self.scale >= NAMED_FROM:
                middle = y + rows * self.scale / 2 + 4.5  # known not by its colour alone
                self.labels.append(DiagramLabel((x + BAR + to) / 2, middle, part, kind="soft"))
            y += rows * self.scale
        gone = step.left - after.left
        self.fading(_Place(x + BAR, y), to, gone, f"{gone:,} rows left out")

    def enlarge(self, x: float, to: float, rows: int) -> None:
        """The same rows on a larger scale, one column further."""
        height, larger = max(rows * self.scale, THINNEST), HEIGHT / rows
        left = x + BAR
        path = f"M{left:.1f} {TOP:.1f}H{to:.1f}V{TOP + HEIGHT:.1f}L{left:.1f} {TOP + height:.1f}Z"
        self.bands.append(Band(path, "lens", f"the same {rows:,} rows, enlarged"))
        self.title(to, "Enlarged", f"{larger / self.scale:.3g} times")
        self.scale = larger
        self.bar(_Place(to, TOP), rows)

    def drops(self, x: float, y: float, step: BlendStep) -> float:
        """What a step left out, below the picture; the height that it takes."""
        for drop in step.dropped:
            words = WORDS.get(drop.reason) or _reason(drop.reason)
            self.labels.append(DiagramLabel(x, y, f"\u2212{drop.rows:,}", kind="drop count"))
            self.labels.append(DiagramLabel(x, y + DROP_LINE, words[:16], kind="drop"))
            y += 2.4 * DROP_LINE
        return len(step.dropped) * 2.4 * DROP_LINE

    def output(self, x: float, to: float, report: BlendReport) -> None:
        """Bands to the training and validation rows."""
        self.title(to, "Output", f"{report.train_rows + report.validation_rows:,}")
        y = source = TOP
        for name, rows in (("training", report.train_rows), ("validation", report.validation_rows)):
            self.band(_Place(x + BAR, source), _Place(to, y), rows, "output", f"{rows:,} rows for {name}")
            height = self.bar(_Place(to, y), rows, "output") if rows else 0.0
            middle = max(y + height / 2, TOP + 6)
            self.labels.append(DiagramLabel(to + BAR + 9, middle, f"{rows:,}", "start", "count"))
            self.labels.append(DiagramLabel(to + BAR + 9, middle + LINE, name, "start", "soft"))
            source += rows * self.scale
            y = max(y + height + GAP, middle + 2.2 * LINE)


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}\u2026"  # noqa: PLR2004 - what fits beside the bar
