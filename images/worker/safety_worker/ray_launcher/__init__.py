"""Starts, joins and leaves a Ray cluster for one training: the same for both launchers.

``job``: the pods of an Indexed Job make the cluster themselves; node 0 starts the head and runs the driver,
the others join it and leave with it. ``kuberay``: the pods are there already, and only the driver runs.

Only the standard library is used: the package is copied into images of other projects and run with their
Python (3.11 and newer). Ray itself is used by its command line and, in a process of its own, by its GCS
client (``nodes``). Called by the wrapper of a backend; leaves out what the driver does.
"""

from safety_worker.ray_launcher.cluster import Cluster
from safety_worker.ray_launcher.driver import run_driver
from safety_worker.ray_launcher.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_RETRY, LaunchError
from safety_worker.ray_launcher.launch import Drive, end_at_sigterm, launch
from safety_worker.ray_launcher.settings import LaunchSettings, Ports

__all__ = [
    "EXIT_INPUT",
    "EXIT_INTERRUPTED",
    "EXIT_RETRY",
    "Cluster",
    "Drive",
    "LaunchError",
    "LaunchSettings",
    "Ports",
    "end_at_sigterm",
    "launch",
    "run_driver",
]
