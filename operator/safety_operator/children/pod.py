"""Pods that pass Pod Security "restricted". Every pod of the operator is built here."""

from dataclasses import dataclass
from typing import Any

from safety_operator.api.pods import PodSecurity
from safety_operator.children.metadata import Owner, child_labels
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet
from safety_operator.state.labels import LABEL_EGRESS, LABEL_INSTANCE
from safety_operator.state.settings import Images

ARTIFACTS = "artifacts"
"""Name of the volume that holds the artifact store."""
ARTIFACTS_PATH = "/artifacts"
"""Where it is mounted."""
ARTIFACTS_ROOT = f"file://{ARTIFACTS_PATH}"
"""The same as an fsspec URI."""

BASE_ENV = {"HOME": "/tmp/home", "TMPDIR": "/tmp", "USER": "safety", "LOGNAME": "safety"}  # noqa: S108
"""The root file system is read-only, so everything that is written goes to the emptyDir at /tmp; the
user names spare libraries a look into a passwd file that does not know a user of the cluster's choice."""


@dataclass(frozen=True, slots=True)
class SecretEnv:
    """An environment variable that is read from a Secret."""

    name: str
    secret: str
    key: str
    optional: bool = False
    """Whether the pod starts without the Secret."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume and where it is mounted."""

    name: str
    path: str
    source: dict[str, Any]
    read_only: bool = True
    sub_path: str = ""
    """Folder of the volume; empty: all of it."""


def artifacts_mount(claim: str, *, read_only: bool) -> Mount:
    """The artifact store of a claim."""
    return Mount(
        ARTIFACTS, ARTIFACTS_PATH, {"persistentVolumeClaim": {"claimName": claim}}, read_only=read_only
    )


def shared_memory_mount(size: str) -> Mount:
    """Shared memory: the 64 MiB of container runtimes break inference engines and data loaders."""
    return Mount("shm", "/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": size}}, read_only=False)  # noqa: S108


def literal(text: str) -> str:
    """A text that Kubernetes hands to the container as it is, whatever dollar signs are in it.

    ``$(NAME)`` in an env value, a command or its arguments is expanded, and ``$$`` becomes ``$``.
    """
    return text.replace("$", "$$")


def build_container(
    name: str,
    image: str,
    *,
    pull_policy: str,
    resources: ResourceSet,
    options: EffectiveOptions,
    args: tuple[str, ...],
    env: dict[str, str],
    mounts: tuple[Mount, ...] = (),
    command: tuple[str, ...] = (),
    secret_env: tuple[SecretEnv, ...] = (),
    ports: dict[str, int] | None = None,
    probes: dict[str, Any] | None = None,
    as_root: bool = False,
) -> dict[str, Any]:
    """A restricted container with /tmp as its only place to write besides its mounts.

    ``as_root``: it runs as root, which Pod Security allows at level baseline and not at restricted; all other
    restrictions stay.

    ``env`` gives way to the variables of ``options``; HOME, those that begin with SAFETY_ and those that are
    read from Secrets are the operator's own.
    """
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "env": _merge_env(env, secret_env, options),
        "resources": resources.limited(options.limit_ratio).manifest(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            **({"runAsNonRoot": False, "runAsUser": 0} if as_root else {"runAsNonRoot": True}),
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "args": [literal(part) for part in args],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}] + [_volume_mount(m) for m in mounts],  # noqa: S108
    }
    if command:
        container["command"] = [literal(part) for part in command]
    if ports:
        container["ports"] = [
            {"name": key, "containerPort": port, "protocol": "TCP"} for key, port in ports.items()
        ]
    return container | (probes or {})


def _merge_env(
    env: dict[str, str], secret_env: tuple[SecretEnv, ...], options: EffectiveOptions
) -> list[dict[str, Any]]:
    """One list without doubles: server-side apply refuses a name that occurs twice."""
    own = {key: literal(value) for key, value in (BASE_ENV | env).items()}
    theirs = {
        var.name: var.value
        for var in options.env
        if var.name != "HOME" and not var.name.startswith("SAFETY_")
    }
    merged: dict[str, dict[str, Any]] = {
        key: {"name": key, "value": value} for key, value in (own | theirs).items()
    }
    for var in secret_env:
        source = {"name": var.secret, "key": var.key} | ({"optional": True} if var.optional else {})
        merged[var.name] = {"name": var.name, "valueFrom": {"secretKeyRef": source}}
    return list(merged.values())


def _volume_mount(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = {"name": mount.name, "mountPath": mount.path}
    found |= {"subPath": mount.sub_path} if mount.sub_path else {}
    return found | {"readOnly": True} if mount.read_only else found


def build_pod_template(
    owner: Owner,
    role: str,
    container: dict[str, Any],
    *,
    options: EffectiveOptions,
    images: Images,
    mounts: tuple[Mount, ...] = (),
    egress: str = "",
    instance: str = "",
    annotations: dict[str, str] | None = None,
    restart_policy: str = "Always",
    subdomain: str = "",
    grace_seconds: int = 30,
    init_containers: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """Metadata and spec of a pod with one container, and what runs before it."""
    labels = dict(options.labels) | child_labels(owner, role)
    if egress:
        labels[LABEL_EGRESS] = egress
    if instance:
        labels[LABEL_INSTANCE] = instance
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": restart_policy,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": _security_context(options.security_context),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *_volumes(mounts)],
    }
    if subdomain:
        spec["subdomain"] = subdomain
    if init_containers:
        spec["initContainers"] = list(init_containers)
    metadata: dict[str, Any] = {"labels": labels}
    notes = dict(options.annotations) | (annotations or {})
    if notes:
        metadata["annotations"] = notes
    return {"metadata": metadata, "spec": spec | _passed_through(options, images)}


def _volumes(mounts: tuple[Mount, ...]) -> list[dict[str, Any]]:
    """Each volume once, at however many places it is mounted."""
    return list({mount.name: {"name": mount.name} | mount.source for mount in mounts}.values())


def _security_context(user: PodSecurity | None) -> dict[str, Any]:
    """Never root; user and groups where they are given, else the cluster's or the image's choice."""
    chosen = user.model_dump(by_alias=True, exclude_none=True) if user else {}
    return {
        "runAsNonRoot": True,
        **chosen,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _passed_through(options: EffectiveOptions, images: Images) -> dict[str, Any]:
    """The options that are copied as they are; absent ones are left out."""
    secrets = dict.fromkeys([*images.pull_secrets, *(ref.name for ref in options.image_pull_secrets)])
    found: dict[str, Any] = {
        "imagePullSecrets": [{"name": name} for name in secrets],
        "nodeSelector": dict(options.node_selector),
        "tolerations": list(options.tolerations),
        "affinity": options.affinity,
        "priorityClassName": options.priority_class_name,
        "runtimeClassName": options.runtime_class_name,
        "schedulerName": options.scheduler_name,
        "topologySpreadConstraints": list(options.topology_spread_constraints),
    }
    return {key: value for key, value in found.items() if value}
