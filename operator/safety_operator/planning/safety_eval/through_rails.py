"""What a SafetyEval evaluates, where that may be a GuardedDeployment through its rails.

The rails' promise is that nothing but they reaches the model. So the comparison without rails never asks the
deployment's own model server: the same weights get a temporary server of the evaluation's own, started as the
deployment starts its model, which only the evaluation's pods reach.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from safety_operator.api.answer_settings import answer_variables
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_deployment import GuardedDeploymentStatus, GuardedServing, ServedStatus
from safety_operator.api.pods import EnvVar, GuardedPods
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.children.guardrails import SHOWN_CERTIFICATE, shown_mount
from safety_operator.children.metadata import canonical_hash
from safety_operator.children.pod_options import effective_options
from safety_operator.planning.engine.problems import Blocked, Problem, UnmetRuleError
from safety_operator.planning.engine.products import (
    Model,
    Other,
    check_finished,
    check_same_claim,
    find_reference,
    split_artifact,
    wait_for,
)
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.shared.models import (
    TARGET,
    Target,
    device_of,
    find_target,
    serve_model,
    served_with,
    serving_influences,
)
from safety_operator.state.reading import known_digest, value_at
from safety_records.eval_stages import GuardedTarget
from safety_records.stage_base import ServedModel

KIND = "GuardedDeployment"
WHERE = "spec.model.guardedDeploymentRef"
KEY_WHERE = "spec.model.apiKeySecretRef"

EvalRun = Run[SafetyEvalSpec]
LEFT_OUT_BY_RAILS = "</think>"
"""End of the reasoning that a guarded endpoint does not show."""


def shown_reasoning_end(spec: SafetyEvalSpec) -> str:
    """End tag in the answers of what is evaluated; empty where they hold none."""
    end = spec.sampling.reasoning_end
    through = spec.model.guarded_deployment_ref is not None
    return "" if through and end == LEFT_OUT_BY_RAILS else end


def find_evaluated(run: EvalRun) -> Target:
    """The model or the GuardedDeployment that is evaluated. Raises Blocked while it is waited for."""
    ref = run.spec.model.guarded_deployment_ref
    if ref is None:
        return find_target(run, run.spec.model, run.spec.serving)
    return _guarded_target(run, ref.name, _find_ready(run, ref.name))


def find_unguarded(run: EvalRun) -> Target:
    """The model behind the rails, at a temporary server of this evaluation. Raises Blocked."""
    ref = run.spec.model.guarded_deployment_ref
    if ref is None:
        raise UnmetRuleError(f"{WHERE} names no deployment")
    ready = _find_ready(run, ref.name)
    if _asks_endpoint(ready.found):
        message = (
            f"{KIND} {ref.name} asks a model.endpoint, of which there are no files to serve here: remove "
            "compare, and evaluate that endpoint by another SafetyEval."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))
    claim, path = split_artifact(ready.served.model_uri)
    if not path:
        raise wait_for(KIND, ref.name, " to name its model's files")
    check_same_claim(run, claim, WHERE, f"{KIND} {ref.name}")
    fetched = ready.found.status.stage("fetch").record
    length = fetched.max_length if fetched else None
    model = Model(path, ready.served.model_digest, ready.served.model_uri, length)
    return serve_model(run, model, ready.serving, env=ready.env)


class _Ready(NamedTuple):
    """A deployment that answers."""

    found: Other[GuardedDeploymentStatus]
    served: ServedStatus
    serving: GuardedServing
    """How it serves its model."""
    env: Sequence[EnvVar]
    """Variables of its model's pods."""


def _find_ready(run: EvalRun, name: str) -> _Ready:
    """The deployment that answers. Raises Blocked while it is waited for."""
    found = find_reference(run, GuardedDeploymentStatus, name)
    served = found.status.served or ServedStatus()
    check_finished(found, name, ConditionType.READY, changing=_is_changing(served))
    if served.model_digest and not known_digest(served.model_digest):
        message = (
            f"{WHERE}: {KIND} {name} asks an endpoint without a digest, so that nobody can say what was "
            f"evaluated. Set spec.model.endpoint.digest of {KIND} {name}."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))
    known = found.status.endpoint and known_digest(served.model_digest)
    if not known or found.status.endpoint.startswith("https:") != bool(_secret_of(found)):
        raise wait_for(KIND, name, " to say what it serves")
    try:
        serving = GuardedServing.model_validate(value_at(found.manifest, "spec", "serving", default={}))
        pod = GuardedPods.model_validate(value_at(found.manifest, "spec", "pod", default={}))
    except ValidationError:
        raise wait_for(KIND, name, ", whose spec.serving or spec.pod is not one of this version") from None
    env = effective_options(run.settings.pods, pod, "server").env
    return _Ready(found, served, serving, env)


def _secret_of(found: Other[GuardedDeploymentStatus]) -> str:
    """The Secret with the certificate that it shows; empty: it has no TLS of its own."""
    return str(value_at(found.manifest, "spec", "expose", "tls", "secretName") or "")


def _asks_endpoint(found: Other[GuardedDeploymentStatus]) -> bool:
    """Whether the model is a server of others."""
    return bool(value_at(found.manifest, "spec", "model", "endpoint"))


def _is_changing(served: ServedStatus) -> bool:
    """Whether another model or other rails are about to answer."""
    pairs = [
        (served.model_digest, served.wanted_model_digest),
        (served.config_hash, served.wanted_config_hash),
    ]
    return any(now and wanted and now != wanted for now, wanted in pairs)


def _key_env(run: EvalRun, name: str, ready: _Ready) -> str:
    """Variable with the API key for the deployment. Raises Blocked where it wants one and has none here."""
    if run.spec.model.api_key_secret_ref is not None:
        return TARGET.key_env
    if value_at(ready.found.manifest, "spec", "access", "keys"):
        raise Blocked(
            Problem(
                Reason.INVALID_SPEC,
                f"{KIND} {name} wants API keys: set {KEY_WHERE} to that of one of its spec.access.keys.",
            )
        )
    return ""


def _guarded_target(run: EvalRun, name: str, ready: _Ready) -> Target:
    found, served, serving, env = ready
    variables = answer_variables(env)
    guarded = GuardedTarget(name=name, model_digest=served.model_digest, rails_digest=served.config_hash)
    influences = [
        guarded.model_digest,
        guarded.rails_digest,
        serving_influences(serving),
        device_of(run, serving.device),
        value_at(found.manifest, "spec", "guardrails", "image"),
        *([variables] if variables else ()),
    ]
    text = json.dumps([KIND, *influences], sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    key = _key_env(run, name, ready)
    model = serving.served_name or name
    secret = _secret_of(found)
    endpoint = ServedModel(
        base_url=found.status.endpoint,
        model=model,
        digest=digest,
        api_key_env=key,
        certificate=SHOWN_CERTIFICATE if secret else "",
    )
    uri = f"guardeddeployment://{name}"
    settings = None if _asks_endpoint(found) else served_with(run, serving, env)
    mounts = (shown_mount(secret),) if secret else ()
    identity = canonical_hash(digest)
    return Target(endpoint, None, identity, uri, digest, guarded=guarded, settings=settings, mounts=mounts)
