"""Large files in ranges: resumed by the range, from servers of every kind, always the same bytes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_hub import FakeHub
from tests.unit.worker.support.fake_web import FakeWeb
from tests.unit.worker.support.weights import tensors

from safety_worker.errors import InfrastructureError
from safety_worker.transport import download, places, ranges
from safety_worker.transport import meter as meter_module
from safety_worker.transport.meter import Meter
from safety_worker.transport.ranges import RangesIgnoredError, fetch_large
from safety_worker.transport.web import WebPlace

RANGE = 100_000
CONTENT = bytes(range(256)) * 8_000 + b"the end"
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 2 * RANGE)
    monkeypatch.setattr(places, "LARGE_BYTES", 2 * RANGE)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def site(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., FakeWeb]]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    opened: list[FakeWeb] = []

    def build(**fields: Any) -> FakeWeb:
        opened.append(FakeWeb(authority, {"/x.bin": CONTENT}, **fields).__enter__())
        return opened[-1]

    yield build
    for server in opened:
        server.__exit__()


def get(server: FakeWeb, folder: Path, meter: Meter | None = None) -> bytes:
    folder.mkdir(exist_ok=True)
    place = WebPlace(f"{server.url}/x.bin")
    place.get(place.files(), folder, meter or Meter())
    return (folder / "x.bin").read_bytes()


def asked_ranges(server: FakeWeb) -> set[str]:
    return {wanted for _, _, wanted in server.asked if wanted}


def test_each_range_is_asked_for_once(site: Callable[..., FakeWeb], tmp_path: Path) -> None:
    server = site()
    assert get(server, tmp_path / "a") == CONTENT
    wanted = {f"bytes={b}-{min(b + RANGE, SIZE) - 1}" for b in range(0, SIZE, RANGE)}
    assert asked_ranges(server) == wanted


@pytest.mark.parametrize(
    "server",
    [
        {"ranges": False},
        {"etag": ""},
        {"no_end": True},
        {"cuts": [0, 5_000, 70_000, 1]},
        {"headers": {"Connection": "close"}},
    ],
    ids=["no ranges", "no name of the content", "goes on behind the end", "breaks off", "closes"],
)
def test_servers_of_every_kind_give_the_same_bytes(
    server: dict[str, Any], site: Callable[..., FakeWeb], tmp_path: Path
) -> None:
    assert get(site(**server), tmp_path / "a") == CONTENT


def test_a_server_that_only_says_that_it_knows_ranges_is_read_over_one_connection(
    site: Callable[..., FakeWeb], tmp_path: Path
) -> None:
    server = site(ranges=False, headers={"Accept-Ranges": "bytes"})
    assert get(server, tmp_path / "a") == CONTENT
    assert server.asked[-1][2] == ""
    assert sorted(path.suffix for path in (tmp_path / "a").iterdir()) == [".bin", ".done"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_a_busy_server_asks_for_is_kept(
    status: int, site: Callable[..., FakeWeb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, slept = site(headers={"Retry-After": "7"}), []
    place = WebPlace(f"{server.url}/x.bin")
    files = place.files()
    server.busy = [status, status]
    monkeypatch.setattr(download.time, "sleep", slept.append)
    (tmp_path / "a").mkdir()
    place.get(files, tmp_path / "a", Meter())
    assert (tmp_path / "a/x.bin").read_bytes() == CONTENT
    assert slept == [7.0, 7.0]


def test_a_server_that_is_always_busy_is_given_up(site: Callable[..., FakeWeb], tmp_path: Path) -> None:
    server = site()
    place = WebPlace(f"{server.url}/x.bin")
    files = place.files()
    server.status = 503
    with pytest.raises(InfrastructureError, match="keeps breaking: HTTP 503"):
        place.get(files, tmp_path, Meter())


def test_content_that_changes_in_the_middle_is_not_mixed(
    site: Callable[..., FakeWeb], tmp_path: Path
) -> None:
    server = site()
    place = WebPlace(f"{server.url}/x.bin")
    files = place.files()
    server.etag = '"v2"'
    with pytest.raises(InfrastructureError, match="changed while it was read"):
        place.get(files, tmp_path, Meter())
    assert not (tmp_path / "x.bin").exists()
    assert get(server, tmp_path) == CONTENT


KILLED = """
import os, sys
from pathlib import Path
from safety_worker.transport import ranges
from safety_worker.transport.meter import Meter

ranges.RANGE_BYTES, ranges.LARGE_BYTES, ranges.CONNECTIONS = 1000, 2000, 1
left = int(sys.argv[2])

