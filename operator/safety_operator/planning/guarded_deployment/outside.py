"""The half of a proof that comes from another namespace: policies may close a model to its neighbours only.

A proof is over when both of its pods are. Where the operator has no other namespace, or no right in it, the
proof says that it was tried from the model's own only, and why.
"""

from dataclasses import dataclass
from datetime import timedelta

from safety_operator.children.probe_job import build_probe_job, probe_name
from safety_operator.children.runtimes.runtime import SERVED_NAME
from safety_operator.planning.engine.conditions import shorten
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.state.keys import Manifest
from safety_operator.state.observed import OutsideJob, OutsideRefusal
from safety_operator.state.reading import condition_of, is_true, parse_time, value_at
from safety_records.result import OutsideProbe
from safety_records.stage_base import ServedModel
from safety_records.stages import ProbeStage

DETAIL = 200
"""Characters of what is kept of it."""
PATIENCE = timedelta(seconds=60)
"""How long a pod may say that it cannot start before nobody waits for it any more."""
SCRATCH = "file:///tmp/probe"
CHART_VALUE = "proof.probeNamespace of the operator's chart"


@dataclass(frozen=True, slots=True)
class OutsideView:
    """What is known of the probe, and what is to be done for it."""

    seen: OutsideProbe | None = None
    """None: it is not over yet."""
    text: str = ""
    """For people: what is being waited for."""
    wanted: Manifest | None = None
    """The Job that should exist."""
    mine: str = ""
    """Its name while it is not over."""
    over: tuple[Manifest, ...] = ()
    """Jobs that nobody needs any more."""


def follow_outside(parts: Parts, inputs_hash: str) -> OutsideView:
    """Where the probe is that belongs to a proof with these inputs."""
    run = parts.run
    namespace, outside = run.settings.probe_namespace, run.observed.outside
    if parts.others is not None:
        return OutsideView(OutsideProbe(detail="a server of others is asked from one namespace only"))
    if not namespace or namespace == run.owner.namespace:
        return OutsideView(OutsideProbe(detail=_why_not(namespace)))
    name = probe_name(run.owner, inputs_hash)
    jobs = tuple(item.job for item in outside.jobs.values())
    if (refusal := outside.refusals.get(name)) is not None:
        return OutsideView(_refused(namespace, refusal), over=jobs)
    found = outside.jobs.get(name)
    if found is None:
        return OutsideView(text=_waits(namespace), wanted=_build(parts, namespace, inputs_hash), mine=name)
    seen = _seen(parts, namespace, found, inputs_hash)
    if seen is None:
        others = tuple(job for job in jobs if job is not found.job)
        return OutsideView(text=_waits(namespace), over=others, mine=name)
    return OutsideView(seen, over=jobs)


def _why_not(namespace: str) -> str:
    if not namespace:
        return f"the operator has no other namespace to try it from ({CHART_VALUE})"
    return f"{namespace} is the operator's namespace for the other try, too ({CHART_VALUE})"


def _waits(namespace: str) -> str:
    return f"waiting for the bypass probe from namespace {namespace}"


def _refused(namespace: str, refusal: OutsideRefusal) -> OutsideProbe:
    """Without a right there it is not tried, which the condition says; anything else is to be fixed."""
    if refusal.no_right:
        words = f"the operator may not start Jobs in namespace {namespace} ({CHART_VALUE})"
        return OutsideProbe(detail=shorten(words, DETAIL))
    return _unknown(namespace, refusal.message)


def _unknown(namespace: str, words: str) -> OutsideProbe:
    return OutsideProbe(namespace=namespace, detail=shorten(words.strip().rstrip("."), DETAIL))


def _seen(parts: Parts, namespace: str, found: OutsideJob, inputs_hash: str) -> OutsideProbe | None:
    """What came of a Job; None while it is at work."""
    result, failure = found.result, found.failure
    if result is not None and result.inputs_hash == inputs_hash:
        if result.outside is not None:
            return result.outside.model_copy(update={"namespace": namespace})
        if result.failure is not None and is_true(found.job, "Failed"):
            return _unknown(namespace, result.failure.message)
    if is_true(found.job, "Complete"):
        return _unknown(namespace, "its pod left no result")
    words = f"{failure.reason}: {failure.message}" if failure else ""
    if is_true(found.job, "Failed"):
        return _unknown(
            namespace, words or str(condition_of(found.job, "Failed").get("message", "it failed"))
        )
    made = parse_time(value_at(found.job, "metadata", "creationTimestamp"))
    waits_in_vain = failure is not None and failure.exit_code is None and not failure.ended
    if waits_in_vain and made is not None and made + PATIENCE <= parts.run.now:
        return _unknown(namespace, words)
    return None


def _build(parts: Parts, namespace: str, inputs_hash: str) -> Manifest:
    run = parts.run
    spec = ProbeStage(
        **(run.base() | {"root": SCRATCH, "inputs_hash": inputs_hash, "out": "probe"}),
        guarded_url=parts.proof_url,
        direct=ServedModel(base_url=parts.direct_url, model=SERVED_NAME),
        pods_url=parts.pods_url,
        from_namespace=namespace,
    )
    return build_probe_job(run.owner, namespace, spec, images=run.settings.images, pods=run.settings.pods)
