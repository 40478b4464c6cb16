"""Compiled code is kept once, whole or not at all."""

import http.server
import os
import threading
from pathlib import Path

import pytest

from safety_pod import start_cache
from safety_pod.start_cache import COMPLETE, PART, keep, take, wait_until_ready


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def compiled(folder: Path, text: str = "code") -> Path:
    (folder / "vllm").mkdir(parents=True)
    (folder / "vllm/kernel").write_text(text)
    return folder


def test_what_one_start_made_the_next_one_takes(shared: Path, tmp_path: Path) -> None:
    assert not take(shared, tmp_path / "first")
    assert keep(shared, compiled(tmp_path / "first"))
    assert take(shared, tmp_path / "second")
    assert (tmp_path / "second/vllm/kernel").read_text() == "code"


def test_a_container_that_is_restarted_trusts_nothing_that_the_one_before_left(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = compiled(tmp_path / "local", "half a ker")
    assert not take(shared, local)
    assert not local.exists()
    keep(shared, compiled(tmp_path / "first"))
    compiled(local, "half a ker")
    assert take(shared, local)
    assert (local / "vllm/kernel").read_text() == "code"
    assert not capsys.readouterr().err


def test_what_is_there_is_never_changed(shared: Path, tmp_path: Path) -> None:
    keep(shared, compiled(tmp_path / "first"))
    assert keep(shared, compiled(tmp_path / "second", "other code"))
    assert (shared / COMPLETE / "vllm/kernel").read_text() == "code"
    assert [path.name for path in shared.iterdir()] == [COMPLETE]


def test_leftovers_of_killed_servers_are_removed_once_they_are_old(shared: Path, tmp_path: Path) -> None:
    for name in ("old", "new"):
        compiled(shared / f"{PART}{name}")
    os.utime(shared / f"{PART}old", (0, 0))
    keep(shared, compiled(tmp_path / "first"))
    assert {path.name for path in shared.iterdir()} == {COMPLETE, f"{PART}new"}


def test_a_volume_that_cannot_be_used_costs_time_only(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shared / COMPLETE).write_text("no folder")
    assert not take(shared, tmp_path / "local")
    assert not keep(shared / COMPLETE, compiled(tmp_path / "first"))
    said = capsys.readouterr().err
    assert "compiled anew" in said
    assert "nothing could be kept" in said


def test_it_waits_until_the_engine_answers() -> None:
    class Engine(http.server.BaseHTTPRequestHandler):
        answers = iter((503, 200))

        def do_GET(self) -> None:
            self.send_response(next(self.answers))
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/health"
        assert wait_until_ready(url, pause=0.01)
        server.shutdown()
    assert not wait_until_ready(url, seconds=0.0)


def test_nothing_happens_without_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(start_cache.SHARED, raising=False)
    start_cache.begin()
