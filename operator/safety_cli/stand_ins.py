"""What stands in for a finished resource that a manifest refers to and that was not given. For the rehearsal.

A GuardedDeployment has none: evaluating through its rails takes its whole spec.
"""

import hashlib
from typing import Any

from safety_operator.api.conditions import ConditionType
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.reading import digest_at
from safety_records.result import Artifact, StageResult

ROWS = 100_000
"""Placeholder for rows of a blend: more than any global batch."""


def build_stand_in(key: Key, asker: Manifest, claim: str) -> dict[str, Any] | None:
    """The resource as it would be once finished; None where nothing can stand in for it.

    Parameters
    ----------
    key
        What is referred to.
    asker
        Who refers to it: an evaluation that a gate asks for is about the gate's own model.
    claim
        The asker's claim for artifacts, on which products have to lie.
    """
    if key.kind == "GuardedDeployment":
        return None
    digest = f"sha256:{hashlib.sha256('/'.join(key).encode()).hexdigest()}"
    folder = f"{key.namespace}/{key.kind.lower()}/{key.name}/run"
    types = [ConditionType.READY, ConditionType.SUCCEEDED]
    status: dict[str, Any] = {"observedGeneration": 1, "state": "Succeeded"}
    if key.kind == "SafetyEval":
        types.append(ConditionType.SAFETY_PASSED)
        status |= {
            "target": {"digest": digest_at(asker, "status", "served", "wantedModelDigest") or digest},
            "report": {"uri": f"pvc://{claim}/{folder}/report-{digest[7:23]}", "digest": digest},
            "stages": [_score_stage(folder, digest)],
        }
    else:
        product = {"uri": f"pvc://{claim}/{folder}/product", "digest": digest}
        rows = {"trainRows": ROWS, "validationRows": ROWS // 10} if key.kind == "SafetyBlend" else {}
        status["output"] = product | rows
    status["conditions"] = [
        {
            "type": type_,
            "status": "True",
            "reason": "Completed",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2000-01-01T00:00:00Z",
        }
        for type_ in types
    ]
    metadata = {"name": key.name, "namespace": key.namespace, "generation": 1}
    return {"kind": key.kind, "metadata": metadata, "spec": {}, "status": status}


def _score_stage(folder: str, digest: str) -> dict[str, Any]:
    """The scores that a baseline is asked for."""
    output = Artifact(uri=f"{folder}/score-{digest[7:23]}", digest=digest, bytes=1)
    record = StageResult(stage="score", inputs_hash=digest[7:47], output=output)
    return {"name": "score", "state": "Succeeded", "hash": digest[7:47], "result": record.to_json()}
