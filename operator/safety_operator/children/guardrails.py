"""The NeMo Guardrails server: its configuration and its Deployment.

The files that are the same for every resource lie in ``guardrails_files``. Two of them are Python modules
that the guardrails server runs, not the operator: ``front_door.py`` closes the ways around the rails that the
server's own request schema leaves open, and ``rails_config.py`` gives the rails the whole conversation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from safety_operator.api.common import Resources
from safety_operator.children.metadata import Owner, canonical_hash, child_metadata, with_hash
from safety_operator.children.model_server import SURGE, build_server_deployment, http_probes
from safety_operator.children.pod import Mount, SecretEnv, build_container, build_pod_template
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.service import SERVER_PORT
from safety_operator.state.settings import Images

RESOURCES = ResourceSet(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"})
"""Measured: 135 MiB after start."""
STARTUP_SECONDS = 240
"""Measured: 3 to 8 s on free cores."""
CONFIG_ID = "rails"
MAIN_KEY_ENV = "MAIN_MODEL_API_KEY"
GUARD_KEY_ENV = "CONTENT_SAFETY_API_KEY"
NO_KEY = "none"
"""The client library wants a value even where the server wants no key."""
CONFIG_HASH = "modelsafety.dev/config-hash"
"""Annotation of the pods: a changed configuration rolls them."""

PATHS = {
    "config.yml": f"{CONFIG_ID}/config.yml",
    "prompts.yml": f"{CONFIG_ID}/prompts.yml",
    "rails.co": f"{CONFIG_ID}/rails.co",
    "rails_config.py": f"{CONFIG_ID}/config.py",
    "front_door.py": "config.py",
}
"""By key of the ConfigMap: path under /config."""

_FILES = {
    name: files("safety_operator.children").joinpath("guardrails_files", name).read_text(encoding="utf-8")
    for name in ("prompts-classifier.yml", "prompts-endpoint.yml", "rails_config.py", "front_door.py")
}


@dataclass(frozen=True, slots=True)
class RailsConfig:
    """What the rails' configuration depends on."""

    model_url: str
    """Base URL of the main model, up to /v1."""
    model_name: str
    guard_url: str
    guard_name: str
    guard_is_classifier: bool
    check_input: bool
    check_output: bool
    refusal: str


@dataclass(frozen=True, slots=True)
class RailsFiles:
    """A configuration."""

    data: Mapping[str, str]
    """By key of the ConfigMap."""
    digest: str
    """Hash of ``data``."""


@lru_cache(maxsize=1024)
def build_rails_files(config: RailsConfig) -> RailsFiles:
    """The configuration's files. Remembered: rendering takes as long as all the rest of a plan."""
    prompts = "prompts-classifier.yml" if config.guard_is_classifier else "prompts-endpoint.yml"
    data = {
        "config.yml": yaml.safe_dump(_config(config), sort_keys=False, width=1000),
        "prompts.yml": _FILES[prompts],
        "rails.co": f'define bot refuse to respond\n  "{config.refusal}"\n',
        "rails_config.py": _FILES["rails_config.py"],
        "front_door.py": _FILES["front_door.py"],
    }
    return RailsFiles(data, canonical_hash(data))


def _config(config: RailsConfig) -> dict[str, Any]:
    rails: dict[str, Any] = {}
    for direction, wanted in (("input", config.check_input), ("output", config.check_output)):
        if wanted:
            rails[direction] = {"flows": [f"content safety check {direction} $model=content_safety"]}
    return {
        "colang_version": "1.0",
        "passthrough": True,
        "models": [
            _model("main", config.model_name, MAIN_KEY_ENV, config.model_url),
            _model("content_safety", config.guard_name, GUARD_KEY_ENV, config.guard_url),
        ],
        "rails": rails,
    }


def _model(type_: str, name: str, key_env: str, url: str) -> dict[str, Any]:
    return {
        "type": type_,
        "engine": "openai",
        "model": name,
        "api_key_env_var": key_env,
        "parameters": {"base_url": url},
    }


def build_rails_config_map(owner: Owner, role: str, name: str, data: Mapping[str, str]) -> dict[str, Any]:
    """The ConfigMap of one version: a new version gets a new one, so that old pods keep theirs."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": child_metadata(owner, role, name),
            "immutable": True,
            "data": dict(data),
        }
    )


@dataclass(frozen=True, slots=True)
class GuardrailsServer:
    """The rails that are wanted."""

    owner: Owner
    role: str
    name: str
    config_map: str
    config_hash: str
    main_key: SecretEnv
    guard_key: SecretEnv | None
    images: Images
    options: EffectiveOptions
    image: str = ""
    replicas: int = 1
    resources: Resources | None = None
    pod_annotations: dict[str, str] = field(default_factory=dict)


def build_guardrails_server(server: GuardrailsServer) -> dict[str, Any]:
    """The Deployment of the rails."""
    items = [{"key": key, "path": path} for key, path in PATHS.items()]
    mount = Mount("config", "/config", {"configMap": {"name": server.config_map, "items": items}})
    container = build_container(
        "guardrails",
        server.image or server.images.guardrails,
        pull_policy=server.images.pull_policy,
        resources=Wanted(RESOURCES, server.resources).settle(server.options.resources),
        options=server.options,
        mounts=(mount,),
        command=(
            *("nemoguardrails", "server", "--config", "/config", "--default-config-id", CONFIG_ID),
            *("--port", str(SERVER_PORT), "--disable-chat-ui"),
        ),
        env={
            "NEMO_GUARDRAILS_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        | ({} if server.guard_key else {GUARD_KEY_ENV: NO_KEY}),
        secret_env=(server.main_key, *((server.guard_key,) if server.guard_key else ())),
        ports={"http": SERVER_PORT},
        probes=http_probes("/v1/health", ready_path="/v1/health/ready", startup_seconds=STARTUP_SECONDS),
    )
    template = build_pod_template(
        server.owner,
        server.role,
        container,
        options=server.options,
        images=server.images,
        mounts=(mount,),
        instance=server.name,
        annotations=server.pod_annotations | {CONFIG_HASH: server.config_hash},
    )
    return build_server_deployment(
        server.owner,
        server.role,
        server.name,
        template,
        replicas=server.replicas,
        strategy=SURGE,
        deadline_seconds=STARTUP_SECONDS + 300,
    )
