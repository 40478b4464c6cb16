"""The model of a run: fetched into the store or made by a SafetyFinetune, and served while stages need it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from safety_operator.api.answer_settings import answer_settings, answer_variables
from safety_operator.api.common import ChatTemplate, EvaluatedModel, ModelSource, OwnedModel, Serving
from safety_operator.api.conditions import Reason
from safety_operator.api.pods import EnvVar
from safety_operator.children.metadata import canonical_hash, child_name
from safety_operator.children.pod import Mount
from safety_operator.children.runtimes.runtime import SERVED_NAME, ModelServer
from safety_operator.children.service import pods_service_name, service_url
from safety_operator.planning.engine.problems import Blocked, Problem, UnmetRuleError
from safety_operator.planning.engine.products import Model, find_finetuned
from safety_operator.planning.engine.references import (
    CLAIM,
    SECRET,
    Reference,
    read_config_map,
    secret_reference,
    uri_reference,
)
from safety_operator.planning.engine.servers import TARGET_ROLE
from safety_operator.planning.engine.stages import Decision, Run, Skipped, Work
from safety_records.eval_stages import GuardedTarget
from safety_records.in_place import volumes_in
from safety_records.stage_base import ServedModel
from safety_records.stages import MAX_CHAT_TEMPLATE_BYTES, FetchStage
from safety_records.training import Device

TOKEN_ENV = "HF_TOKEN"  # noqa: S105 - the name of a variable
"""Variable of a fetch pod that holds the hub's token."""
BASE_TOKEN_ENV = "BASE_TOKEN"  # noqa: S105 - the name of a variable
"""The same for the base model of an adapter."""
TARGET_KEY_ENV = "TARGET_API_KEY"
"""Variable that holds the API key of an endpoint."""
FETCH = "fetch"
"""Name of the stage that fetches a model into the store."""


def device_of(run: Run[Any], wanted: str | None) -> Device:
    """Where something runs: as the spec says, else as the settings say."""
    return "cpu" if (wanted or run.settings.device) == "cpu" else "gpu"


@dataclass(frozen=True, slots=True)
class Part:
    """Which model of a resource it is about, where it has several."""

    where: str = "spec.model"
    fetch: str = FETCH
    """Stage that fetches it into the store."""
    role: str = TARGET_ROLE
    """Role of its temporary server."""
    key_env: str = TARGET_KEY_ENV
    """Variable that holds its endpoint's key."""


TARGET = Part()
"""The model that is evaluated."""


def model_references(model: OwnedModel, part: Part = TARGET, *asked: str) -> tuple[Reference, ...]:
    """What a model comes from; ``asked``: stages that ask it at its endpoint."""
    found: tuple[Reference, ...] = ()
    if model.finetune_ref is not None:
        where = f"{part.where}.finetuneRef"
        found += (Reference(where, "SafetyFinetune", model.finetune_ref.name),)
    if model.source is not None:
        where = f"{part.where}.source"
        token = secret_reference(
            f"{where}.tokenSecretRef", model.source.token_secret_ref, TOKEN_ENV, part.fetch
        )
        found += (uri_reference(f"{where}.uri", model.source.uri, part.fetch, wanted="model"), *token)
        found += _base_references(model.source, f"{where}.base", part.fetch)
    if model.chat_template is not None:
        where = f"{part.where}.chatTemplate.configMapKeyRef"
        found += (uri_reference(where, template_uri(model.chat_template), part.fetch),)
    endpoint = model.endpoint if isinstance(model, EvaluatedModel) else None
    if endpoint is not None:
        where = f"{part.where}.endpoint.apiKeySecretRef"
        found += secret_reference(where, endpoint.api_key_secret_ref, part.key_env, *asked)
    return found


