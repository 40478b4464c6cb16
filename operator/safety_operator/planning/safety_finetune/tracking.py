"""What ``spec.tracking`` asks of the pods that train: credentials, a way to the trackers, and their settings.

A training does not depend on its trackers. So a Secret is asked for before anything has begun, where a person
sees the mistake at once; later its variable is optional, and left out where the Secret may not be used.
"""

import re
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from safety_operator.api.common import SecretKeyRef
from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_operator.children.network_policy import NAMESPACE, Reach
from safety_operator.children.pod import SecretEnv
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.engine.problems import attempt
from safety_operator.planning.engine.references import Reference, check_reference, secret_reference
from safety_operator.planning.engine.stages import Run
from safety_records.base import shared
from safety_records.result import Training
from safety_records.tracking import (
    IN_CLUSTER,
    MlflowSettings,
    MlflowTarget,
    TrackingTargets,
    WandbSettings,
    WandbTarget,
)


class Credential(NamedTuple):
    """A key of a Secret that a tracker wants."""

    where: str
    env: str
    ref: SecretKeyRef | None


def _credentials(spec: SafetyFinetuneSpec) -> tuple[Credential, ...]:
    tracking = spec.tracking
    mlflow, wandb = (tracking.mlflow, tracking.wandb) if tracking else (None, None)
    token, password = (mlflow.token_secret_ref, mlflow.password_secret_ref) if mlflow else (None, None)
    key = wandb.api_key_secret_ref if wandb else None
    return (
        Credential("spec.tracking.mlflow.tokenSecretRef", "SAFETY_MLFLOW_TOKEN", token),
        Credential("spec.tracking.mlflow.passwordSecretRef", "SAFETY_MLFLOW_PASSWORD", password),
        Credential("spec.tracking.wandb.apiKeySecretRef", "SAFETY_WANDB_API_KEY", key),
    )


def tracking_references(spec: SafetyFinetuneSpec) -> tuple[Reference, ...]:
    """The Secrets, for no stage: none of them is lost for a Secret."""
    return tuple(item for where, env, ref in _credentials(spec) for item in secret_reference(where, ref, env))


def find_targets(spec: SafetyFinetuneSpec) -> TrackingTargets | None:
    """What the trainer is told; None: it sends nothing."""
    tracking = spec.tracking
    if tracking is None:
        return None
    token, password, key = (env if ref else "" for _, env, ref in _credentials(spec))
    mlflow, wandb = tracking.mlflow, tracking.wandb
    return TrackingTargets(
        mlflow=MlflowTarget(**shared(mlflow, MlflowSettings), token_env=token, password_env=password)
        if mlflow
        else None,
        wandb=WandbTarget(**shared(wandb, WandbSettings), api_key_env=key) if wandb else None,
        tensorboard=tracking.tensorboard is not None,
    )


def with_tracking(shape: JobShape, run: Run[SafetyFinetuneSpec]) -> JobShape:
    """The shape of a training's pods that may ask its trackers."""
    secrets = tuple(
        SecretEnv(env, ref.name, ref.key, optional=True)
        for where, env, ref in _credentials(run.spec)
        if ref is not None and _may_be_used(run, *secret_reference(where, ref, env))
    )
    if run.spec.tracking is None:
        return shape
    return replace(shape, secret_env=(*shape.secret_env, *secrets), trackers=_reach(run))


def _may_be_used(run: Run[SafetyFinetuneSpec], item: Reference) -> bool:
    return attempt(check_reference, run.observed, item).problem is None


def _reach(run: Run[SafetyFinetuneSpec]) -> Reach:
    """Other namespaces, or everything where a tracker is outside the cluster."""
    tracking, own = run.spec.tracking, run.owner.namespace
    assert tracking is not None
    urls = [tracking.mlflow.uri] if tracking.mlflow else []
    urls += [tracking.wandb.base_url] if tracking.wandb else []
    found = {_namespace_of(url, own) for url in urls}
    if "" in found:
        return Reach("internet")
    others = tuple(sorted(found - {own}))
    return Reach("trackers", others) if others else NAMESPACE


def _namespace_of(url: str, own: str) -> str:
    """Namespace of a Service by its address; empty: it is outside, as far as the address tells."""
    host = (urlsplit(url).hostname or "").split(".")
    if not re.match(IN_CLUSTER, url):
        return ""
    return own if len(host) == 1 else host[1]


def shown_training(training: Training, claim: str) -> Training:
    """As the status has it: TensorBoard's folder with its claim."""
    folder = f"pvc://{claim}/"
    shown = tuple(
        item.model_copy(update={"url": f"{folder}{item.url}"})
        if item.tracker == "tensorboard" and item.url and not item.url.startswith("pvc://")
        else item
        for item in training.tracking
    )
    return training.model_copy(update={"tracking": shown})


def tracking_warnings(training: Training) -> tuple[str, ...]:
    """What trackers lack, and why."""
    return tuple(
        f"tracking.{item.tracker}: {item.problem}. Training does not depend on it."
        for item in training.tracking
        if item.problem
    )