def read(begin, end):
    global left
    for offset in range(begin, end, 100):
        left -= 100
        if left < 0:
            os._exit(9)
        yield bytes([begin // 1000]) * min(100, end - offset)

ranges.fetch_large("x", read, 10_500, "v1", Path(sys.argv[1]) / "x", meter=Meter())
"""


def test_a_killed_pod_loses_only_what_was_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "4550"],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == 9
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1000)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 2000)
    asked: list[int] = []
    found: list[int] = []

    def read(begin: int, end: int | None) -> Iterator[bytes]:
        assert end is not None
        asked.append(begin)
        yield bytes([begin // 1000]) * (end - begin)

    meter = Meter(lambda done, _total, _speed: found.append(done), 10_500)
    fetch_large("x", read, 10_500, "v1", tmp_path / "x", meter=meter)
    assert sorted(asked) == list(range(4000, 10_500, 1000))
    assert found[0] == 4000
    assert (tmp_path / "x").read_bytes() == b"".join(bytes([n // 1000]) for n in range(10_500))


@pytest.mark.parametrize("notes", [b"0\n1000\nx\n30", b"\n\n", b"0\n"])
def test_notes_that_a_kill_cut_off_cost_a_range_and_no_more(
    notes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1000)
    content = bytes(range(250)) * 20
    one = ranges.Ranges("x", len(content), "v1", tmp_path / "x", meter=Meter())
    one._part.write_bytes(content[:2000])
    one._notes.write_bytes(notes)
    one.fetch(lambda begin, end: iter([content[begin:end]]))
    assert (tmp_path / "x").read_bytes() == content


def test_notes_without_the_file_count_for_nothing(tmp_path: Path) -> None:
    one = ranges.Ranges("x", SIZE, "v1", tmp_path / "x", meter=Meter())
    one._notes.write_text("0\n", encoding="ascii")
    one.fetch(lambda begin, end: iter([CONTENT[begin:end]]))
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_an_answer_that_is_no_range_leaves_nothing(tmp_path: Path) -> None:
    def read(_begin: int, _end: int) -> Iterator[bytes]:
        raise RangesIgnoredError

    with pytest.raises(RangesIgnoredError):
        ranges.Ranges("x", SIZE, "v1", tmp_path / "x", meter=Meter()).fetch(read)
    assert not list(tmp_path.iterdir())


def hub_files() -> dict[str, bytes]:
    small = {"config.json": b'{"max_position_embeddings": 64}', "tokenizer.json": b"{}"}
    return {**small, "chat_template.jinja": b"{{ messages }}", "model.safetensors": tensors(CONTENT)}


def test_a_shard_of_a_hub_comes_in_ranges_and_says_how_fast(workplace: Workplace) -> None:
    with FakeHub(hub_files()) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        output = workplace.run("fetch", uri="hf://org/small").output
        assert output is not None
        assert (workplace.artifacts / output.uri / "model.safetensors").read_bytes() == tensors(CONTENT)
        assert len([name for name in hub.downloads if name == "model.safetensors"]) > SIZE // RANGE


def test_a_shard_that_broke_off_goes_on_in_the_next_pod(workplace: Workplace) -> None:
    with FakeHub(hub_files(), budget=SIZE // 2) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        with pytest.raises(InfrastructureError):
            workplace.run("fetch", uri="hf://org/small")
        before, hub.budget = hub.sent, None
        assert workplace.run("fetch", uri="hf://org/small").output
        assert hub.sent - before < SIZE * 0.9, "what was complete did not come again"


def test_another_digest_than_the_hub_says_is_damage(workplace: Workplace) -> None:
    with FakeHub(hub_files(), wrong_digest=True) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        with pytest.raises(InfrastructureError, match="another digest"):
            workplace.run("fetch", uri="hf://org/small")


def test_a_meter_says_bytes_and_the_speed_of_the_last_seconds() -> None:
    said: list[tuple[int, int, float]] = []
    times = iter([0.0, 1.0, 2.0, 2.0, 20.0])
    meter = Meter(lambda *what: said.append(what), 1000, clock=lambda: next(times))
    meter.found(100)
    for num_bytes in (200, 400, 50, 50):
        meter.arrived(num_bytes)
    assert said == [
        (100, 1000, 0.0),
        (300, 1000, 200.0),
        (700, 1000, 300.0),
        (800, 1000, pytest.approx(100 / 18)),
    ]


def test_progress_has_bytes_and_words(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "SAMPLE_SECONDS", 0.0)
    with FakeHub(hub_files()) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        workplace.run("fetch", uri="hf://org/small")
    counted = [item for item in workplace.progress if item.unit == "bytes"]
    total = sum(len(content) for content in hub_files().values())
    assert {item.total for item in counted} == {total}
    assert counted[-1].done == total
    assert counted[-1].message.startswith("fetching the model: 0.00 of 0.00 GiB, ")
