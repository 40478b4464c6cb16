"""The probe stage: the ways around the rails, tried from a namespace that is not the model's.

The pod of the prove stage is in the model's own namespace; policies that close a model to its neighbours may
leave it open to all others.
"""

import asyncio
from importlib.metadata import version

from safety_records.result import OutsideProbe, StageResult
from safety_records.stages import ProbeStage
from safety_worker.context import StageContext
from safety_worker.guarding.bypass_probe import probe_outside


def run(spec: ProbeStage, context: StageContext) -> StageResult:
    """Probe, and say what was seen, whatever it was."""
    context.store.output(spec.out)
    closed, detail = asyncio.run(probe_outside(spec))
    seen = OutsideProbe(namespace=spec.from_namespace, closed=closed, detail=detail[:200])
    return StageResult(
        stage="probe", inputs_hash=spec.inputs_hash, outside=seen, versions={"httpx": version("httpx")}
    )
