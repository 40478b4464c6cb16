"""Times of cron in a time zone: whether one is due, and when the next one is. Pure; the time is an argument.

As Debian's cron has it: on the day when clocks go forward, a time that is left out comes at once after the
gap; when they go back, a time that occurs twice comes once.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

DEFAULT_ZONE = "UTC"


def check_schedule(cron: str, zone: str) -> str:
    """What is wrong with a schedule, in words; empty if it can be followed."""
    try:
        ZoneInfo(zone)
    except (KeyError, OSError, ValueError):
        return f"spec.timeZone: there is no time zone {zone}. Name one such as Europe/Zurich."
    try:
        found = next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        return f"spec.schedule: {cron} is no cron expression: {error}."
    return "" if found else f"spec.schedule: {cron} names a time that never comes."


def next_time(cron: str, zone: str, after: datetime) -> datetime | None:
    """The first time of a schedule after a moment; None where none ever comes."""
    moments = CronSim(cron, after.astimezone(ZoneInfo(zone)))
    return next((found for moment in moments if (found := moment.astimezone(UTC)) > after), None)


def missed_time(cron: str, zone: str, after: datetime, now: datetime) -> datetime | None:
    """The last time of a schedule in (after, now], however many there are; None where none has come."""
    first = next_time(cron, zone, after)
    if first is None or first > now:
        return None
    # A microsecond makes CronSim count the whole second that it starts at.
    moments = CronSim(cron, now.astimezone(ZoneInfo(zone)).replace(microsecond=1), reverse=True)
    last = next((found for moment in moments if (found := moment.astimezone(UTC)) <= now), first)
    return max(first, last)
