"""When a cluster is complete, and when it is lost; without Ray."""

from dataclasses import replace
from pathlib import Path

import pytest

from safety_worker.ray_launcher import Cluster, LaunchError, LaunchSettings

SETTINGS = LaunchSettings("job", nodes=2, gpus=1, folder=Path(), peers_seconds=0.0, poll_seconds=0.0)


def test_waiting_ends_when_all_nodes_are_there() -> None:
    heard = iter([None, 1, 2])
    Cluster("a:1", replace(SETTINGS, peers_seconds=60.0), lambda: next(heard)).wait()
    assert next(heard, None) is None


@pytest.mark.parametrize(("alive", "number"), [(None, 0), (1, 1)])
def test_a_peer_that_does_not_come_in_time_is_named_by_numbers(alive: int | None, number: int) -> None:
    with pytest.raises(LaunchError, match=f"{number} of 2 nodes") as caught:
        Cluster("a:1", SETTINGS, lambda: alive).wait()
    assert caught.value.reason == "PeersMissing"


def test_a_head_that_ends_while_it_is_waited_for_is_told_at_once() -> None:
    with pytest.raises(LaunchError, match="exit code 1") as caught:
        Cluster("a:1", replace(SETTINGS, peers_seconds=60.0), lambda: 1, lambda: 1).wait()
    assert caught.value.reason == "RayHeadLost"


def test_a_node_that_is_missing_for_a_moment_is_not_lost() -> None:
    heard = iter([2, 1, 2, 1])
    cluster = Cluster("a:1", replace(SETTINGS, lost_seconds=60.0), lambda: next(heard))
    for _ in range(4):
        cluster.check()


def test_a_node_that_stays_away_is_lost() -> None:
    cluster = Cluster("a:1", replace(SETTINGS, lost_seconds=0.0), lambda: 1)
    with pytest.raises(LaunchError, match="1 of 2 nodes") as caught:
        cluster.check()
    assert caught.value.reason == "RayNodeLost"


def test_a_node_that_is_missing_when_the_driver_has_failed_is_lost_at_once() -> None:
    heard = iter([2, 1])
    cluster = Cluster("a:1", replace(SETTINGS, lost_seconds=60.0, poll_seconds=0.01), lambda: next(heard))
    with pytest.raises(LaunchError, match="1 of 2 nodes") as caught:
        cluster.check_after_failure()
    assert (caught.value.reason, caught.value.code) == ("RayNodeLost", 143)


def test_a_driver_that_failed_by_itself_lost_no_node() -> None:
    Cluster("a:1", SETTINGS, lambda: 2).check_after_failure()
