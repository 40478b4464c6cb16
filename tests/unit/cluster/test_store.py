"""Caches and the index of references: who is woken by what."""

import json
from typing import Any

from tests.unit.cluster.objects import KEY, ended, make_child, make_pod, make_resource

from safety_operator.cluster.ray_jobs import count_ends
from safety_operator.cluster.references import ReferenceIndex
from safety_operator.cluster.store import Store
from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE
from safety_operator.state.observed import Needs

OTHER = Key("SafetyFinetune", "team", "hardened")


class Woken(list[Key]):
    def take(self) -> list[Key]:
        taken = list(self)
        self.clear()
        return taken


def make_store(needs: Needs | None = None) -> tuple[Store, Woken]:
    woken = Woken()
    store = Store(lambda _: needs or Needs(), woken.append)
    store.put_resource(make_resource())
    store.needs(KEY)
    return store, woken


def test_a_child_wakes_its_owner():
    store, woken = make_store()
    store.object_changed("Job", None, make_child("job"))
    assert woken.take() == [KEY]
    assert ObjectKey("Job", "job") in store.children[KEY]
    store.object_changed("Job", make_child("job"), None)
    assert woken.take() == [KEY]
    assert KEY not in store.children


def test_the_echo_of_our_own_write_wakes_nobody():
    store, woken = make_store()
    store.learn_child(KEY, "Job", make_child("job", version=7))
    store.object_changed("Job", None, make_child("job", version=7))
    assert woken.take() == []
    store.object_changed("Job", make_child("job", version=7), make_child("job", version=8))
    assert woken.take() == [KEY]


def test_an_old_event_does_not_undo_what_we_know():
    store, _ = make_store()
    store.learn_child(KEY, "Job", make_child("job", version=7))
    store.object_changed("Job", None, make_child("job", version=6))
    assert store.children[KEY][ObjectKey("Job", "job")]["metadata"]["resourceVersion"] == "7"


def test_the_deletion_of_an_earlier_object_does_not_drop_its_successor():
    store, _ = make_store()
    old = make_child("job")
    new = make_child("job", version=9)
    new["metadata"]["uid"] = "another"
    store.learn_child(KEY, "Job", new)
    store.object_changed("Job", old, None)
    assert ObjectKey("Job", "job") in store.children[KEY]


def test_an_object_that_loses_its_labels_wakes_its_owner():
    store, woken = make_store()
    store.object_changed("Job", None, make_child("job"))
    woken.take()
    stripped = make_child("job", version=2)
    stripped["metadata"]["labels"] = {}
    store.object_changed("Job", make_child("job"), stripped)
    assert woken.take() == [KEY]
    assert KEY not in store.children


def test_objects_of_others_wake_nobody():
    store, woken = make_store()
    foreign: dict[str, Any] = {
        "metadata": {"namespace": "team", "name": "x", "uid": "u", "resourceVersion": "1"}
    }
    store.object_changed("Pod", None, foreign)
    assert woken.take() == []
    assert not store.pods


def test_pods_are_kept_apart_from_children():
    store, woken = make_store()
    store.object_changed("Pod", None, make_pod("pod", "job"))
    assert woken.take() == [KEY]
    assert list(store.pods[KEY]) == ["pod"]
    assert KEY not in store.children


def test_a_referenced_resource_wakes_who_waits_for_it():
    store, woken = make_store(Needs(references=frozenset({OTHER})))
    store.put_resource(make_resource("hardened", kind="SafetyFinetune"))
    assert woken.take() == [KEY]
    assert not store.put_resource(make_resource("hardened", kind="SafetyFinetune"))
    assert woken.take() == []
    store.drop_resource(OTHER, "uid-hardened")
    assert woken.take() == [KEY]


def test_a_referenced_config_map_wakes_who_waits_for_it():
    store, woken = make_store(Needs(config_maps=frozenset({"prompts"})))
    prompts = {"metadata": {"namespace": "team", "name": "prompts", "uid": "u", "resourceVersion": "1"}}
    store.object_changed("ConfigMap", None, prompts)
    assert woken.take() == [KEY]
    assert Key("ConfigMap", "team", "prompts") in store.referable


def test_the_deletion_of_an_earlier_resource_of_the_name_is_ignored():
    store, _ = make_store()
    assert not store.drop_resource(KEY, "uid-of-an-earlier-one")
    assert store.drop_resource(KEY, "uid-base")


def test_needs_are_derived_once_a_generation():
    calls = []
    store = Store(lambda r: calls.append(r) or Needs(), lambda _: None)
    store.put_resource(make_resource())
    store.needs(KEY)
    store.put_resource(make_resource(version=2))
    store.needs(KEY)
    assert len(calls) == 1
    store.put_resource(make_resource(version=3, metadata={"generation": 2}))
    store.needs(KEY)
    assert len(calls) == 2


def test_the_index_forgets_what_is_no_longer_referred_to():
    index = ReferenceIndex()
    index.put(KEY, frozenset({OTHER}))
    index.put(KEY, frozenset({Key("Secret", "team", "s")}))
    assert index.referers(OTHER) == frozenset()
    assert index.referers(Key("Secret", "team", "s")) == {KEY}
    index.put(KEY, frozenset())
    assert index.referers(Key("Secret", "team", "s")) == frozenset()


