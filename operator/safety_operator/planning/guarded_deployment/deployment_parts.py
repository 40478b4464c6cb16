"""What a guarded model consists of: names, addresses and keys of its children, and what the newest are."""

from dataclasses import dataclass

from safety_operator.api.guarded_deployment import GuardedDeploymentSpec, GuardedDeploymentStatus
from safety_operator.api.guarded_model import GuardedModelEndpoint
from safety_operator.api.guarded_rollout import Track
from safety_operator.children.guardrails import CONFIG_HASH, TLS_VOLUME
from safety_operator.children.guardrails_rails import MAIN_KEY_ENV
from safety_operator.children.metadata import child_name, own_service_name
from safety_operator.children.pod import SecretEnv
from safety_operator.children.runtimes import RUNTIMES
from safety_operator.children.secret import API_KEY
from safety_operator.children.service import pods_service_name, service_url
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.guarded_deployment.guards import Guard, known_guards
from safety_operator.planning.guarded_deployment.own_config import Files
from safety_operator.planning.guarded_deployment.roles import (
    CALLER_ROLE,
    CANDIDATE_PROOF,
    KEY_ROLE,
    MODEL_ROLE,
    PREVIEW_ROLE,
    PROVE_ROLE,
    RAILS_ROLE,
)
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import ANNOTATION_RETRY_ROLLOUT
from safety_operator.state.reading import annotation, items_of, value_at

CALLER_KEY_ENV = "GUARDED_API_KEY"
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
    opened: bool = False
    """Whether a candidate's guardrails may be asked by others than its proof."""
    held: bool = False
    """Whether its pods stay as they are, so that the endpoint is what they speak, whatever the spec says."""
    authorities: str = ""
    """Certificates (PEM) of authorities for the endpoint of a server of others."""

    @property
    def others(self) -> GuardedModelEndpoint | None:
        """The server of others that has the model; None where the operator serves it."""
        return self.run.spec.model.endpoint

    @property
    def uses_classifier(self) -> bool:
        """Whether the guard is a classifier of the operator's own."""
        return self.run.spec.guardrails.content_safety.model.classifier is not None

    def served_guards(self) -> dict[str, Guard]:
        """By rail: the guards that the operator serves, its own by their names on this track."""
        found = self.guards or known_guards(self.run)
        return {guard.rail: guard if guard.shared else guard.named(self.name(guard.role)) for guard in found}

    @property
    def lacks_guards(self) -> bool:
        """Whether the spec asks for guards that are not all known: what runs asks those that it has."""
        return not self.guards and bool(known_guards(self.run))

    @property
    def proof_role(self) -> str:
        """The stage that proves these."""
        return CANDIDATE_PROOF if self.candidate else PROVE_ROLE

    def name(self, role: str) -> str:
        """Name of the role's Deployment and Service."""
        return child_name(self.run.owner, role, "" if self.track == "blue" else self.track)

    def shared_name(self, role: str) -> str:
        """Name of what both tracks have in common, such as a Secret."""
        return child_name(self.run.owner, role, "")

    @property
    def endpoint_name(self) -> str:
        """Name of the guarded endpoint's Service: the resource's own, which people would guess."""
        return own_service_name(self.run.owner, RAILS_ROLE)

    @property
    def preview_name(self) -> str:
        """Name of the Service on this track's guardrails, whatever the endpoint's Service leads to."""
        return self.name(PREVIEW_ROLE)

    @property
    def served_name(self) -> str:
        """The model's name in users' requests."""
        return self.run.spec.serving.served_name or self.run.owner.name

    @property
    def endpoint_url(self) -> str:
        """The guarded endpoint: where users come in."""
        return self._rails_url(self.endpoint_name)

    @property
    def proof_url(self) -> str:
        """Where proofs ask: the guarded endpoint, or the guardrails of a version that has no requests."""
        return self._rails_url(self.preview_name if self.candidate else self.endpoint_name)

    def _rails_url(self, name: str) -> str:
        port = self.run.spec.expose.service.port
        return service_url(self.run.owner, name, port, tls=bool(self.certificate))

    @property
    def certificate(self) -> str:
        """The Secret by which the guardrails speak HTTPS; empty: they speak HTTP."""
        tls = self.run.spec.expose.tls
        if not self.held:
            return tls.secret_name if tls else ""
        volumes = items_of(value_at(self.deployment(RAILS_ROLE), "spec", "template", "spec", "volumes"))
        return next((str(item["secret"]["secretName"]) for item in volumes if item["name"] == TLS_VOLUME), "")

    @property
    def direct_url(self) -> str:
        """The direct endpoint: the model itself."""
        return service_url(self.run.owner, self.name(MODEL_ROLE))

    @property
    def pods_url(self) -> str:
        """The model's pods themselves, by the name of a headless Service: where the proof tries to get in."""
        return service_url(self.run.owner, pods_service_name(self.name(MODEL_ROLE)))

    def model_uri(self, model: Model) -> str:
        """Where a model's files are, or the address of who serves it."""
        return model.uri if self.others else f"pvc://{self.run.claim}/{model.path}"[:2048]

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

    @property
    def own_key(self) -> SecretEnv:
        """The key by which proofs ask the guarded endpoint, which marks canaries also where it wants none."""
        return SecretEnv(CALLER_KEY_ENV, self.shared_name(CALLER_ROLE), API_KEY)

    @property
    def wants_keys(self) -> bool:
        """Whether the guarded endpoint wants API keys."""
        return bool(self.run.spec.access.keys)

    def deployment(self, role: str) -> Manifest | None:
        """The Deployment of a role, as it is; None where there is none."""
        return self.run.observed.children.get(ObjectKey("Deployment", self.name(role)))

    def asked_endpoint(self) -> str:
        """The server of others that the newest guardrails pods ask; empty: the operator's own."""
        rails = self.deployment(RAILS_ROLE)
        return annotation(rails, ENDPOINT_URL) if rails else ""

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


def retry_of(run: GuardedRun) -> str:
    """What people wrote to have a version that failed tried again; empty: nothing."""
    return annotation(run.observed.resource, ANNOTATION_RETRY_ROLLOUT)[:64]


def status_before(run: GuardedRun) -> GuardedDeploymentStatus:
    """The status as it was written last."""
    assert isinstance(run.before, GuardedDeploymentStatus)
    return run.before
