"""Work that pods share: everything is done, by whoever is there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InfrastructureError
from safety_worker.screening.pool import Pool, order_of, pod_index


@given(st.integers(0, 60), st.integers(1, 9))
def test_every_pod_would_do_every_piece_and_its_own_first(pieces: int, shards: int) -> None:
    first: set[int] = set()
    for index in range(shards):
        order = order_of(pieces, index, shards)
        assert sorted(order) == list(range(pieces))
        own = [piece for piece in order if piece % shards == index]
        assert order[: len(own)] == own == sorted(own)
        first.update(own)
    assert first == set(range(pieces))


def names(count: int) -> list[str]:
    return [f"p{number}.json" for number in range(count)]


def test_one_pod_of_many_finishes_alone_and_a_late_one_does_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    made: list[int] = []
    one, late = (Pool(store, "out.work", index, 3) for index in (1, 0))
    one.complete(names(7), lambda number: made.append(number) or {"n": number})
    assert sorted(made) == list(range(7))
    late.complete(names(7), lambda number: pytest.fail(f"{number} was done"))
    assert late.read("p3.json") == {"n": 3}


def test_a_pod_that_dies_loses_the_piece_that_it_was_making_only(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}")

    def dies(number: int) -> int:
        if number == 4:
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        Pool(store, "out.work").complete(names(7), dies)
    again: list[int] = []
    Pool(store, "out.work").complete(names(7), lambda number: again.append(number) or number)
    assert again == [4, 5, 6]
    assert not list((tmp_path / "out.work").glob(".tmp-*"))


def test_which_pod_this_is_has_to_be_known_when_there_are_several() -> None:
    assert pod_index({}, 1) == 0
    assert pod_index({"JOB_COMPLETION_INDEX": "2"}, 3) == 2
    with pytest.raises(InfrastructureError, match="JOB_COMPLETION_INDEX"):
        pod_index({}, 3)
