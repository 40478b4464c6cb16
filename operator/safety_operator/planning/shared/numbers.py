"""Numbers as the API writes them: decimal strings, never floats; durations in seconds."""

import re

LARGE = 1e15
"""From here on numbers are written with an exponent: a field of a status holds 24 characters."""
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def decimal(value: float | None, digits: int = 4) -> str:
    """A number with so many decimals at most, without trailing zeros; empty for None."""
    if value is None or value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return ""
    if abs(value) >= LARGE:
        return f"{value:.4e}"
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def small_decimal(value: float | None) -> str:
    """A probability such as 0.0312 or 1.2e-09: three significant digits below a thousandth."""
    if value is None:
        return ""
    return decimal(value) if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"  # noqa: PLR2004


def seconds_of(duration: str) -> int:
    """Seconds of a duration such as ``1h30m``."""
    parts = re.findall(r"(\d+)([smhd])", duration)
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
