"""Durations of specs."""

from datetime import timedelta

import pytest
from tests.unit.planning.world import START

from safety_operator.planning.shared.durations import seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("30d", 30 * 86400)])
def test_parts_of_a_duration_add_up(text, seconds):
    assert seconds_of(text) == seconds


def test_the_longest_duration_leads_to_a_date():
    assert START + 3 * timedelta(seconds=seconds_of("999999d999999d")) > START
