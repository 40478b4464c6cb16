"""What a guarded model consists of: names, children, and how each of its Deployments is."""

from dataclasses import dataclass, replace
from typing import Any, get_args

from safety_operator.api.common import SecretKeyRef
from safety_operator.api.guarded_deployment import (
    GuardedDeploymentSpec,
    GuardedDeploymentStatus,
    RollingUpdate,
)
from safety_operator.api.guarded_model import GuardedModelEndpoint
from safety_operator.api.guarded_rollout import Track
from safety_operator.api.guarded_scaling import Autoscaling
from safety_operator.children.classifier_server import build_classifier_server
from safety_operator.children.deployment import IN_TURN, RECREATE, SURGE
from safety_operator.children.guardrails import (
    CONFIG_HASH,
    RailsConfig,
    RailsFiles,
    build_guardrails_server,
    build_rails_config_map,
    build_rails_files,
    keys_mount,
    tls_mount,
)
from safety_operator.children.guardrails_rails import MAIN_KEY_ENV
from safety_operator.children.metadata import canonical_hash, child_name, own_service_name
from safety_operator.children.model_server import build_model_server
from safety_operator.children.pod import Mount, SecretEnv
from safety_operator.children.runtimes import RUNTIMES
from safety_operator.children.runtimes.runtime import SERVED_NAME, ModelServer
from safety_operator.children.secret import API_KEY, KEY_UID, build_api_key_secret
from safety_operator.children.service import (
    build_pods_service,
    build_service,
    pods_service_name,
    service_url,
)
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.servers import (
    PodCounts,
    count_pods,
    deployment_problem,
    is_seen,
)
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.guarded_deployment.endpoint import identity_of, way_to
from safety_operator.planning.guarded_deployment.guards import (
    CONTENT_SAFETY,
    Guard,
    asking_labels,
    guard_children,
    known_guards,
    unused_guards,
)
from safety_operator.planning.guarded_deployment.own_config import Files
from safety_operator.planning.guarded_deployment.policies import build_policies
from safety_operator.planning.guarded_deployment.rails_of import (
    further_rails,
    guard_format,
    rail_keys,
)
from safety_operator.planning.guarded_deployment.roles import CLASSIFIER_ROLE, MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.rollouts import Rollout
from safety_operator.planning.guarded_deployment.telemetry import (
    otlp_headers,
)
from safety_operator.planning.shared.models import device_of
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.plan import Child
from safety_operator.state.reading import annotation, children_of_role, integer, is_terminating, value_at

CONFIG_ROLE = "rails-config"
KEY_ROLE = "api-key"
CALLER_ROLE = "caller-key"
"""Role of the Secret with the key by which proofs ask."""
CALLER_KEY_ENV = "GUARDED_API_KEY"
PROVE_ROLE = "prove"
CANDIDATE_PROOF = "prove-candidate"
"""Stage that proves a version before it gets requests."""
PREVIEW_ROLE = "preview"
GUARD_NAME = "content-safety"
"""Name of the classifier in requests."""
DEFAULT_THRESHOLD = "0.4"
"""Measured (docs/experiments.md): finds 96 % of HarmBench, suspects 5 % of harmless requests."""
DEFAULT_ANSWER_THRESHOLD = "0.7"
"""It learned from requests: at their threshold it suspects far more harmless answers."""
MODEL_DIGEST = "modelsafety.dev/model-digest"
"""Annotation of the model's Deployment, of the guardrails' where others serve it: the newest pods' model."""
OPENS_REASONING = "modelsafety.dev/opens-reasoning"
"""Annotation of a model server's pods: answers begin within reasoning, which the server leaves in."""
ENDPOINT_URL = "modelsafety.dev/model-endpoint"
"""Annotation of the guardrails' Deployment: the server of others that its newest pods ask."""

GuardedRun = Run[GuardedDeploymentSpec]


