"""Durations of the API, such as ``1h30m``, in seconds."""

import re

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


MAX_SECONDS = 100 * 365 * 86400
"""A century: the schema lets more through, and Python's dates end in the year 9999."""


def seconds_of(duration: str) -> int:
    """Seconds of a duration such as ``1h30m``; what is longer than a century is a century."""
    parts = re.findall(r"(\d+)([smhd])", duration)
    return min(MAX_SECONDS, sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts))