def cache_references(serving: Serving | None, where: str, *stages: str) -> tuple[Reference, ...]:
    """Claims with what servers make, and NGC's key; ``stages``: those that wait where one is missing."""
    cache, nim = (serving.start_cache, serving.nim) if serving else (None, None)
    found: tuple[Reference, ...] = ()
    if cache:
        found += (Reference(f"{where}.startCache.claimName", CLAIM, cache.claim_name, stages=stages),)
    if nim and nim.cache_claim_name:
        found += (Reference(f"{where}.nim.cacheClaimName", CLAIM, nim.cache_claim_name, stages=stages),)
    if nim and nim.ngc_api_key_secret_ref:
        ref = nim.ngc_api_key_secret_ref
        where = f"{where}.nim.ngcApiKeySecretRef"
        found += (Reference(where, SECRET, ref.name, ref.key, stages=stages),)
    return found


def _base_references(source: ModelSource, where: str, fetch: str) -> tuple[Reference, ...]:
    if source.base is None:
        return ()
    token = secret_reference(f"{where}.tokenSecretRef", source.base.token_secret_ref, BASE_TOKEN_ENV, fetch)
    return (uri_reference(f"{where}.uri", source.base.uri, fetch, wanted="model"), *token)


def fetch_model(
    run: Run[Any],
    model: OwnedModel,
    fetch: str = FETCH,
    *,
    chat: bool = True,
    classifier: bool = False,
) -> Decision:
    """The stage ``fetch`` of a model that has a source; skipped for any other.

    ``chat``: whether it will be asked through a chat template; ``classifier``: it is a text classifier.
    """
    if model.source is None:
        return Skipped("the model does not come from a source")
    uri, inputs = model.source.uri, run.inputs(fetch)
    token = TOKEN_ENV if model.source.token_secret_ref else ""
    template = template_uri(model.chat_template) if model.chat_template else ""
    _check_template(run, template)
    spec = FetchStage(
        **run.base(),
        uri=uri,
        token_env=token,
        chat=chat,
        classifier=classifier,
        chat_template=template,
        **_base_fields(model.source),
    )
    digests = {"chat_template": inputs.digests[template]} if template else {}
    return Work(spec, inputs=digests, shape=inputs.shape(), outside=not uri.startswith("package://"))


def template_uri(template: ChatTemplate) -> str:
    """A chat template as data that the fetch stage reads."""
    ref = template.config_map_key_ref
    return f"configmap://{ref.name}/{ref.key}"


def _check_template(run: Run[Any], uri: str) -> None:
    """Raise Blocked for a chat template that is empty or too long; all else is for the fetch stage to see."""
    item = next((item for item in run.references if uri and item.uri == uri), None)
    size = len(read_config_map(run.observed, item).strip()) if item else 1
    if item and not 0 < size <= MAX_CHAT_TEMPLATE_BYTES:
        message = f"the template has {size} bytes; it needs some, and {MAX_CHAT_TEMPLATE_BYTES} at most."
        raise Blocked(Problem(Reason.INVALID_SPEC, f"{item.where}: {message}"))


def _base_fields(source: ModelSource) -> dict[str, str]:
    if source.base is None:
        return {}
    token = BASE_TOKEN_ENV if source.base.token_secret_ref else ""
    return {"base_uri": source.base.uri, "base_token_env": token}


def find_model(run: Run[Any], model: OwnedModel, where: str, *, fetch: str = FETCH) -> Model:
    """The model in the store. Raises Blocked before the stage ``fetch`` is done."""
    if model.finetune_ref is not None:
        return find_finetuned(run, model.finetune_ref.name, where)
    if model.source is None:
        raise UnmetRuleError(f"{where} names no model")
    fetched = run.results.get(fetch)
    if fetched is None or fetched.output is None:
        raise Blocked(Problem(Reason.RUNNING, "waiting for the model to be fetched", stalled=False))
    found = Model(fetched.output.uri, fetched.output.digest, model.source.uri, free=fetched.free_bytes)
    return found.with_sizes(fetched)


def check_trainable(model: Model, where: str) -> None:
    """Raise Blocked where no row can be made of what a server asks through the model's chat template."""
    kind = model.chat_template
    if kind is not None and kind.problem:
        message = (
            f"{where}: a model cannot be trained through this chat template: {kind.problem}. Set "
            "model.chatTemplate of a model with a source to one that asks as it renders answers."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))


