"""De-duplication, sampling and splits: exact, seeded, and blind to the order of rows."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from safety_worker.datasets.sampling import (
    deduplicate,
    draw,
    equal_quotas,
    proportional_quotas,
)
from safety_worker.rows import Origin, PromptRow, row_digest
from safety_worker.text import normal_form


def row(prompt: str, source: str = "s", index: int = 0) -> PromptRow:
    return PromptRow(digest=row_digest(prompt), prompt=prompt, origin=Origin(source=source, index=index))


def numbered(count: int, source: str = "s") -> list[PromptRow]:
    return [row(f"{source} prompt {n}", source, n) for n in range(count)]


rows = st.lists(
    st.builds(row, st.text(min_size=1, max_size=8), st.sampled_from("abc"), st.integers(0, 50)), max_size=40
)
seeds = st.integers(0, 2**31 - 1)


@given(rows, seeds)
def test_deduplication_keeps_one_of_each_prompt_whatever_the_order(
    given_rows: list[PromptRow], seed: int
) -> None:
    shuffled = Random(seed).sample(given_rows, len(given_rows))
    one, other = deduplicate(given_rows), deduplicate(shuffled)
    assert one.kept == other.kept
    assert len(one.kept) + len(one.dropped) == len(given_rows)
    assert {normal_form(r.prompt) for r in one.kept} == {normal_form(r.prompt) for r in given_rows}
    assert len({normal_form(r.prompt) for r in one.kept}) == len(one.kept)
    assert all(normal_form(a.prompt) == normal_form(b.prompt) for a, b in one.dropped)


@given(rows, seeds, st.integers(0, 50), st.integers(0, 50))
def test_a_draw_ignores_order_and_a_larger_one_contains_the_smaller(
    given_rows: list[PromptRow], seed: int, small: int, more: int
) -> None:
    unique = deduplicate(given_rows).kept
    shuffled = Random(seed).sample(unique, len(unique))
    assert draw(unique, small, seed) == draw(shuffled, small, seed)
    assert len(draw(unique, small, seed)) == min(small, len(unique))
    chosen = {r.digest for r in draw(unique, small, seed)}
    assert chosen <= {r.digest for r in draw(unique, small + more, seed)}


def test_seeds_draw_differently_and_every_row_has_its_chance() -> None:
    population = numbered(20)
    seen = Counter(r.prompt for seed in range(400) for r in draw(population, 5, seed))
    assert len(seen) == 20
    assert all(60 < count < 145 for count in seen.values()), "each is expected 100 times"


available = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 60), max_size=8)


@given(available, st.integers(0, 500))
def test_equal_quotas_are_as_equal_as_rows_allow(counts: dict[str, int], size: int) -> None:
    quotas = equal_quotas(counts, size)
    assert sum(quotas.values()) == min(size, sum(counts.values()))
    assert all(quotas[name] <= counts[name] for name in counts)
    not_exhausted = [quotas[name] for name in counts if quotas[name] < counts[name]]
    if not_exhausted:
        assert max(quotas.values()) - min(not_exhausted) <= 1


@given(available, st.floats(0, 1))
def test_proportional_quotas_are_within_one_of_the_share(counts: dict[str, int], share: float) -> None:
    total = sum(counts.values())
    size = int(total * share)
    quotas = proportional_quotas(counts, size)
    assert sum(quotas.values()) == size
    for name, count in counts.items():
        assert abs(quotas[name] - (size * count / total if total else 0)) < 1
        assert quotas[name] <= count
