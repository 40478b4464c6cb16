"""A driver that connects, says so, and waits."""

import sys
import time
from pathlib import Path

import ray

ray.init(log_to_driver=False)
Path(sys.argv[1], "driving").touch()
while True:
    time.sleep(1)
