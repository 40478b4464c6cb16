"""What specs refer to: each kind declares it once, and all else follows.

What has to be gathered and watched, what is missing, what the pods of a stage are to mount and know, and what
of it stands in a stage's hash.
"""

import hashlib
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from safety_operator.api.common import SecretKeyRef
from safety_operator.api.conditions import Reason
from safety_operator.children.metadata import canonical_hash
from safety_operator.children.pod import Mount, SecretEnv
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.state.keys import Key
from safety_operator.state.observed import Needs, Observed
from safety_operator.state.reading import value_at
from safety_records import uris

INTERNET_SCHEMES = ("hf://", "s3://", "gs://", "https://", "http://")
"""Schemes whose data are outside the cluster."""
SECRET, CONFIG_MAP, CLAIM = "Secret", "ConfigMap", "PersistentVolumeClaim"


@dataclass(frozen=True, slots=True)
class Reference:
    """Something outside itself that a spec names."""

    where: str
    """The field, such as ``spec.sources[0].uri``."""
    kind: str = ""
    """Kind of the object; one of the operator's is waited for. Empty for data outside the cluster."""
    name: str = ""
    key: str = ""
    """Key of a Secret or a ConfigMap."""
    uri: str = ""
    """Data that pods read: as the spec names them."""
    wanted: uris.Kind = ""
    """What the data have to be."""
    env: str = ""
    """Variable that holds the key of a Secret."""
    stages: tuple[str, ...] = ()
    """Stages that use it."""


def uri_reference(where: str, uri: str, *stages: str, wanted: uris.Kind = "") -> Reference:
    """Data by their URI; those in ConfigMaps and claims are objects."""
    scheme, _, rest = uri.partition("://")
    kind = {"configmap": CONFIG_MAP, "pvc": CLAIM}.get(scheme, "")
    name, _, key = rest.partition("/") if kind else ("", "", "")
    return Reference(where, kind, name, key, uri=uri, wanted=wanted, stages=stages)


def secret_reference(where: str, ref: SecretKeyRef | None, env: str, *stages: str) -> tuple[Reference, ...]:
    """A key of a Secret, as a variable of the stages' pods; empty where the spec names none."""
    return (Reference(where, SECRET, ref.name, ref.key, env=env, stages=stages),) if ref else ()


def needs_of(references: Iterable[Reference], namespace: str) -> Needs:
    """What has to be gathered and watched."""
    found = tuple(references)
    objects = {SECRET, CONFIG_MAP, CLAIM}

    def names(kind: str) -> frozenset[str]:
        return frozenset(item.name for item in found if item.kind == kind and item.name)

    return Needs(
        references=frozenset(
            Key(item.kind, namespace, item.name) for item in found if item.kind and item.kind not in objects
        ),
        secrets=names(SECRET),
        config_maps=names(CONFIG_MAP),
        claims=names(CLAIM),
    )


@dataclass(frozen=True, slots=True)
class Inputs:
    """What references ask of a stage's pod and put into its hash."""

    config_maps: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """References of images with data."""
    internet: bool = False
    outside: bool = False
    """Whether the operator cannot see when the data change."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """By URI: digest of the data, where the operator can see them."""
    secret_env: tuple[SecretEnv, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all that the operator can see of the data."""
        return canonical_hash(dict(self.digests))

    def shape(self, *, internet: bool = False, mounts: tuple[Mount, ...] = ()) -> JobShape:
        """A Job's shape that mounts the data and knows the keys; ``internet``: it asks somebody outside."""
        return JobShape(
            config_maps=self.config_maps,
            claims=self.claims,
            image_volumes=self.images,
            internet=self.internet or internet,
            secret_env=self.secret_env,
            mounts=mounts,
        )


def find_inputs(observed: Observed, references: Iterable[Reference]) -> Inputs:
    """What the references of a stage come to. Raises Blocked for the first that is missing."""
    found = tuple(references)
    digests = {item.uri: digest for item in found if (digest := check_reference(observed, item))}
    data = [item for item in found if item.uri]
    env = {item.env: SecretEnv(item.env, item.name, item.key) for item in found if item.env}
    return Inputs(
        config_maps=tuple(sorted({item.name for item in data if item.kind == CONFIG_MAP})),
        claims=tuple(sorted({item.name for item in data if item.kind == CLAIM})),
        images=tuple(sorted({uris.parse_oci(u.uri).reference for u in data if u.uri.startswith("oci://")})),
        internet=any(item.uri.startswith(INTERNET_SCHEMES) for item in data),
        outside=any(item.kind != CONFIG_MAP for item in data),
        digests=digests,
        secret_env=tuple(env.values()),
    )


def check_reference(observed: Observed, item: Reference) -> str:
    """The digest of the data, empty where the operator cannot see them. Raises Blocked if it is missing."""
    wrong = uris.find_problem(item.uri, item.wanted) if item.uri else None
    if wrong:
        raise Blocked(Problem(Reason.INVALID_SPEC, f"{item.where}: {item.uri}: {wrong}."))
    if item.kind == SECRET:
        _check_secret(observed, item)
    elif item.kind == CLAIM:
        check_claim(observed, item.name, item.where)
    elif item.kind == CONFIG_MAP:
        content = read_config_map(observed, item)
        return "sha256:" + hashlib.sha256(content).hexdigest() if item.uri else ""
    return ""


def check_claim(observed: Observed, name: str, where: str) -> None:
    """Raises Blocked where a claim does not exist; one that was not looked for does."""
    if observed.claims.get(name, observed.resource) is None:
        raise Blocked(
            Problem(
                Reason.CLAIM_MISSING,
                f"{where}: the PersistentVolumeClaim {name} does not exist in this namespace. "
                "Create it, or name another there.",
            )
        )


def _check_secret(observed: Observed, item: Reference) -> None:
    """A Secret exists and may be used. Keys are left to the kubelet to check."""
    where = f"{item.where}: the Secret {item.name}"
    if item.name in observed.withheld:
        raise Blocked(Problem(Reason.SECRET_WITHHELD, f"{where} {observed.withheld[item.name]}."))
    if observed.secrets.get(item.name) is None:
        message = f"{where} does not exist in this namespace. Create it with the key {item.key}."
        raise Blocked(Problem(Reason.SECRET_MISSING, message))


def read_config_map(observed: Observed, item: Reference) -> bytes:
    """Content of one key of a ConfigMap. Raises Blocked where there is none."""
    where, config_map = f"{item.where}: the ConfigMap {item.name}", observed.config_maps.get(item.name)
    if config_map is None:
        message = f"{where} does not exist in this namespace. Create it with the key {item.key}."
        raise Blocked(Problem(Reason.CONFIG_MAP_MISSING, message))
    text = value_at(config_map, "data", item.key)
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    binary = value_at(config_map, "binaryData", item.key)
    if isinstance(binary, str):
        try:
            return b64decode(binary)
        except ValueError:
            return binary.encode()
    keys = value_at(config_map, "data")
    there = ", ".join(sorted(map(str, keys if isinstance(keys, Mapping) else ()))[:10]) or "none"
    message = f"{where} has no key {item.key} (it has: {there}). Add it, or name another."
    raise Blocked(Problem(Reason.CONFIG_MAP_MISSING, message))
