"""From a key to an Observed: mostly from the caches, by requests only for what is not watched."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

from safety_operator.cluster.client import JsonObject
from safety_operator.cluster.event_reader import find_waits, with_words
from safety_operator.cluster.lookups import Lookups
from safety_operator.cluster.outside import OutsideProbes
from safety_operator.cluster.ownership import is_owned
from safety_operator.cluster.pods import (
    child_of,
    failure_of,
    is_finished,
    is_of_run,
    is_running,
    newest_of,
    record_of,
    refused_pods,
    unready,
)
from safety_operator.cluster.ray_jobs import count_ends, is_headless, record_in_words
from safety_operator.cluster.sidecars import held_of, worker_end
from safety_operator.cluster.store import Store
from safety_operator.cluster.stuck import find_stuck
from safety_operator.planning.engine.cycles import find_cycle
from safety_operator.state.keys import RUN_KINDS, Key, ObjectKey
from safety_operator.state.observed import EndedPods, Needs, Observed, PodFailure
from safety_operator.state.reading import is_terminating
from safety_records.progress import Progress
from safety_records.result import StageResult

T = TypeVar("T")


async def gather(
    key: Key, store: Store, lookups: Lookups, outside: OutsideProbes, needs: Needs
) -> Observed | None:
    """Collect all that the planner may know; None when the resource is gone."""
    resource = store.resources.get(key)
    if resource is None:
        return None
    uid = resource["metadata"]["uid"]
    await _check_generated(key, store, lookups)
    children = {k: c for k, c in store.children.get(key, {}).items() if is_owned(c, uid)}
    pods = _pods_by_child(store, key, children)
    secrets = await _each(needs.secrets, partial(lookups.secret, key.namespace))
    config_maps = await _each(
        needs.config_maps,
        lambda name: lookups.config_map(key.namespace, name, store.find("ConfigMap", key.namespace, name)),
    )
    progress = await _progress(key, lookups, pods)
    results = {name: result for name, mine in pods.items() if (result := record_of(mine))}
    results |= _told_by_ray(children)
    claim = partial(store.find, "PersistentVolumeClaim", key.namespace)
    answers = await lookups.events.ask(key, find_stuck(children, pods, claim))
    return Observed(
        resource=resource,
        children=children,
        results=results,
        progress=progress,
        failures=with_words(_failures(children, pods) | _full_memory(key, store, children), answers.found),
        waits=find_waits(answers.found),
        look_again=answers.again,
        headless=frozenset(
            key.name for key, c in children.items() if key.kind == "RayJob" and is_headless(c, pods[key.name])
        ),
        ended=_ended_pods(key, store, children),
        optional=store.optional,
        held={name: held for (kind, name) in children if kind == "Job" and (held := held_of(pods[name]))},
        leaving=_leaving(store, key),
        with_pods=frozenset(
            name
            for name, mine in pods.items()
            if any(not is_of_run(pod) and not is_finished(pod) for pod in mine)
        ),
        draining=frozenset(
            name
            for name, mine in pods.items()
            if any(not is_of_run(pod) and not is_finished(pod) and is_terminating(pod) for pod in mine)
        ),
        references={ref: store.resources.get(ref) for ref in needs.references},
        secrets={name: secret.version for name, secret in secrets.items()},
        withheld={name: secret.withheld for name, secret in secrets.items() if secret.withheld},
        config_maps=config_maps,
        outside=await outside.look(key, resource, children),
        cycle=find_cycle(key, store.targets),
        claims={name: claim(name) for name in needs.claims},
    )


def _told_by_ray(children: dict[ObjectKey, JsonObject]) -> dict[str, StageResult]:
    """Records of RayJobs whose pods KubeRay took away."""
    found = ((key.name, record_in_words(child)) for key, child in children.items() if key.kind == "RayJob")
    return {name: result for name, result in found if result is not None}


async def _check_generated(key: Key, store: Store, lookups: Lookups) -> None:
    """Forget generated Secrets that somebody deleted: Secrets are not watched, so no event says so."""
    for name in [child for child in store.children.get(key, {}) if child.kind == "Secret"]:
        if (await lookups.secret(key.namespace, name.name)).version is None:
            store.forget_child(key, name)


def _pods_by_child(
    store: Store, key: Key, children: dict[ObjectKey, JsonObject]
) -> defaultdict[str, list[JsonObject]]:
    """Group pods by the name of their Job or Deployment. Pods of an earlier Job of that name do not count."""
    grouped: defaultdict[str, list[JsonObject]] = defaultdict(list)
    for pod in store.pods.get(key, {}).values():
        name = child_of(pod)
        job = children.get(ObjectKey("Job", name))
        if name and (job is None or is_owned(pod, job["metadata"]["uid"])):
            grouped[name].append(pod)
    return grouped


def _leaving(store: Store, key: Key) -> dict[str, str]:
    """Pods of Jobs that somebody deleted, by the Job's name: they have a minute to end, or were orphaned.

    Pods that are older than the resource worked for an earlier one of its name, in another folder. A Job that
    is there, though it is that earlier one's, is not gone: it is told as an object in the way.
    """
    born = str(store.resources[key]["metadata"].get("creationTimestamp", ""))
    known = store.children.get(key, {})
    jobs = {child["metadata"]["uid"] for (kind, _), child in known.items() if kind == "Job"}
    return {
        child_of(pod): name
        for name, pod in store.pods.get(key, {}).items()
        if is_of_run(pod)
        and str(pod["metadata"].get("creationTimestamp", "")) >= born
        and not is_finished(pod)
        and worker_end(pod) is None
        and not any(is_owned(pod, uid) for uid in jobs)
        and ObjectKey("RayJob", child_of(pod)) not in known
    }


def _failures(
    children: dict[ObjectKey, JsonObject], pods: defaultdict[str, list[JsonObject]]
) -> dict[str, PodFailure]:
    """Last words of Jobs' pods, and of those pods of Deployments' newest templates that are not ready."""
    found: dict[str, PodFailure] = {}
    for (kind, name), child in children.items():
        if kind in RUN_KINDS:
            failure = failure_of(pods[name])
        elif kind == "Deployment":
            failure = failure_of(unready(newest_of(child, pods[name]))) or refused_pods(child)
        else:
            continue
        if failure is not None:
            found[name] = failure
    return found


def _full_memory(key: Key, store: Store, children: dict[ObjectKey, JsonObject]) -> dict[str, PodFailure]:
    """Pods of RayJobs that were killed for their memory, also those that KubeRay has deleted since."""
    names = [name for kind, name in children if kind == "RayJob" and (key, name) in store.out_of_memory]
    found = {name: failure_of([store.out_of_memory[key, name]]) for name in names}
    return {name: failure for name, failure in found.items() if failure is not None}


def _ended_pods(key: Key, store: Store, children: dict[ObjectKey, JsonObject]) -> dict[str, EndedPods]:
    """Pods of RayJobs that KubeRay made anew, though it deleted them."""
    names = [name for kind, name in children if kind == "RayJob" and (key, name) in store.ray_ends]
    return {name: found for name in names if (found := count_ends(store.ray_ends[key, name].values()))}


async def _each(names: Iterable[str], look: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """What several looks give, at the same time."""
    ordered = sorted(names)
    return dict(zip(ordered, await asyncio.gather(*map(look, ordered)), strict=True))


async def _progress(
    key: Key, lookups: Lookups, pods: defaultdict[str, list[JsonObject]]
) -> dict[str, Progress]:
    """Read the progress of each Job's first running pod; Deployments' pods print none."""
    running = {
        name: min(working, key=lambda p: str(p["metadata"]["name"]))
        for name, mine in pods.items()
        if (
            working := [
                p
                for p in mine
                if is_running(p) and not worker_end(p) and "pod-template-hash" not in p["metadata"]["labels"]
            ]
        )
    }
    lines = await asyncio.gather(*(lookups.progress(key, pod) for pod in running.values()))
    return {name: line for name, line in zip(running, lines, strict=True) if line is not None}
