"""Curves of a training as shapes to draw: paths, ticks and words. Knows nothing of markup.

A curve of many steps is drawn as the mean of neighbouring steps, with their whole range behind it, so that no
spike is lost and a page of a million steps stays small.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

WIDTH, HEIGHT = 440.0, 216.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 428.0, 12.0, 184.0
"""Edges of the part with curves; ticks and their numbers are outside."""
MOST_POINTS = 240
"""Of a drawn curve."""
FEW = 40
"""Curves of at most so many points show each of them."""
TICKS = 4


class Curve(NamedTuple):
    """One number by step."""

    key: str
    """In a line of metrics."""
    name: str
    kind: str = "main"
    """main or second: which colour and stroke."""


class Chart(NamedTuple):
    """What is drawn together."""

    title: str
    curves: tuple[Curve, ...]
    note: str = ""
    from_zero: bool = False


CHARTS = (
    Chart(
        "Loss",
        (Curve("loss", "training"), Curve("validation_loss", "validation", "second")),
        "Nats per token, over the answers' tokens.",
    ),
    Chart("Learning rate", (Curve("learning_rate", "learning rate"),), from_zero=True),
    Chart(
        "Gradient norm",
        (Curve("grad_norm", "gradient norm"),),
        "Before it is scaled down to the largest norm allowed.",
        from_zero=True,
    ),
    Chart("Tokens per second", (Curve("tokens_per_second", "tokens"),), "Over all pods.", from_zero=True),
    Chart("GPU memory", (Curve("memory_gib", "GiB"),), "GiB on the fullest GPU.", from_zero=True),
    Chart(
        "Model FLOPs utilization",
        (Curve("mfu", "share"),),
        "Share of the GPUs' peak arithmetic.",
        from_zero=True,
    ),
)


class Tick(NamedTuple):
    """A number at an edge."""

    at: float
    text: str


class Drawn(NamedTuple):
    """A curve."""

    name: str
    kind: str
    path: str
    band: str
    """Range of the steps that a point stands for; empty: each step is drawn."""
    dots: list[tuple[float, float, str]]
    """Places and words of single points."""


class Plot(NamedTuple):
    """Everything to draw of a chart."""

    title: str
    note: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Drawn]
    mark: float | None
    """Place of the step whose checkpoint became the model, where that is not the last one."""
    words: str
    """The curves in words, for those who do not see them."""


Points = Sequence[tuple[int, float]]


def draw_plots(lines: Sequence[Mapping[str, Any]], best_step: int | None = None) -> list[Plot]:
    """A plot of each chart that has at least one number.

    Parameters
    ----------
    lines
        Of ``metrics.jsonl``: ``step``, and what was measured there.
    best_step
        Step of the checkpoint that became the model; None: the last one.
    """
    plots = []
    for chart in CHARTS:
        found = [(curve, points_of(lines, curve.key)) for curve in chart.curves]
        found = [(curve, points) for curve, points in found if points]
        if found:
            plots.append(_draw(chart, found, best_step))
    return plots


def points_of(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """Steps and finite values of a key; of a step that stands there twice the last one, in order of steps."""
    if key == "memory_gib":
        return [(step, value / 2**30) for step, value in points_of(lines, "memory_bytes")]
    found = {
        line["step"]: float(line[key])
        for line in lines
        if isinstance(line.get(key), int | float) and math.isfinite(line[key])
    }
    return sorted(found.items())


class _Scale(NamedTuple):
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _draw(chart: Chart, found: Sequence[tuple[Curve, Points]], best_step: int | None) -> Plot:
    steps = [step for _, points in found for step, _ in points]
    values = [value for _, points in found for _, value in points]
    low, high = (min(0.0, *values), max(values)) if chart.from_zero else (min(values), max(values))
    y_numbers = nice_numbers(low, high)
    x = _Scale(*_apart(min(steps), max(steps)), LEFT, RIGHT)
    y = _Scale(y_numbers[0], y_numbers[-1], BOTTOM, TOP)
    best = x(best_step) if best_step is not None and min(steps) <= best_step <= max(steps) else None
    return Plot(
        chart.title,
        chart.note,
        [Tick(x(step), f"{step:,}") for step in _steps_shown(min(steps), max(steps))],
        [Tick(y(number), text) for number, text in zip(y_numbers, number_texts(y_numbers), strict=True)],
        [_curve(curve, points, x, y) for curve, points in found],
        best,
        " ".join(_words(curve, points) for curve, points in found),
    )


def _apart(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 1, high + 1)


def nice_numbers(low: float, high: float) -> list[float]:
    """Round numbers at even distances, from at most ``low`` to at least ``high``."""
    if not high > low:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    rough = (high - low) / TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def number_texts(numbers: Sequence[float]) -> list[str]:
    """The numbers as short texts with as many digits as tell them apart."""
    largest = max(map(abs, numbers))
    if largest and not 1e-3 <= largest < 1e6:  # noqa: PLR2004 - what is read without counting zeros
        return [scientific(number) for number in numbers]
    distance = numbers[1] - numbers[0]
    digits = max(0, -math.floor(math.log10(distance) + 1e-9))
    digits += round(distance * 10**digits, 6) % 1 > 0
    return [f"{number:,.{digits}f}" for number in numbers]


def scientific(number: float) -> str:
    """A very small or large number, such as 2.5e-7."""
    if number == 0:
        return "0"
    digits, _, power = f"{number:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def _steps_shown(low: int, high: int) -> list[int]:
    """The first and the last step, and round ones between them that have room."""
    if high == low:
        return [low]
    room = (high - low) / 7
    inner = [round(number) for number in nice_numbers(low, high)]
    return [low, *(step for step in inner if low + room < step < high - room), high]


def _curve(curve: Curve, points: Points, x: _Scale, y: _Scale) -> Drawn:
    groups = _groups(points)
    line = [(x(fmean(s for s, _ in group)), y(fmean(v for _, v in group))) for group in groups]
    band = ""
    if len(groups) < len(points):
        upper = [(place, y(max(v for _, v in group))) for (place, _), group in zip(line, groups, strict=True)]
        lower = [(place, y(min(v for _, v in group))) for (place, _), group in zip(line, groups, strict=True)]
        band = f"{_path(upper)}L{_path(lower[::-1])[1:]}Z"
    dots = []
    if len(points) <= FEW or curve.kind == "second":
        dots = [(x(step), y(value), f"step {step:,}: {value:.4g}") for step, value in points[-MOST_POINTS:]]
    return Drawn(curve.name, curve.kind, _path(line), band, dots)


def _groups(points: Points) -> list[Points]:
    """Neighbouring points together, as many groups as are drawn at most."""
    size = math.ceil(len(points) / MOST_POINTS)
    return [points[start : start + size] for start in range(0, len(points), size)]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _words(curve: Curve, points: Points) -> str:
    (first, start), (last, end) = points[0], points[-1]
    name = f"{curve.name[:1].upper()}{curve.name[1:]}"
    if len(points) == 1:
        return f"{name}: {start:.4g} at step {first:,}."
    lowest, highest = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
    return (
        f"{name}: {start:.4g} at step {first:,}, {end:.4g} at step {last:,}; lowest {lowest[1]:.4g} at step "
        f"{lowest[0]:,}, highest {highest[1]:.4g} at step {highest[0]:,}."
    )
