"""The model server of a track, and the Services on it."""

from typing import Any

from safety_operator.api.guarded_deployment import RollingUpdate
from safety_operator.children.deployment import IN_TURN, RECREATE, SURGE
from safety_operator.children.model_server import build_model_server
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.children.secret import KEY_UID
from safety_operator.children.service import build_pods_service, build_service
from safety_operator.planning.engine.products import Model
from safety_operator.planning.guarded_deployment.deployment_parts import MODEL_DIGEST, OPENS_REASONING, Parts
from safety_operator.planning.guarded_deployment.roles import MODEL_ROLE
from safety_operator.planning.guarded_deployment.scaling import fewest_replicas, wanted_replicas
from safety_operator.planning.shared.models import device_of
from safety_operator.state.plan import Child


def model_server(parts: Parts, model: Model, *, stopped: bool = False) -> Child:
    """The model server; ``stopped``: without pods."""
    spec = parts.run.spec
    server = ModelServer(
        owner=parts.run.owner,
        role=MODEL_ROLE,
        name=parts.name(MODEL_ROLE),
        serving=spec.serving,
        device=device_of(parts.run, spec.serving.device),
        model_path=model.path,
        claim=parts.run.claim,
        images=parts.run.settings.images,
        options=parts.run.options("server"),
        replicas=0 if stopped else wanted_replicas(parts, MODEL_ROLE),
        digest=model.digest if spec.gate.verify_files else "",
        serves_people=True,
        queue=spec.queue_name or "",
        api_key=parts.model_key,
        strategy=_strategy(parts),
        annotations={MODEL_DIGEST: model.digest}
        | ({OPENS_REASONING: "true"} if parts.opens_reasoning else {}),
        pod_annotations={KEY_UID: parts.key_uid},
    )
    return Child(build_model_server(server))


def _strategy(parts: Parts) -> dict[str, Any]:
    """How an update replaces the model's pods."""
    serving = parts.run.spec.serving
    wanted = serving.update_strategy
    if wanted is None:
        on_gpu = device_of(parts.run, serving.device) == "gpu"
        return IN_TURN if on_gpu and fewest_replicas(parts.run.spec)[MODEL_ROLE] > 1 else SURGE
    if wanted.type == "Recreate":
        return RECREATE
    numbers = wanted.rolling_update or RollingUpdate()
    rolling = {"maxUnavailable": numbers.max_unavailable, "maxSurge": numbers.max_surge}
    return {"type": "RollingUpdate", "rollingUpdate": rolling}


def model_services(parts: Parts) -> tuple[Child, ...]:
    """The direct endpoint, and the pods by the name of a headless Service."""
    owner, name = parts.run.owner, parts.name(MODEL_ROLE)
    direct = build_service(owner, MODEL_ROLE, name, instance=name)
    return Child(direct), Child(build_pods_service(owner, MODEL_ROLE, name))