@dataclass(frozen=True, slots=True)
class Parts:
    """A GuardedDeployment's children by role. Names are stable: updates roll, they do not replace."""

    run: GuardedRun
    opens_reasoning: bool = False
    """Whether answers of the model that is served begin within reasoning, which its server leaves in."""

    own: Files = ()
    """Files of a user's own configuration of rails."""
    guards: tuple[Guard, ...] = ()
    """Guard models that the operator serves."""
    track: Track = "blue"
    """Which of two sets of servers these are; blue is the only one of rolling updates."""
    candidate: bool = False
    """Whether these come up next to the ones that have the requests."""

    authorities: str = ""
    """Certificates (PEM) of authorities for the endpoint of a server of others."""

    @property
    def others(self) -> GuardedModelEndpoint | None:
        """The server of others that has the model; None where the operator serves it."""
        return self.run.spec.model.endpoint

    @property
    def waits_for_key(self) -> bool:
        """Whether the key between rails and model is not there yet: then nothing that reads it is made."""
        return self.others is None and not self.key_uid

    @property
    def main_key(self) -> SecretEnv | None:
        """The model's API key, as the rails read it; None for an endpoint that wants none."""
        if self.others is None:
            return self.key
        ref = self.others.api_key_secret_ref
        return SecretEnv(MAIN_KEY_ENV, ref.name, ref.key) if ref else None

    @property
    def main_key_version(self) -> str:
        """What changes when that key does, so that pods that read it are replaced."""
        key = self.main_key
        if self.others is None or key is None:
            return self.key_uid
        return self.run.observed.secrets.get(key.secret) or ""

    def asked_endpoint(self) -> str:
        """The server of others that the newest guardrails pods ask; empty: the operator's own."""
        rails = self.deployment(RAILS_ROLE)
        return annotation(rails, ENDPOINT_URL) if rails else ""

    def model_uri(self, model: Model) -> str:
        """Where a model's files are, or the address of who serves it."""
        return model.uri if self.others else f"pvc://{self.run.claim}/{model.path}"[:2048]

    def name(self, role: str) -> str:
        """Name of the role's Deployment and Service."""
        return child_name(self.run.owner, role, "" if self.track == "blue" else self.track)

    def shared_name(self, role: str) -> str:
        """Name of what both tracks have in common, such as a Secret."""
        return child_name(self.run.owner, role, "")

    @property
    def key(self) -> SecretEnv:
        """The API key between rails and model, as the rails read it."""
        return SecretEnv(MAIN_KEY_ENV, self.shared_name(KEY_ROLE), API_KEY)

    @property
    def model_key(self) -> SecretEnv | None:
        """The same as the engine reads it; None for one that asks clients for no key."""
        env = RUNTIMES[self.run.spec.serving.runtime].key_env
        return SecretEnv(env, self.key.secret, API_KEY) if env else None

    @property
    def key_uid(self) -> str:
        """The Secret's UID, empty while there is none: then nothing that reads the key is made yet."""
        secret = self.run.observed.children.get(ObjectKey("Secret", self.key.secret))
        return str(value_at(secret, "metadata", "uid", default=""))

    @property
    def wants_keys(self) -> bool:
        """Whether the guarded endpoint wants API keys."""
        return bool(self.run.spec.access.keys)

    @property
    def own_key(self) -> SecretEnv:
        """The key by which proofs ask the guarded endpoint, which marks canaries also where it wants none."""
        return SecretEnv(CALLER_KEY_ENV, self.shared_name(CALLER_ROLE), API_KEY)

    @property
    def uses_classifier(self) -> bool:
        """Whether the guard is a classifier of the operator's own."""
        return self.run.spec.guardrails.content_safety.model.classifier is not None

    @property
    def endpoint_name(self) -> str:
        """Name of the guarded endpoint's Service: the resource's own, which people would guess."""
        return own_service_name(self.run.owner, RAILS_ROLE)

    @property
    def endpoint_url(self) -> str:
        """The guarded endpoint: where users come in."""
        expose = self.run.spec.expose
        return service_url(
            self.run.owner, self.endpoint_name, expose.service.port, tls=expose.tls is not None
        )

    @property
    def preview_name(self) -> str:
        """Name of the Service on this track's guardrails, whatever the endpoint's Service leads to."""
        return self.name(PREVIEW_ROLE)

    @property
    def proof_url(self) -> str:
        """Where proofs ask: the guarded endpoint, or the guardrails of a version that has no requests."""
        if not self.candidate:
            return self.endpoint_url
        expose = self.run.spec.expose
        return service_url(self.run.owner, self.preview_name, expose.service.port, tls=expose.tls is not None)

    @property
    def proof_role(self) -> str:
        """The stage that proves these."""
        return CANDIDATE_PROOF if self.candidate else PROVE_ROLE

    @property
    def served_name(self) -> str:
        """The model's name in users' requests."""
        return self.run.spec.serving.served_name or self.run.owner.name

    @property
    def direct_url(self) -> str:
        """The direct endpoint: the model itself."""
        return service_url(self.run.owner, self.name(MODEL_ROLE))

    @property
    def pods_url(self) -> str:
        """The model's pods themselves, by the name of a headless Service: where the proof tries to get in."""
        return service_url(self.run.owner, pods_service_name(self.name(MODEL_ROLE)))

    def served_guards(self) -> dict[str, Guard]:
        """By rail: the guards that the operator serves, its own by their names on this track."""
        found = self.guards or known_guards(self.run)
        return {guard.rail: guard if guard.shared else guard.named(self.name(guard.role)) for guard in found}

    def rails_files(self) -> RailsFiles:
        """The rails' configuration."""
        guardrails = self.run.spec.guardrails
        rail = guardrails.content_safety
        served = self.served_guards()
        safety = served.get(CONTENT_SAFETY)
        endpoint = safety.endpoint if safety else rail.model.endpoint
        return build_rails_files(
            RailsConfig(
                model_url=self.others.url.rstrip("/") if self.others else self.direct_url,
                model_name=self.others.model if self.others else SERVED_NAME,
                model_wants_key=self.main_key is not None,
                authorities=self.authorities,
                served_name=self.served_name,
                guard_url=endpoint.url
                if endpoint
                else service_url(self.run.owner, self.name(CLASSIFIER_ROLE)),
                guard_name=endpoint.model if endpoint else GUARD_NAME,
                guard_format=guard_format(guardrails, served),
                check_input=rail.input,
                check_output=rail.output,
                refusal=guardrails.refusal,
                streaming=guardrails.streaming,
                speculative=guardrails.speculative,
                show_reasoning=guardrails.reasoning == "show",
                opens_reasoning=self.opens_reasoning,
                callers=tuple(self.run.spec.access.keys),
                replicas=guardrails.autoscaling.max_replicas
                if guardrails.autoscaling
                else guardrails.replicas,
                audit_text=self.run.spec.audit.text,
                refusals=tuple(guardrails.refusals),
                own=self.own,
                further=further_rails(guardrails, served),
                telemetry=self.run.spec.telemetry,
                endpoints=self.run.spec.endpoints,
                tool_calls=guardrails.tool_calls.model_dump_json(by_alias=True, exclude_defaults=True),
            )
        )

    def config_hash(self) -> str:
        """Hash of the rails' configuration, and of the guards that decide with it."""
        guard = self.run.spec.guardrails.content_safety.model
        served = [guard.identity for guard in self.guards]
        return canonical_hash(
            [self.rails_files().digest, guard.classifier, guard.threshold, guard.answer_threshold, *served]
        )

    def config_map_name(self) -> str:
        """Name of the configuration's version."""
        return child_name(self.run.owner, CONFIG_ROLE, self.rails_files().digest)

    def replicas(self, role: str) -> int | None:
        """Pods that a role is to have; None: an autoscaler decides, which a Deployment with none has not."""
        spec, scaling = self.run.spec, self.autoscaling(role)
        if scaling is None:
            return spec.serving.replicas if role == MODEL_ROLE else spec.guardrails.replicas
        if integer(value_at(self.deployment(role), "spec", "replicas")) > 0:
            return None
        others = (replace(self, track=track).deployment(role) for track in get_args(Track))
        return max(scaling.min_replicas, *(integer(value_at(item, "spec", "replicas")) for item in others))

    def autoscaling(self, role: str) -> Autoscaling | None:
        """What the number of a role's pods follows; None: it is fixed."""
        spec = self.run.spec
        wanted = {MODEL_ROLE: spec.serving.autoscaling, RAILS_ROLE: spec.guardrails.autoscaling}
        return wanted.get(role)

    def fewest(self, role: str, wanted: int) -> int:
        """Pods of ``wanted`` that have to be ready: of more that an autoscaler asks for nobody waits."""
        scaling = self.autoscaling(role)
        return min(wanted, scaling.min_replicas) if scaling else wanted

    def model(self, model: Model, *, stopped: bool = False) -> Child:
        """The model server; ``stopped``: without pods."""
        spec = self.run.spec
        replicas = 0 if stopped else self.replicas(MODEL_ROLE)
        server = ModelServer(
            owner=self.run.owner,
            role=MODEL_ROLE,
            name=self.name(MODEL_ROLE),
            serving=spec.serving,
            device=device_of(self.run, spec.serving.device),
            model_path=model.path,
            claim=self.run.claim,
            images=self.run.settings.images,
            options=self.run.options("server"),
            replicas=replicas,
            digest=model.digest if spec.gate.verify_files else "",
            serves_people=True,
            queue=spec.queue_name or "",
            api_key=self.model_key,
            strategy=self.strategy(),
            annotations={MODEL_DIGEST: model.digest}
            | ({OPENS_REASONING: "true"} if self.opens_reasoning else {}),
            pod_annotations={KEY_UID: self.key_uid},
        )
        return Child(build_model_server(server))

    def strategy(self) -> dict[str, Any]:
        """How an update replaces the model's pods."""
        serving = self.run.spec.serving
        replicas = serving.autoscaling.min_replicas if serving.autoscaling else serving.replicas
        wanted = serving.update_strategy
        if wanted is None:
            on_gpu = device_of(self.run, serving.device) == "gpu"
            return IN_TURN if on_gpu and replicas > 1 else SURGE
        if wanted.type == "Recreate":
            return RECREATE
        numbers = wanted.rolling_update or RollingUpdate()
        rolling = {"maxUnavailable": numbers.max_unavailable, "maxSurge": numbers.max_surge}
        return {"type": "RollingUpdate", "rollingUpdate": rolling}

    def fixed(self) -> tuple[Child, ...]:
        """What does not depend on the model: policies first, so that no pod ever runs without."""
        return (*self.shared(), *self.tracked(), self.endpoint())

    def shared(self) -> tuple[Child, ...]:
        """What both tracks have in common: policies and keys."""
        key = build_api_key_secret(self.run.owner, KEY_ROLE, self.key.secret)
        return (
            *map(Child, self._policies()),
            *([Child(key, create_only=True, secret_key=API_KEY)] if self.others is None else []),
            self._own_key(),
        )

    def tracked(self) -> tuple[Child, ...]:
        """What this track has besides its model server and its guardrails."""
        owner = self.run.owner
        config = build_rails_config_map(owner, CONFIG_ROLE, self.config_map_name(), self.rails_files().data)
        return (
            Child(config),
            *(self._model_services() if self.others is None else ()),
            *self._classifier(),
            *guard_children(self.run, tuple(self.served_guards().values())),
        )

    def _model_services(self) -> tuple[Child, ...]:
        owner, name = self.run.owner, self.name(MODEL_ROLE)
        direct = build_service(owner, MODEL_ROLE, name, instance=name)
        return Child(direct), Child(build_pods_service(owner, MODEL_ROLE, name))

    def endpoint(self) -> Child:
        """The guarded endpoint's Service, on the guardrails of this track."""
        expose, owner = self.run.spec.expose, self.run.owner
        return Child(
            build_service(
                owner,
                RAILS_ROLE,
                self.endpoint_name,
                instance=self.name(RAILS_ROLE),
                port=expose.service.port,
                service=expose.service,
                tls=expose.tls is not None,
            )
        )

    def preview(self) -> Child:
        """The Service on the guardrails of this track alone."""
        owner, expose, name = self.run.owner, self.run.spec.expose, self.preview_name
        instance, port, tls = self.name(RAILS_ROLE), expose.service.port, expose.tls is not None
        return Child(build_service(owner, PREVIEW_ROLE, name, instance=instance, port=port, tls=tls))

    def _own_key(self) -> Child:
        secret = build_api_key_secret(self.run.owner, CALLER_ROLE, self.own_key.secret)
        return Child(secret, create_only=True, secret_key=API_KEY)

    def _policies(self) -> list[dict[str, Any]]:
        return build_policies(
            self.run, self.guards, self._ways_to_endpoints(), classifier=self.uses_classifier
        )

    def _ways_to_endpoints(self) -> list[dict[str, Any]]:
        """To the server of others that is to be asked, and to the one that is asked until then."""
        urls = [self.others.url] if self.others else []
        urls += filter(None, [self.asked_endpoint(), endpoint_before(self.run)])
        ways = [rule for url in dict.fromkeys(urls) for rule in way_to(url, self.run.owner.namespace)]
        return [rule for index, rule in enumerate(ways) if rule not in ways[:index]]

    def _classifier(self) -> tuple[Child, ...]:
        guard = self.run.spec.guardrails.content_safety.model
        if guard.classifier is None:
            return ()
        name = self.name(CLASSIFIER_ROLE)
        server = build_classifier_server(
            self.run.owner,
            CLASSIFIER_ROLE,
            name,
            classifier=guard.classifier,
            threshold=guard.threshold or DEFAULT_THRESHOLD,
            answer_threshold=guard.answer_threshold or DEFAULT_ANSWER_THRESHOLD,
            images=self.run.settings.images,
            options=self.run.options("classifier"),
        )
        return Child(build_service(self.run.owner, CLASSIFIER_ROLE, name, instance=name)), Child(server)

    def rails(self, *, stopped: bool = False) -> Child:
        """The guardrails server; ``stopped``: without pods."""
        endpoint, tls = self.others, self.run.spec.expose.tls
        known = {MODEL_DIGEST: identity_of(endpoint), ENDPOINT_URL: endpoint.url} if endpoint else {}
        return Child(
            build_guardrails_server(
                self.run.owner,
                RAILS_ROLE,
                self.name(RAILS_ROLE),
                config_map=self.config_map_name(),
                config_hash=self.config_hash(),
                config_keys=self.rails_files().data,
                main_key=self.main_key,
                rail_keys=(*rail_keys(self.run.spec.guardrails), *otlp_headers(self.run.spec.telemetry)),
                keys=self._keys(),
                tls=tls_mount(tls.secret_name) if tls else None,
                images=self.run.settings.images,
                options=self.run.options("guardrails"),
                rails=self.run.spec.guardrails,
                replicas=0 if stopped else self.replicas(RAILS_ROLE),
                annotations=known,
                pod_annotations={KEY_UID: self.main_key_version},
                pod_labels=asking_labels(self.guards),
            )
        )

    def _keys(self) -> Mount:
        own = self.own_key
        return keys_mount(self.run.spec.access.keys, SecretKeyRef(name=own.secret, key=own.key))

    def stale(self) -> tuple[ObjectKey, ...]:
        """Configurations that no pod reads any more, and a classifier that was replaced by an endpoint."""
        if not self.rollout(RAILS_ROLE, "").complete or self.rolled_config() != self.config_hash():
            return ()
        observed = self.run.observed
        unused = [
            key
            for key, _ in children_of_role(observed, "ConfigMap", CONFIG_ROLE)
            if key.name != self.config_map_name()
        ]
        if not self.uses_classifier:
            kinds = ("Deployment", "NetworkPolicy", "Service")
            unused += [key for kind in kinds for key, _ in children_of_role(observed, kind, CLASSIFIER_ROLE)]
        unused += unused_guards(self.run, self.guards)
        if self.others is not None:
            owned = [(kind, MODEL_ROLE) for kind in ("Deployment", "NetworkPolicy", "Service")]
            owned.append(("Secret", KEY_ROLE))
            unused += [key for kind, role in owned for key, _ in children_of_role(observed, kind, role)]
        return tuple(sorted(key for key in unused if not is_terminating(observed.children[key])))

    def running(self) -> tuple[ObjectKey, ...]:
        """Everything that uses processors or memory: deleted while suspended."""
        return tuple(
            key
            for key in sorted(self.run.observed.children)
            if key.kind in {"Deployment", "Job"} and not is_terminating(self.run.observed.children[key])
        )

    def deployment(self, role: str) -> Manifest | None:
        """The Deployment of a role, as it is; None where there is none."""
        return self.run.observed.children.get(ObjectKey("Deployment", self.name(role)))

    def rolled_model(self) -> str:
        """Digest of the model that the newest pods serve or ask; empty where there are none."""
        child = self.deployment(RAILS_ROLE if self.asked_endpoint() else MODEL_ROLE)
        return annotation(child, MODEL_DIGEST) if child else ""

    def rolled_reasoning(self) -> bool:
        """Whether answers of the model that the newest pods serve begin within reasoning."""
        child = self.deployment(MODEL_ROLE)
        return child is not None and annotation(child, OPENS_REASONING) == "true"

    def rolled_config(self) -> str:
        """Hash of the configuration that the newest guardrails pods read; empty where there are none."""
        path = ("spec", "template", "metadata", "annotations", CONFIG_HASH)
        return str(value_at(self.deployment(RAILS_ROLE), *path, default=""))

    def guard_rollout(self) -> Rollout | None:
        """How the guard is that is furthest behind of those that the operator serves; None: there is none."""
        found = [self.rollout(CLASSIFIER_ROLE, "the classifier")] if self.uses_classifier else []
        found += map(self.rollout_of, self.guards)
        return min(found, key=lambda item: (item.answers, not item.has_old, item.complete), default=None)

    def rollout_of(self, guard: Guard) -> Rollout:
        """How a guard is; of another GuardedDeployment's only whether it is ready."""
        if not guard.shared:
            return self.rollout(guard.role, guard.words)
        pods = PodCounts(wanted=1, new=int(guard.ready), old=0, ready=int(guard.ready))
        return Rollout(guard.words, pods, guard.ready)

    def rollout(self, role: str, what: str) -> Rollout:
        """How the Deployment of a role is."""
        child = self.deployment(role)
        if child is None:
            return Rollout(what)
        pods = count_pods(child)
        fewest = self.fewest(role, pods.wanted)
        complete = is_seen(child) and pods.old == 0 and fewest <= pods.new_ready <= pods.new <= pods.wanted
        problem = None if complete else deployment_problem(self.run.observed, child, what)
        recreate = value_at(child, "spec", "strategy", "type") == "Recreate"
        wait = self.run.observed.waits.get(self.name(role), "")
        return Rollout(what, pods, complete and pods.wanted > 0, problem, recreate, wait)


def endpoint_before(run: GuardedRun) -> str:
    """The server of others that was in service by the last status; empty: none."""
    known = status_before(run).served
    return known.model_uri if known and known.model_uri.startswith(("http://", "https://")) else ""


def status_before(run: GuardedRun) -> GuardedDeploymentStatus:
    """The status as it was written last."""
    assert isinstance(run.before, GuardedDeploymentStatus)
    return run.before
