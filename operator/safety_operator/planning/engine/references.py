"""What a spec refers to: names to gather, and what was found, or the Problem that it was not."""

import hashlib
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from safety_operator.api.common import EvaluatedModel, OwnedModel, SecretKeyRef
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.run import RunSpec
from safety_operator.api.through_rails import EvalTarget
from safety_operator.planning.engine.problems import Problem
from safety_operator.planning.engine.stages import Run
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.observed import Needs, Observed
from safety_operator.state.reading import (
    dig,
    digest_at,
    is_terminating,
    is_true,
    parse_result,
    recorded_stage,
)
from safety_records.result import StageResult
from safety_records.uris import Kind, find_problem

S = TypeVar("S", bound=RunSpec)

INTERNET_SCHEMES = ("hf://", "s3://", "gs://", "https://", "http://")
"""Schemes whose data lie outside the cluster."""


class KeyOf(NamedTuple):
    """A key of a ConfigMap."""

    name: str
    key: str


def parse_config_map(uri: str) -> KeyOf | None:
    """``configmap://name/key``, None for other schemes."""
    if not uri.startswith("configmap://"):
        return None
    name, _, key = uri.removeprefix("configmap://").partition("/")
    return KeyOf(name, key)


def parse_claim(uri: str) -> str:
    """Claim of ``pvc://claim/path``, empty for other schemes."""
    return uri.removeprefix("pvc://").partition("/")[0] if uri.startswith("pvc://") else ""


@dataclass(frozen=True, slots=True)
class Data:
    """What a set of data URIs asks of a pod and puts into a hash."""

    config_maps: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    internet: bool = False
    outside: bool = False
    """Whether the operator cannot see when the data change."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """By URI: digest of the data, where the operator can see them."""


def uri_needs(uris: Iterable[str]) -> Needs:
    """ConfigMaps and claims that URIs name."""
    found = list(uris)
    maps = (parse_config_map(uri) for uri in found)
    return Needs(
        config_maps=frozenset(item.name for item in maps if item),
        claims=frozenset(filter(None, map(parse_claim, found))),
    )


def join_needs(*parts: Needs) -> Needs:
    """All needs together."""
    return Needs(
        references=frozenset().union(*(part.references for part in parts)),
        secrets=frozenset().union(*(part.secrets for part in parts)),
        config_maps=frozenset().union(*(part.config_maps for part in parts)),
        claims=frozenset().union(*(part.claims for part in parts)),
    )


def model_needs(model: OwnedModel | EvaluatedModel, namespace: str) -> Needs:
    """What a model's source or reference needs."""
    if model.finetune_ref is not None:
        return Needs(references=frozenset({Key("SafetyFinetune", namespace, model.finetune_ref.name)}))
    if isinstance(model, EvalTarget) and model.guarded_deployment_ref is not None:
        name = model.guarded_deployment_ref.name
        return Needs(references=frozenset({Key("GuardedDeployment", namespace, name)}))
    if model.source is None:
        return Needs()
    ref = model.source.token_secret_ref
    secrets = frozenset({ref.name}) if ref else frozenset()
    return join_needs(uri_needs([model.source.uri]), Needs(secrets=secrets))


def common_needs(spec: RunSpec, default_claim: str) -> Needs:
    """What every kind needs: the claim for artifacts."""
    claim = spec.artifacts.claim_name or default_claim
    return Needs(claims=frozenset({claim}) if claim else frozenset())


def find_claim(observed: Observed, name: str, where: str) -> Problem | None:
    """The Problem that a claim does not exist; None if it does, or was not looked for."""
    if observed.claims.get(name, observed.resource) is not None:
        return None
    return Problem(
        Reason.CLAIM_MISSING,
        f"{where}: the PersistentVolumeClaim {name} does not exist in this namespace. "
        "Create it, or name another there.",
    )


def find_bad_uri(uri: str, where: str, wanted: Kind = "") -> Problem | None:
    """The Problem that a URI names nothing that could be read; None where the operator sees nothing wrong."""
    wrong = find_problem(uri, wanted)
    return Problem(Reason.INVALID_SPEC, f"{where}: {uri}: {wrong}.") if wrong else None


def find_secret(observed: Observed, ref: SecretKeyRef, where: str) -> Problem | None:
    """The Problem that a Secret does not exist or is withheld. Keys are left to the kubelet to check."""
    if ref.name in observed.withheld:
        return Problem(
            Reason.SECRET_WITHHELD, f"{where}: the Secret {ref.name} {observed.withheld[ref.name]}."
        )
    if observed.secrets.get(ref.name) is not None:
        return None
    return Problem(
        Reason.SECRET_MISSING,
        f"{where}: the Secret {ref.name} does not exist in this namespace. Create it with the key {ref.key}.",
    )


def find_missing(
    observed: Observed, uris: Mapping[str, str], secrets: Mapping[str, SecretKeyRef]
) -> Problem | None:
    """The Problem that something which a spec names is not there; None if all is.

    Parameters
    ----------
    observed
        What exists.
    uris
        By field: the URI that stands there.
    secrets
        By field: the Secret that is named there.
    """
    data = find_data(observed, uris)
    if isinstance(data, Problem):
        return data
    problems = (find_secret(observed, ref, where) for where, ref in secrets.items())
    return next((problem for problem in problems if problem is not None), None)


