"""Which head a node joins, and how it leaves; sockets are real, Ray is not there."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safety_worker.ray_launcher import LaunchError, LaunchSettings, follower
from safety_worker.ray_launcher.follower import answers, wait_for_head
from safety_worker.ray_launcher.marker import Marker, read_marker, write_marker


@pytest.fixture
def address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def settings(tmp_path: Path) -> LaunchSettings:
    return LaunchSettings("job", 2, 1, tmp_path, node=1, run="now", peers_seconds=0.5, poll_seconds=0.01)


def test_a_node_joins_an_open_head_of_its_own_run(settings: LaunchSettings, address: str) -> None:
    write_marker(settings.folder, Marker("now", "one", address))
    assert wait_for_head(settings).head == "one"


@pytest.mark.parametrize(
    "change", [{"run": "before"}, {"state": "full"}, {"state": "done"}, {"address": "127.0.0.1:1"}]
)
def test_a_node_joins_no_head_of_another_run_or_that_waits_for_nobody(
    settings: LaunchSettings, address: str, change: dict[str, str]
) -> None:
    write_marker(settings.folder, replace(Marker("now", "one", address), **change))  # type: ignore[arg-type]
    with pytest.raises(LaunchError, match="node 1 of 2") as caught:
        wait_for_head(replace(settings, peers_seconds=0.05))
    assert caught.value.reason == "PeersMissing"


@pytest.mark.parametrize("text", ["", "[]", '{"run": "now"}', '{"more": 1}'])
def test_a_marker_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ray-head.json").write_text(text)
    assert read_marker(tmp_path) is None


@pytest.mark.parametrize(("has_head", "reason", "code"), [(True, "RayEnded", 1), (False, "RayHeadLost", 143)])
def test_a_node_whose_ray_ends_by_itself_counts_while_its_head_answers(
    settings: LaunchSettings, address: str, has_head: bool, reason: str, code: int
) -> None:
    head = Marker("now", "one", address if has_head else "127.0.0.1:1", "full")
    write_marker(settings.folder, head)
    with subprocess.Popen(["false"], text=True) as ray:
        ray.wait()
        with pytest.raises(LaunchError) as caught:
            follower._stay(settings, head, ray)
    assert (caught.value.reason, caught.value.code) == (reason, code)


def test_nobody_answers_where_nobody_listens() -> None:
    assert not answers("127.0.0.1:1")
