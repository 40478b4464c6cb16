"""Durations of the API, such as ``1h30m``, in seconds."""

import re

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> int:
    """Seconds of a duration such as ``1h30m``."""
    parts = re.findall(r"(\d+)([smhd])", duration)
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
