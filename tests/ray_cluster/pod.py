"""A pod of a training on Ray: what a backend's wrapper does, with a driver of a few lines.

``python pod.py FOLDER NODE NODES RUN OFFSET DRIVER [name=value]...``: all pods are on one host, so each has
ports of its own; the head's GCS is at 26379 + OFFSET of node 0. With RAY_ADDRESS it is the entry point of a
RayJob, which uses the cluster that is there.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from safety_worker.ray_launcher import LaunchError, LaunchSettings, Ports, launch, run_driver


def settings(folder: str, node: int, nodes: int, run: str, offset: int, **others: float) -> LaunchSettings:
    base = 26400 + offset + 200 * node
    ports = Ports(
        26379 + offset, base, base + 1, base + 2, base + 3, base + 4, base + 5, base + 20, base + 150
    )
    temporary = f"/tmp/r{offset}n{node}"
    return LaunchSettings(
        "job", nodes, 1, Path(folder), node, run, "127.0.0.1", "", others.pop("peers_seconds", 120.0),
        object_store_bytes=80_000_000, temporary=temporary, ports=ports, poll_seconds=0.5,
        lost_seconds=others.pop("lost_seconds", 6.0),
    )  # fmt: skip


def main() -> int:
    folder, node, nodes, run, offset, driver, *others = sys.argv[1:]
    values = {name: float(value) for name, _, value in (item.partition("=") for item in others)}
    found = settings(folder, int(node), int(nodes), run, int(offset), **values)
    if "RAY_ADDRESS" in os.environ:
        found = replace(found, launcher="kuberay", driver_address=os.environ["RAY_ADDRESS"])
    try:
        return launch(found, lambda cluster: run_driver(cluster, (sys.executable, driver, folder)))
    except LaunchError as error:
        print(f"{error.reason}: {error.message}", flush=True)  # noqa: T201 - last words
        return error.code


if __name__ == "__main__":
    sys.exit(main())
