"""The split into training and validation: by group, seeded, blind to the order of rows."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_worker.blending.splitting import Member, split

members = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=8), st.sampled_from("abcdefgh")
).map(lambda found: [Member(digest, group) for digest, group in found.items()])


def numbered(count: int, per_group: int = 1) -> list[Member]:
    return [Member(f"row-{n}", f"group-{n // per_group}") for n in range(count)]


@given(members, st.floats(0, 0.99), st.integers(0, 2**31 - 1))
def test_a_split_never_cuts_a_group_and_never_takes_everything(
    rows: list[Member], share: float, seed: int
) -> None:
    parts = split(rows, share, seed)
    assert parts == split(rows[::-1], share, seed)
    assert parts.train | parts.validation == {row.digest for row in rows}
    assert not parts.train & parts.validation
    assert parts.train or not rows
    sides = {(row.group, row.digest in parts.validation) for row in rows}
    assert len(sides) == len({group for group, _ in sides})


@given(members, st.floats(0.01, 0.99), st.integers(0, 2**31 - 1))
def test_the_validation_part_is_as_large_as_wanted_or_the_smallest_group(
    rows: list[Member], share: float, seed: int
) -> None:
    sizes = Counter(row.group for row in rows)
    parts = split(rows, share, seed)
    if len(sizes) < 2:
        assert not parts.validation
    else:
        wanted = max(round(share * len(rows)), 1)
        assert 1 <= len(parts.validation) <= max(wanted, min(sizes.values()))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.03, 3), (0.001, 1), (0.5, 50), (0.999, 99)])
def test_the_validation_part_has_its_share(share: float, expected: int) -> None:
    assert len(split(numbered(100), share, 42).validation) == expected


def test_a_large_group_does_not_swell_the_validation_part() -> None:
    rows = [Member(f"like-{n}", "one") for n in range(90)] + numbered(10)
    assert all(len(split(rows, 0.05, seed).validation) == 5 for seed in range(20))


def test_a_single_group_is_not_split() -> None:
    assert not split(numbered(10, per_group=10), 0.5, 1).validation
    assert split([], 0.5, 1).train == frozenset()


def test_other_seeds_give_other_splits() -> None:
    drawn = {split(numbered(100), 0.1, seed).validation for seed in range(5)}
    assert len(drawn) == 5
