"""What a model server's pod waits for before it ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from safety_pod.drain import drain, num_requests

BUSY = """# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="model"} 2.0
vllm:num_requests_waiting{engine="0",model_name="model"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 7.0
"""
IDLE = BUSY.replace(" 2.0", " 0.0").replace(" 1.0", " 0.0")


@contextmanager
def engine(*answers: str) -> Iterator[tuple[int, list[str]]]:
    """An engine whose metrics are one answer after another; gives its port and what is left of them."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = left.pop(0).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, left
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("metrics", "number"), [(BUSY, 3), (IDLE, 0), ("", 0), ("<html>", 0)])
def test_requests_that_run_or_wait_count(metrics, number):
    assert num_requests(metrics) == number


def test_a_pod_waits_until_its_engine_has_nothing_left_to_answer():
    with engine(BUSY, BUSY, IDLE) as (port, left):
        drain(port, "/metrics", 60, notice=0, pause=0)
        assert left == []


def test_a_pod_does_not_wait_for_longer_than_it_may():
    with engine(BUSY, BUSY) as (port, left):
        drain(port, "/metrics", 0, notice=0, pause=0)
        assert left == [BUSY]


def test_an_engine_that_is_gone_is_not_waited_for():
    with engine() as (port, _):
        pass
    drain(port, "/metrics", 60, notice=0, pause=0)
