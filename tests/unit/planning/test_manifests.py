"""Every manifest that is planned: restricted, known to Kubernetes' own models, labelled and owned."""

import json

import pytest
from kubernetes import client
from tests.unit.planning.examples import make_eval, make_finetune
from tests.unit.planning.lives import LIVES, live
from tests.unit.planning.restricted import pod_template, violations

from safety_operator.state.labels import (
    ANNOTATION_HASH,
    ANNOTATION_SPEC,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_ROLE,
)
from safety_records.stages import parse_stage_spec

MODELS = {
    "Job": "V1Job",
    "Deployment": "V1Deployment",
    "Service": "V1Service",
    "Secret": "V1Secret",
    "ConfigMap": "V1ConfigMap",
    "NetworkPolicy": "V1NetworkPolicy",
}


def planned(kind):
    found = {}
    for world in live(kind):
        for child in world.plan().apply:
            manifest = dict(child.manifest)
            found[manifest["kind"], manifest["metadata"]["name"], json.dumps(manifest, sort_keys=True)] = (
                manifest
            )
    return list(found.values())


@pytest.fixture(scope="module", params=sorted(LIVES))
def manifests(request):
    return planned(request.param)


def test_every_pod_is_restricted(manifests):
    templates = [template for manifest in manifests if (template := pod_template(manifest))]
    assert templates
    assert {text for template in templates for text in violations(template)} == set()


def test_every_field_is_known_to_kubernetes(manifests):
    api = client.ApiClient(client.Configuration())
    for manifest in manifests:
        text = json.dumps(manifest)
        parsed = api.deserialize(text, MODELS[manifest["kind"]], "application/json")
        assert api.sanitize_for_serialization(parsed) == manifest


def test_every_child_is_labelled_and_owned(manifests):
    for manifest in manifests:
        meta = manifest["metadata"]
        assert {LABEL_MANAGED_BY, LABEL_KIND, LABEL_NAME, LABEL_ROLE} <= set(meta["labels"])
        (owner,) = meta["ownerReferences"]
        assert owner["controller"]
        assert owner["blockOwnerDeletion"]
        assert manifest["kind"] == "Secret" or meta["annotations"][ANNOTATION_HASH]
        template = pod_template(manifest)
        if template is not None:
            assert meta["labels"].items() <= template["metadata"]["labels"].items()


def test_every_specification_can_be_read_by_a_worker(manifests):
    maps = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "ConfigMap"}
    jobs = [manifest for manifest in manifests if manifest["kind"] == "Job"]
    assert jobs
    for job in jobs:
        found = maps[job["metadata"]["annotations"][ANNOTATION_SPEC]]
        assert found["immutable"]
        spec = parse_stage_spec(found["data"]["spec.json"])
        assert spec.inputs_hash == job["metadata"]["annotations"][ANNOTATION_HASH]
        assert spec.stage == job["metadata"]["labels"][LABEL_ROLE]
        (container,) = pod_template(job)["spec"]["containers"]
        assert container["args"] == ["run", "--spec", "/specification/spec.json"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "specification"]
        assert (mount["mountPath"], mount["readOnly"]) == ("/specification", True)


@pytest.mark.parametrize("name", ["x" * 40, "1st", "a.b-c"])
def test_names_are_valid_labels_whatever_the_owner_is_called(name):
    world = make_eval()
    world.resource["metadata"]["name"] = name
    world.settle()
    world.succeed("fetch")
    world.settle()
    for key in world.children:
        if key.kind in {"Service", "Job", "Deployment"}:
            assert len(key.name) <= 63
            assert key.name[0].isalpha()
            assert "." not in key.name


def test_dollar_signs_reach_the_worker_as_they_are():
    phrases = ["costs $(HOME) or $$5 or $(X"]
    world = make_eval(
        judges=[{"name": "refusals", "type": "refusal-phrases", "phrases": phrases}], security=None
    )
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    assert parse_stage_spec(world.specification("judge")).judges[0].phrases == tuple(phrases)


def test_own_variables_win_where_they_may_and_never_occur_twice():
    env = [
        {"name": "HOME", "value": "/x"},
        {"name": "HF_HUB_OFFLINE", "value": "0"},
        {"name": "SAFETY_STAGE_SPEC", "value": "{}"},
    ]
    world = make_finetune(pod={"env": env})
    world.settle()
    found = world.job("fetch")["spec"]["template"]["spec"]["containers"][0]["env"]
    values = {item["name"]: item["value"] for item in found}
    assert len(found) == len(values)
    assert values["HOME"] == "/tmp/home"
    assert values["HF_HUB_OFFLINE"] == "0"
    assert "SAFETY_STAGE_SPEC" not in values


def test_only_pods_that_fetch_from_outside_may_reach_the_internet():
    for uri, reach in (
        ("hf://org/model", "internet"),
        ("package://module/file.gguf", "namespace"),
        ("pvc://safety-artifacts/m", "namespace"),
    ):
        world = make_finetune(model={"source": {"uri": uri}})
        world.settle()
        labels = world.job("fetch")["spec"]["template"]["metadata"]["labels"]
        assert labels["modelsafety.dev/egress"] == reach


def test_queue_label_goes_on_the_job():
    world = make_eval(queueName="evals")
    world.settle()
    assert world.job("fetch")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "evals"
