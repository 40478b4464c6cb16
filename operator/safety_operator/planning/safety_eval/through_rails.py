"""What a SafetyEval evaluates, where that may be a GuardedDeployment through its rails.

The rails' promise is that nothing but they reaches the model. So the comparison without rails never asks the
deployment's own model server: the same weights get a temporary server of the evaluation's own, started as the
deployment starts its model, which only the evaluation's pods reach.
"""

import hashlib
import json
from typing import NamedTuple

from pydantic import ValidationError

from safety_operator.api.conditions import ConditionType
from safety_operator.api.guarded_deployment import GuardedServing
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.children.metadata import canonical_hash
from safety_operator.planning.engine.products import (
    Model,
    check_same_claim,
    find_finished,
    find_reference,
    split_artifact,
    stage_record,
    wait_for,
)
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.shared.models import (
    Target,
    device_of,
    find_target,
    serve_model,
    serving_influences,
)
from safety_operator.state.keys import Manifest
from safety_operator.state.reading import digest_at, value_at
from safety_records.stages import GuardedTarget, ServedModel

KIND = "GuardedDeployment"
WHERE = "spec.model.guardedDeploymentRef"

EvalRun = Run[SafetyEvalSpec]


def find_evaluated(run: EvalRun) -> Target:
    """The model or the GuardedDeployment that is evaluated. Raises Blocked while it is waited for."""
    ref = run.spec.model.guarded_deployment_ref
    if ref is None:
        return find_target(run, run.spec.model, run.spec.serving)
    return _guarded_target(run, ref.name, *_find_ready(run, ref.name))


def find_unguarded(run: EvalRun) -> Target:
    """The model behind the rails, at a temporary server of this evaluation. Raises Blocked."""
    ref = run.spec.model.guarded_deployment_ref
    assert ref is not None
    manifest, serving = _find_ready(run, ref.name)
    claim, path = split_artifact(value_at(manifest, "status", "served", "modelUri"))
    if not path:
        raise wait_for(KIND, ref.name, " to name its model's files")
    check_same_claim(run, claim, WHERE, f"{KIND} {ref.name}")
    fetched = stage_record(manifest, "fetch")
    model = Model(
        path,
        digest_at(manifest, "status", "served", "modelDigest"),
        value_at(manifest, "status", "served", "modelUri"),
        fetched.max_length if fetched else None,
    )
    return serve_model(run, model, serving)


class _Ready(NamedTuple):
    """A deployment that answers."""

    manifest: Manifest
    serving: GuardedServing
    """How it serves its model."""


def _find_ready(run: EvalRun, name: str) -> _Ready:
    """The deployment that answers. Raises Blocked while it is waited for."""
    there = find_reference(run, KIND, name)
    found = find_finished(run, KIND, name, ConditionType.READY, changing=_is_changing(there))
    if not value_at(found, "status", "endpoint") or not digest_at(found, "status", "served", "modelDigest"):
        raise wait_for(KIND, name, " to say what it serves")
    try:
        return _Ready(found, GuardedServing.model_validate(value_at(found, "spec", "serving", default={})))
    except ValidationError:
        raise wait_for(KIND, name, ", whose spec.serving is not one of this version") from None


def _is_changing(there: Manifest) -> bool:
    """Whether another model or other rails are about to answer."""
    served = value_at(there, "status", "served", default={})
    pairs = [("modelDigest", "wantedModelDigest"), ("configHash", "wantedConfigHash")]
    return any(
        value_at(served, a) and value_at(served, b) and value_at(served, a) != value_at(served, b)
        for a, b in pairs
    )


def _guarded_target(run: EvalRun, name: str, found: Manifest, serving: GuardedServing) -> Target:
    guarded = GuardedTarget(
        name=name,
        model_digest=digest_at(found, "status", "served", "modelDigest"),
        rails_digest=str(value_at(found, "status", "served", "configHash", default=""))[:71],
    )
    influences = [
        guarded.model_digest,
        guarded.rails_digest,
        serving_influences(serving),
        device_of(run, serving.device),
        value_at(found, "spec", "guardrails", "image"),
    ]
    text = json.dumps([KIND, *influences], sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    model = serving.served_name or name
    served = ServedModel(base_url=str(value_at(found, "status", "endpoint")), model=model, digest=digest)
    uri = f"guardeddeployment://{name}"
    return Target(served, None, canonical_hash(digest), uri, digest, guarded=guarded)
