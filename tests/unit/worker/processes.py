"""Real worker processes for tests that kill them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.worker.conftest import Workplace

from safety_records.stages import StageSpec

REPOSITORY = Path(__file__).parents[3]


class Worker:
    """A real worker process on a specification, as a pod starts it."""

    def __init__(self, workplace: Workplace, spec: StageSpec) -> None:
        self.message = workplace.artifacts.parent / f"termination-{spec.stage}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY / 'images/worker'}",
            "SAFETY_STAGE_SPEC": spec.to_json(),
            "SAFETY_TERMINATION_LOG": str(self.message),
            "SAFETY_INPUTS": str(workplace.inputs),
        }

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "safety_worker", "run"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
