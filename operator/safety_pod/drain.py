"""What a model server's pod does before it ends: wait until the requests that it has are answered.

``drain.py PORT PATH SECONDS``, where PATH is that of the metrics, runs as a preStop hook.
vLLM ends at once when it is told to, and an answer that is being written would be lost.
"""

import re
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

NOTICE_SECONDS = 5.0
"""Time for Services and clients to learn that the pod is on its way out."""
PAUSE_SECONDS = 1.0
REQUESTS = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
"""What the engine has to do, by its own metrics."""


def num_requests(metrics: str) -> float:
    """Requests that the engine works on or keeps waiting; 0 where its metrics do not say."""
    return sum(float(number) for number in REQUESTS.findall(metrics))


def read_metrics(port: int, path: str) -> str:
    """The engine's metrics; empty once it does not answer any more."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            text: str = answer.read().decode("utf-8", "replace")
    except (URLError, OSError):
        return ""
    return text


def drain(
    port: int, path: str, seconds: float, notice: float = NOTICE_SECONDS, pause: float = PAUSE_SECONDS
) -> None:
    """Return when no request is left, or after ``seconds``."""
    end = time.monotonic() + seconds
    time.sleep(notice)
    while num_requests(read_metrics(port, path)) > 0 and time.monotonic() < end:
        time.sleep(pause)


if __name__ == "__main__":
    drain(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
