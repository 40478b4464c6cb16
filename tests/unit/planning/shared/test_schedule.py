"""Times of cron: against a direct walk through the minutes, and over the days on which clocks are changed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_operator.planning.shared.schedule import check_schedule, missed_time, next_time

ZURICH = "Europe/Zurich"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_time_is_read_in_its_zone():
    assert next_time("0 3 * * 1", ZURICH, at("2026-11-21T12:00")) == at("2026-11-23T02:00")
    assert next_time("0 3 * * 1", "UTC", at("2026-11-21T12:00")) == at("2026-11-23T03:00")


def test_the_wall_clock_is_kept_when_clocks_change():
    """Clocks in Zurich went forward on 29 March 2026."""
    assert next_time("0 12 * * *", ZURICH, at("2026-03-28T00:00")) == at("2026-03-28T11:00")
    assert next_time("0 12 * * *", ZURICH, at("2026-03-29T00:00")) == at("2026-03-29T10:00")


def test_a_time_that_is_left_out_in_spring_comes_after_the_gap():
    assert next_time("30 2 * * *", ZURICH, at("2026-03-28T12:00")) == at("2026-03-29T01:00")


def test_a_time_that_occurs_twice_in_autumn_comes_once():
    """On 25 October 2026, 02:30 was at 00:30 and at 01:30 UTC."""
    first = next_time("30 2 * * *", ZURICH, at("2026-10-24T12:00"))
    assert first == at("2026-10-25T00:30")
    assert next_time("30 2 * * *", ZURICH, first) == at("2026-10-26T01:30")
    for minute in range(31, 120, 7):
        now = at("2026-10-25T00:00") + timedelta(minutes=minute)
        assert missed_time("30 2 * * *", ZURICH, at("2026-10-25T00:00"), now) == first
        assert next_time("30 2 * * *", ZURICH, now) == at("2026-10-26T01:30")


def test_any_number_of_missed_times_gives_the_last_one():
    assert missed_time("0 3 * * *", "UTC", at("2026-01-01T03:00"), at("2026-11-21T12:00")) == at(
        "2026-11-21T03:00"
    )


def test_the_moment_itself_counts_at_the_end_and_not_at_the_beginning():
    three = at("2026-11-21T03:00")
    assert missed_time("0 3 * * *", "UTC", three - timedelta(seconds=1), three) == three
    assert missed_time("0 3 * * *", "UTC", three, three + timedelta(hours=23)) is None
    assert missed_time("0 3 * * *", "UTC", three - timedelta(hours=1), three - timedelta(seconds=1)) is None


MOMENTS = st.integers(0, 2 * 365 * 24 * 60).map(
    lambda minutes: at("2025-01-01T00:00") + timedelta(minutes=minutes)
)


@given(
    MOMENTS,
    st.integers(0, 3 * 24 * 60),
    st.sampled_from(["0 3 * * *", "*/20 * * * *", "15 1,2,3 * * *", "0 12 * * 1-5", "30 2 1 * *"]),
    st.sampled_from(["UTC", ZURICH, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_missed_and_next_agree_with_a_walk_through_the_times(after, minutes, cron, zone):
    now = after + timedelta(minutes=minutes)
    found = []
    moment = next_time(cron, zone, after)
    while moment <= now:
        found.append(moment)
        moment = next_time(cron, zone, moment)
    assert found == sorted(set(found))
    assert missed_time(cron, zone, after, now) == (found[-1] if found else None)
    assert moment > now


@given(MOMENTS)
def test_an_hourly_schedule_agrees_with_the_clock_on_the_wall(start):
    moment = next_time("0 * * * *", ZURICH, start)
    assert moment.astimezone(ZoneInfo(ZURICH)).minute == 0
    assert timedelta(0) < moment - start <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("0 3 * * 1", "Europe/Zurch", "spec.timeZone: there is no time zone Europe/Zurch"),
        ("0 3 * * 1", "Europe", "spec.timeZone"),
        ("0 3 * * 1", "../etc/passwd", "spec.timeZone"),
        ("0 25 * * 1", "UTC", "spec.schedule: 0 25 * * 1 is no cron expression"),
        ("0 3 * *", "UTC", "spec.schedule"),
        ("0 3 31 2 *", "UTC", "spec.schedule"),
        ("", "UTC", "spec.schedule"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_named(cron, zone, words):
    assert words in check_schedule(cron, zone)


@pytest.mark.parametrize("cron", ["0 3 * * 1", "*/5 0-6 1,15 JAN-MAR SUN", "0 0 29 2 *"])
def test_a_schedule_that_can_be_followed(cron):
    assert check_schedule(cron, "America/New_York") == ""
