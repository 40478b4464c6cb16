"""The model of a run: fetched into the store or made by a SafetyFinetune, and served while stages need it."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from safety_operator.api.common import EvaluatedModel, OwnedModel, SecretKeyRef, Serving
from safety_operator.children.metadata import canonical_hash, child_name
from safety_operator.children.model_server import SERVED_NAME, ModelServer
from safety_operator.children.pod import SecretEnv
from safety_operator.children.service import pods_service_name, service_url
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.engine.problems import Problem
from safety_operator.planning.engine.references import (
    INTERNET_SCHEMES,
    Model,
    find_bad_uri,
    find_claim,
    find_finetuned,
    find_secret,
    parse_claim,
)
from safety_operator.planning.engine.servers import TARGET_ROLE
from safety_operator.planning.engine.stages import Decision, Run, Skipped, Work
from safety_records.stages import FetchStage, GuardedTarget, ServedModel

TOKEN_ENV = "HF_TOKEN"  # noqa: S105 - the name of a variable
"""Variable of a fetch pod that holds the hub's token."""
TARGET_KEY_ENV = "TARGET_API_KEY"
"""Variable that holds the API key of an endpoint."""
FETCH = "fetch"
"""Name of the stage that brings a model into the store."""

Device = Literal["cpu", "gpu"]


def device_of(run: Run[Any], wanted: str | None) -> Device:
    """Where something runs: as the spec says, else as the settings say."""
    return "cpu" if (wanted or run.settings.device) == "cpu" else "gpu"


def fetch_model(
    run: Run[Any],
    model: OwnedModel | EvaluatedModel,
    where: str,
    *,
    chat: bool = True,
    classifier: bool = False,
) -> Decision:
    """The fetch stage of a model that lies somewhere; skipped for any other.

    ``chat``: whether it will be asked through a chat template; ``classifier``: it is a text classifier.
    """
    if model.source is None:
        return Skipped("the model does not come from a source")
    uri, ref = model.source.uri, model.source.token_secret_ref
    claim = parse_claim(uri)
    problem = find_bad_uri(uri, f"{where}.source.uri", "model")
    if claim and problem is None:
        problem = find_claim(run.observed, claim, f"{where}.source.uri")
    if ref is not None and problem is None:
        problem = find_secret(run.observed, ref, f"{where}.source.tokenSecretRef")
    if problem is not None:
        return problem
    shape = JobShape(
        secret_env=_secret_env(TOKEN_ENV, ref),
        claims=(claim,) if claim else (),
        internet=uri.startswith(INTERNET_SCHEMES),
    )
    spec = FetchStage(
        **run.base(), uri=uri, token_env=TOKEN_ENV if ref else "", chat=chat, classifier=classifier
    )
    return Work(spec, shape=shape, outside=not uri.startswith("package://"))


def model_inputs(
    model: OwnedModel | EvaluatedModel, where: str
) -> tuple[dict[str, str], dict[str, SecretKeyRef]]:
    """By field: the URI and the Secrets that a model names."""
    source = model.source
    endpoint = model.endpoint if isinstance(model, EvaluatedModel) else None
    secrets = {
        f"{where}.source.tokenSecretRef": source.token_secret_ref if source else None,
        f"{where}.endpoint.apiKeySecretRef": endpoint.api_key_secret_ref if endpoint else None,
    }
    uris = {f"{where}.source.uri": source.uri} if source else {}
    return uris, {field: ref for field, ref in secrets.items() if ref is not None}


def _secret_env(name: str, ref: SecretKeyRef | None) -> tuple[SecretEnv, ...]:
    return (SecretEnv(name, ref.name, ref.key),) if ref else ()


def find_model(
    run: Run[Any], model: OwnedModel | EvaluatedModel, where: str, *, fetch: str = FETCH
) -> Model | Problem:
    """The model in the store, or what is being waited for.

    Called when ``stage``, which fetches it, is done or skipped; before that it gives a waiting Problem.
    """
    if model.finetune_ref is not None:
        return find_finetuned(run, model.finetune_ref.name, where)
    fetched = run.results.get(fetch)
    if model.source is None or fetched is None or fetched.output is None:
        return Problem("Running", "waiting for the model to be fetched", stalled=False)
    return Model(fetched.output.uri, fetched.output.digest, model.source.uri, fetched.max_length)


class Target(NamedTuple):
    """A model that stages ask."""

    served: ServedModel
    server: ModelServer | None
    """Temporary server; None for an endpoint."""
    identity: str
    """Hash of everything about it that influences its answers."""
    uri: str
    digest: str
    secret_env: tuple[SecretEnv, ...] = ()
    guarded: GuardedTarget | None = None
    """The GuardedDeployment that it is, asked through its rails."""

    @property
    def internet(self) -> bool:
        """Whether it may lie outside the namespace."""
        return self.server is None and self.guarded is None


def serving_influences(serving: Serving) -> dict[str, Any]:
    """What of the serving influences answers."""
    return serving.model_dump(mode="json", exclude={"replicas", "resources", "placement"}, exclude_none=True)


def serve_model(run: Run[Any], model: Model, serving: Serving, *, role: str = TARGET_ROLE) -> Target:
    """A temporary server for a model in the store."""
    device = device_of(run, serving.device)
    identity = canonical_hash([model.digest, serving_influences(serving), device])
    name = child_name(run.owner, role, identity)
    server = ModelServer(
        owner=run.owner,
        role=role,
        name=name,
        serving=serving,
        device=device,
        model_path=model.path,
        claim=run.claim,
        images=run.settings.images,
        options=run.options("server"),
        replicas=serving.replicas,
        queue=run.spec.queue_name or "",
    )
    served = ServedModel(
        base_url=service_url(run.owner, name),
        pods_url=service_url(run.owner, pods_service_name(name)) if serving.replicas > 1 else "",
        model=SERVED_NAME,
        path=model.path,
        digest=model.digest,
        max_length=serving.max_model_len or model.max_length,
    )
    return Target(served, server, identity, model.uri, model.digest)


@dataclass(frozen=True, slots=True)
class Part:
    """Which model of a resource it is about, where it has several."""

    where: str = "spec.model"
    fetch: str = FETCH
    """Stage that brings it into the store."""
    role: str = TARGET_ROLE
    """Role of its temporary server."""
    key_env: str = TARGET_KEY_ENV
    """Variable that holds its endpoint's key."""


TARGET = Part()
"""The model that is evaluated."""


def find_target(
    run: Run[Any], model: OwnedModel | EvaluatedModel, serving: Serving, part: Part = TARGET
) -> Target | Problem:
    """A model as stages see it: an endpoint, or a temporary server."""
    endpoint = model.endpoint if isinstance(model, EvaluatedModel) else None
    if endpoint is None:
        found = find_model(run, model, part.where, fetch=part.fetch)
        return found if isinstance(found, Problem) else serve_model(run, found, serving, role=part.role)
    ref = endpoint.api_key_secret_ref
    problem = find_secret(run.observed, ref, f"{part.where}.endpoint.apiKeySecretRef") if ref else None
    if problem is not None:
        return problem
    digest = endpoint.digest or ""
    served = ServedModel(
        base_url=endpoint.url, model=endpoint.model, api_key_env=part.key_env if ref else "", digest=digest
    )
    identity = canonical_hash([endpoint.url, endpoint.model, digest])
    return Target(served, None, identity, endpoint.url, digest, _secret_env(part.key_env, ref))