def test_an_event_that_comes_before_the_answer_to_our_write_wakes_nobody():
    store, woken = make_store()
    store.writing[KEY, ObjectKey("Job", "job")] = set()
    store.object_changed("Job", None, make_child("job"))
    assert woken.take() == []
    assert ObjectKey("Job", "job") in store.children[KEY]


def test_a_deletion_that_comes_before_the_answer_to_our_write_is_not_undone():
    store, _ = make_store()
    store.writing[KEY, ObjectKey("Job", "job")] = set()
    store.object_changed("Job", None, make_child("job"))
    store.object_changed("Job", make_child("job"), None)
    store.learn_child(KEY, "Job", make_child("job"))
    assert KEY not in store.children
    store.writing[KEY] = set()
    store.drop_resource(KEY, "uid-base")
    assert not store.put_resource(make_resource(version=2, status={"state": "Running"}))
    assert KEY not in store.resources
    assert store.put_resource(make_resource(version=3, metadata={"uid": "another"}))


def test_nothing_is_kept_of_a_resource_that_is_gone():
    store, _ = make_store()
    store.learn_child(KEY, "Secret", make_child("key"))
    store.drop_resource(KEY, "uid-base")
    store.learn_child(KEY, "Secret", make_child("key"))
    assert not store.children
    assert store.references.referers(OTHER) == frozenset()


def test_references_are_followed_over_resources_that_exist_and_are_not_being_deleted():
    wanted = {"a": "b", "b": "a"}
    needs = lambda r: Needs(references=frozenset({Key("SafetyEval", "team", wanted[r["metadata"]["name"]])}))  # noqa: E731
    store = Store(needs, lambda _: None)
    a, b = (Key("SafetyEval", "team", name) for name in "ab")
    store.put_resource(make_resource("a"))
    assert store.targets(a) == {b}
    assert store.targets(b) == frozenset()
    store.put_resource(make_resource("b", version=2, metadata={"deletionTimestamp": "2026-11-21T12:00:00Z"}))
    assert store.targets(b) == frozenset()


def test_short_texts_of_all_resources_are_the_same_objects():
    store, _ = make_store()
    for name in ("first", "second"):
        # As Kopf parses them: each by itself.
        store.put_resource(json.loads(json.dumps(make_resource() | {"metadata": metadata(name)})))
    first, second = (r for r in store.resources.values() if r["metadata"]["name"] in {"first", "second"})
    assert first["metadata"]["labels"]["app"] is second["metadata"]["labels"]["app"]
    assert next(iter(first)) is next(iter(second))


def metadata(name: str) -> dict[str, Any]:
    return {**make_resource()["metadata"], "name": name, "labels": {"app": "model-server"}}


def test_a_pod_that_was_killed_for_its_memory_is_remembered_as_long_as_its_ray_job():
    store, _ = make_store()
    pod = make_pod("worker", "", **ended(137, "", "OOMKilled"))
    pod["metadata"]["labels"] |= {"ray.io/cluster": "train-x7", LABEL_INSTANCE: "train"}
    store.object_changed("RayJob", None, make_child("train"))
    store.object_changed("Pod", None, pod)
    store.object_changed("Pod", pod, None)
    assert store.out_of_memory[KEY, "train"]["metadata"]["name"] == "worker"
    store.object_changed("RayJob", make_child("train"), None)
    assert store.out_of_memory == {}


def make_ray_pod(name: str, **status: Any) -> dict[str, Any]:
    pod = make_pod(name, "", **status)
    pod["metadata"] |= {
        "uid": name,
        "labels": pod["metadata"]["labels"]
        | {"ray.io/cluster": "train-x7", "ray.io/node-type": "head", LABEL_INSTANCE: "train"},
    }
    return pod


def test_heads_that_kuberay_deletes_and_makes_anew_are_counted_while_their_ray_job_is_there():
    store, _ = make_store()
    store.object_changed("RayJob", None, make_child("train"))
    for name in ("one", "two"):
        pod = make_ray_pod(name, **ended(1, "no ray here"))
        store.object_changed("Pod", None, pod)
        store.object_changed("Pod", pod, pod)
        store.object_changed("Pod", pod, None)
    found = count_ends(store.ray_ends[KEY, "train"].values())
    assert found is not None
    assert (found.heads, found.others, found.last.pod, found.last.message) == (2, 0, "two", "no ray here")
    store.object_changed("RayJob", make_child("train"), None)
    assert store.ray_ends == {}


def test_pods_of_kuberay_that_somebody_ended_are_not_counted():
    store, _ = make_store()
    deleted = make_ray_pod("deleted", **ended(143))
    deleted["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    evicted = make_ray_pod("evicted", **ended(137) | {"reason": "Evicted"})
    preempted = make_ray_pod("preempted", **ended(143), conditions=[{"type": "DisruptionTarget"}])
    job = make_pod("job", "train", **ended(1))
    for pod in (deleted, evicted, preempted, job, make_ray_pod("well", **ended(0))):
        store.object_changed("Pod", None, pod)
    assert store.ray_ends == {}


def test_only_kills_for_memory_in_pods_of_kuberay_are_remembered():
    store, _ = make_store()
    ray = make_pod("worker", "", **ended(1))
    ray["metadata"]["labels"] |= {"ray.io/cluster": "train-x7", LABEL_INSTANCE: "train"}
    for pod in (ray, make_pod("other", "job", **ended(137, "", "OOMKilled"))):
        store.object_changed("Pod", None, pod)
    assert store.out_of_memory == {}
