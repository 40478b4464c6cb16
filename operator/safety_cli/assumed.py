"""A finished resource that a manifest refers to and that was not given, as the dry run assumes it.

It has what is asked of any kind. A GuardedDeployment has none: evaluating through its rails takes its spec.
"""

import hashlib
from typing import Any

from safety_operator.api.common import Serving
from safety_operator.api.conditions import ConditionType
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.reading import digest_at, value_at
from safety_records.result import Artifact, StageResult

ROWS = 100_000
"""Placeholder for rows of a blend: more than any global batch."""


def build_assumed(key: Key, asker: Manifest, claim: str) -> dict[str, Any] | None:
    """The resource as it would be once finished; None where nothing can be assumed.

    Parameters
    ----------
    key
        What is referred to.
    asker
        Who refers to it: an evaluation that a gate asks for is about the gate's own model.
    claim
        The asker's claim for artifacts, on which products have to be.
    """
    if not KIND_BY_NAME[key.kind].batch:
        return None
    digest = f"sha256:{hashlib.sha256('/'.join(key).encode()).hexdigest()}"
    folder = f"{key.namespace}/{key.kind.lower()}/{key.name}/run"
    status: dict[str, Any] = {
        "observedGeneration": 1,
        "state": "Succeeded",
        "target": {
            "uri": "assumed",
            "digest": digest_at(asker, "status", "served", "wantedModelDigest") or digest,
        },
        "report": {"uri": f"pvc://{claim}/{folder}/report-{digest[7:23]}", "digest": digest},
        "stages": [_score_stage(folder, digest)],
        "output": {
            "uri": f"pvc://{claim}/{folder}/product",
            "digest": digest,
            "trainRows": ROWS,
            "validationRows": ROWS // 10,
        },
    }
    status["conditions"] = [
        {
            "type": type_,
            "status": "True",
            "reason": "Completed",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2000-01-01T00:00:00Z",
        }
        for type_ in (ConditionType.READY, ConditionType.SUCCEEDED, ConditionType.SAFETY_PASSED)
    ]
    metadata = {"name": key.name, "namespace": key.namespace, "generation": 1}
    return {"kind": key.kind, "metadata": metadata, "spec": _asked_as_served(asker), "status": status}


def _asked_as_served(asker: Manifest) -> dict[str, Any]:
    """The part of a spec by which a gate sees that the model was asked as its GuardedDeployment serves it."""
    if asker["kind"] != "GuardedDeployment":
        return {}
    endpoint = value_at(asker, "spec", "model", "endpoint")
    of_server = {field.alias for field in Serving.model_fields.values()}
    serving = value_at(asker, "spec", "serving", default={})
    options = value_at(asker, "spec", "pod", default={})
    server = value_at(options, "roles", "server", default={})
    return {
        "model": {"endpoint": endpoint} if endpoint else {},
        "serving": {name: value for name, value in serving.items() if name in of_server},
        "pod": {"env": options.get("env", []), "roles": {"server": {"env": server.get("env", [])}}},
    }


def _score_stage(folder: str, digest: str) -> dict[str, Any]:
    """The scores that a baseline is asked for."""
    output = Artifact(uri=f"{folder}/score-{digest[7:23]}", digest=digest, bytes=1)
    record = StageResult(stage="score", inputs_hash=digest[7:47], output=output)
    return {"name": "score", "state": "Succeeded", "hash": digest[7:47], "result": record.to_record()}