def find_data(observed: Observed, uris: Mapping[str, str]) -> Data | Problem:
    """What the data of a stage need.

    Parameters
    ----------
    observed
        What exists.
    uris
        By field, such as ``spec.sources[0].uri``: the URI that stands there.
    """
    digests: dict[str, str] = {}
    for where, uri in uris.items():
        wrong = find_bad_uri(uri, where)
        if wrong is not None:
            return wrong
        item = parse_config_map(uri)
        if item is not None:
            found = _read_config_map(observed, item, where)
            if isinstance(found, Problem):
                return found
            digests[uri] = found
        claim = parse_claim(uri)
        missing = find_claim(observed, claim, where) if claim else None
        if missing is not None:
            return missing
    needs = uri_needs(uris.values())
    return Data(
        config_maps=tuple(sorted(needs.config_maps)),
        claims=tuple(sorted(needs.claims)),
        internet=any(uri.startswith(INTERNET_SCHEMES) for uri in uris.values()),
        outside=any(parse_config_map(uri) is None for uri in uris.values()),
        digests=digests,
    )


def _read_config_map(observed: Observed, item: KeyOf, where: str) -> str | Problem:
    found = read_config_map_key(observed, item.name, item.key, where)
    if isinstance(found, Problem):
        return found
    return "sha256:" + hashlib.sha256(found).hexdigest()


def read_config_map_key(observed: Observed, name: str, key: str, where: str) -> bytes | Problem:
    """Content of one key of a ConfigMap."""
    config_map = observed.config_maps.get(name)
    if config_map is None:
        return Problem(
            Reason.CONFIG_MAP_MISSING,
            f"{where}: the ConfigMap {name} does not exist in this namespace. Create it with the key {key}.",
        )
    text = dig(config_map, "data", key)
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    binary = dig(config_map, "binaryData", key)
    if isinstance(binary, str):
        try:
            return b64decode(binary)
        except ValueError:
            return binary.encode()
    keys = dig(config_map, "data")
    there = ", ".join(sorted(map(str, keys if isinstance(keys, Mapping) else ()))[:10]) or "none"
    return Problem(
        Reason.CONFIG_MAP_MISSING,
        f"{where}: the ConfigMap {name} has no key {key} (it has: {there}). Add it, or name another.",
    )


@dataclass(frozen=True, slots=True)
class Model:
    """Weights in the artifact store."""

    path: str
    """Folder relative to the artifact root."""
    digest: str
    uri: str
    """What the spec calls it."""
    max_length: int | None = None


def wait_for(kind: str, name: str, detail: str = "") -> Problem:
    """Another resource is being waited for."""
    return Problem(
        Reason.WAITING_FOR_REFERENCE, f"waiting for {kind} {name}{detail}", stalled=False, reference=True
    )


def find_reference(run: Run[Any], kind: str, name: str) -> Manifest | Problem:
    """A resource of the four kinds, or that it is being waited for."""
    found = run.observed.references.get(Key(kind, run.owner.namespace, name))
    if found is None or is_terminating(found):
        return wait_for(kind, name, " to be created")
    return found


def find_finished(run: Run[Any], kind: str, name: str, condition: ConditionType) -> Manifest | Problem:
    """A resource with a condition that is True for its present generation."""
    found = find_reference(run, kind, name)
    if isinstance(found, Problem) or is_true(found, condition):
        return found
    state = str(dig(found, "status", "state", default=""))
    text = str(dig(found, "status", "progress", "text", default=""))
    detail = f" ({state}: {text})" if state in {"Failed", "Stalled", "Suspended"} and text else ""
    return wait_for(
        kind, name, detail or (f" ({state})" if state in {"Failed", "Stalled", "Suspended"} else "")
    )


def stage_record(resource: Manifest, name: str) -> StageResult | None:
    """The record of a resource's stage, None where it has none."""
    return parse_result(recorded_stage(resource, name).get("result"))


def split_artifact(uri: Any) -> tuple[str, str]:
    """Claim and path of ``pvc://claim/path``; empty strings for anything else."""
    text = uri if isinstance(uri, str) else ""
    claim = parse_claim(text)
    return claim, text.removeprefix(f"pvc://{claim}/") if claim else ""


def find_finetuned(run: Run[Any], name: str, where: str) -> Model | Problem:
    """The product of a SafetyFinetune."""
    found = find_finished(run, "SafetyFinetune", name, ConditionType.READY)
    if isinstance(found, Problem):
        return found
    claim, path = split_artifact(dig(found, "status", "output", "uri"))
    digest = digest_at(found, "status", "output", "digest")
    if not path or not digest:
        return wait_for("SafetyFinetune", name, " to name its output")
    other = same_claim(run, claim, f"{where}.finetuneRef", f"SafetyFinetune {name}")
    if other is not None:
        return other
    fetched = stage_record(found, "fetch")
    return Model(path, digest, f"safetyfinetune://{name}", fetched.max_length if fetched else None)


def same_claim(run: Run[Any], claim: str, where: str, what: str) -> Problem | None:
    """The Problem that a product lies on another claim than this resource's own artifacts."""
    if claim == run.claim:
        return None
    return Problem(
        Reason.INVALID_SPEC,
        f"{where}: {what} keeps its product on the claim {claim}, this resource uses {run.claim}. "
        f"Set spec.artifacts.claimName to {claim}.",
    )
