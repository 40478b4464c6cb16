"""A process that says how many nodes a Ray cluster has: ``python nodes.py HOST:PORT SECONDS``.

It prints the number of nodes that live as a line every so many seconds, and ends when the head does not
answer any more; one that has not answered yet may need minutes, from a cold disk. In a process of its own,
because Ray's client ends the process that it is in when the head is gone. It asks with the client of ``ray
health-check``: ``ray.init`` would be a driver, for which workers are started.
"""

import sys
import time
from typing import Any

ALIVE = 0
"""``GcsNodeInfo.ALIVE`` of Ray's gcs.proto."""
ANSWER_SECONDS = 20
RETRY_SECONDS = 1.0


def main(address: str, seconds: float) -> None:
    """Print for ever."""
    client = connect(address)
    while True:
        nodes = client.get_all_node_info(timeout=ANSWER_SECONDS).values()
        print(sum(node.state == ALIVE for node in nodes), flush=True)  # noqa: T201 - its output
        time.sleep(seconds)


def connect(address: str) -> Any:
    """A client of the head, once it answers; who waits for the number has a limit."""
    from ray._raylet import GcsClient  # noqa: PLC0415 - of the image that this is copied into
    from ray.exceptions import RpcError  # noqa: PLC0415

    while True:
        try:
            client = GcsClient(address=address)
            client.get_all_node_info(timeout=ANSWER_SECONDS)
        except RpcError:
            time.sleep(RETRY_SECONDS)
        else:
            return client


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