class Target(NamedTuple):
    """A model that stages ask."""

    served: ServedModel
    server: ModelServer | None
    """Temporary server; None for an endpoint."""
    identity: str
    """Hash of everything about it that influences its answers."""
    uri: str
    digest: str
    guarded: GuardedTarget | None = None
    """The GuardedDeployment that it is, asked through its rails."""
    settings: Mapping[str, str] | None = None
    """What was set for its server and changes answers; None: an endpoint, which nobody here started."""
    mounts: tuple[Mount, ...] = ()
    """What pods that ask it need of it."""

    @property
    def internet(self) -> bool:
        """Whether it may be outside the namespace."""
        return self.server is None and self.guarded is None


WITHOUT_INFLUENCE: dict[str, Any] = {
    **dict.fromkeys(("replicas", "resources", "placement", "start_cache", "startup_seconds"), True),
    **dict.fromkeys(("update_strategy", "served_name", "autoscaling"), True),
    "nim": {"ngc_api_key_secret_ref", "cache_claim_name"},
}
"""Fields of a model's serving that change no answer."""


def serving_influences(serving: Serving) -> dict[str, Any]:
    """What of the serving influences answers."""
    return serving.model_dump(mode="json", exclude=WITHOUT_INFLUENCE, exclude_none=True)


def check_start_cache(run: Run[Any], model: Model, serving: Serving) -> None:
    """Raise Blocked where compiled code would share a claim with artifacts or with the model."""
    claim = serving.start_cache.claim_name if serving.start_cache else ""
    models = {volume.name for volume in volumes_in(model.path) if volume.kind == "pvc"}
    if claim and claim in {run.claim, *models}:
        what = "artifacts" if claim == run.claim else "the model"
        message = (
            f"serving.startCache.claimName: the claim {claim} holds {what}. Compiled code runs in the next "
            "server, so it needs a claim that nothing else writes to: name another one."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))


def served_with(run: Run[Any], serving: Serving, env: Sequence[EnvVar]) -> dict[str, str]:
    """What is set for a server and changes answers; ``env``: the variables of its pods."""
    return answer_settings(serving, env, run.settings.images.server_on(device_of(run, serving.device)))


def serve_model(
    run: Run[Any],
    model: Model,
    serving: Serving,
    *,
    role: str = TARGET_ROLE,
    env: Sequence[EnvVar] | None = None,
) -> Target:
    """A temporary server for a model in the store. Raises Blocked for a start cache in the wrong place.

    ``env``: its pods' variables, where they are not those of the resource.
    """
    check_start_cache(run, model, serving)
    device, options = device_of(run, serving.device), run.options("server")
    if env is not None:
        options = options.model_copy(update={"env": list(env)})
    variables = answer_variables(options.env)
    influences = [model.digest, serving_influences(serving), device, *([variables] if variables else ())]
    identity = canonical_hash(influences)
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
        options=options,
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
        reasoning_parser=serving.reasoning_parser or "",
    )
    settings = served_with(run, serving, options.env)
    return Target(served, server, identity, model.uri, model.digest, settings=settings)


def find_target(run: Run[Any], model: OwnedModel, serving: Serving, part: Part = TARGET) -> Target:
    """A model as stages see it: an endpoint, or a temporary server. Raises Blocked while there is none."""
    endpoint = model.endpoint if isinstance(model, EvaluatedModel) else None
    if endpoint is None:
        found = find_model(run, model, part.where, fetch=part.fetch)
        return serve_model(run, found, serving, role=part.role)
    key, digest = part.key_env if endpoint.api_key_secret_ref else "", endpoint.digest or ""
    served = ServedModel(base_url=endpoint.url, model=endpoint.model, api_key_env=key, digest=digest)
    identity = canonical_hash([endpoint.url, endpoint.model, digest])
    return Target(served, None, identity, endpoint.url, digest)
