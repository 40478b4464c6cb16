"""Models of a spec: the chat template that a user gives, and parsers of the engine."""

import json

import pytest
from tests.unit.planning.examples import finished_blend, make_blend, make_eval, make_finetune, make_guarded

from safety_operator.api.conditions import Reason
from safety_operator.children.worker_job import JobShape, with_models
from safety_operator.state.labels import ANNOTATION_HASH
from safety_records.in_place import image_folder, in_place_path
from safety_records.result import ChatTemplateKind

TEMPLATE = {"configMapKeyRef": {"name": "templates", "key": "short.jinja"}}
SOURCE = {"uri": "hf://org/model@main"}
MODEL = {"source": SOURCE, "chatTemplate": TEMPLATE}
GUARD = {"name": "wild", "type": "wildguard", "model": MODEL}


def given(make, text="{{ messages[0].content }}", **spec):
    """A world whose model has a template of its own, and the ConfigMap with it."""
    world = make(**spec)
    world.config_maps = {**world.config_maps, "templates": {"data": {"short.jinja": text}}}
    return world


@pytest.mark.parametrize(
    ("make", "spec", "stage"),
    [
        (make_eval, {"model": MODEL}, "fetch"),
        (make_finetune, {"model": MODEL}, "fetch"),
        (make_guarded, {"model": MODEL}, "fetch"),
        (make_blend, {"onPolicy": {"model": MODEL}}, "fetch"),
        (make_eval, {"judges": [GUARD]}, "fetch-judge-0"),
    ],
)
def test_a_template_is_mounted_where_the_model_is_fetched_and_decides_its_name(make, spec, stage):
    world = given(make, **spec)
    world.settle()
    job = world.job(stage)
    assert json.loads(world.specification(stage))["chatTemplate"] == "configmap://templates/short.jinja"
    mounts = [item["mountPath"] for item in job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]]
    assert "/inputs/configmap/templates" in mounts
    other = given(make, "another {{ messages }}", **spec)
    other.settle()
    hashes = {one.job(stage)["metadata"]["annotations"][ANNOTATION_HASH] for one in (world, other)}
    assert len(hashes) == 2


def test_a_model_without_a_template_of_yours_is_fetched_as_before():
    world = make_eval(model={"source": SOURCE})
    world.settle()
    assert "chatTemplate" not in json.loads(world.specification("fetch"))


@pytest.mark.parametrize(
    ("config_map", "words"),
    [
        (None, "does not exist"),
        ({"data": {"other": "x"}}, "no key short.jinja"),
        ({"data": {"short.jinja": " \n"}}, "0 bytes"),
        ({"data": {"short.jinja": "x" * 131_073}}, "131073 bytes"),
    ],
)
def test_a_template_that_is_missing_empty_or_too_long_stalls_before_anything_is_fetched(config_map, words):
    world = make_eval(model=MODEL)
    if config_map:
        world.config_maps = {**world.config_maps, "templates": config_map}
    status = world.settle().status
    ready = next(item for item in status["conditions"] if item["type"] == "Ready")
    assert ready["reason"] in {Reason.CONFIG_MAP_MISSING, Reason.INVALID_SPEC}
    assert words in ready["message"]
    assert "spec.model.chatTemplate.configMapKeyRef" in ready["message"]
    assert not [key for key in world.children if key.kind == "Job"]


@pytest.mark.parametrize(
    ("make", "where", "stages"),
    [(make_finetune, "spec.model", ["fetch"]), (make_blend, "spec.onPolicy.model", ["collect", "fetch"])],
)
def test_a_model_that_cannot_be_trained_through_its_template_stalls_before_a_gpu_is_asked_for(
    make, where, stages
):
    world = make()
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    for stage in stages:
        problem = {"chat_template": ChatTemplateKind(problem="it asks <|x|>")} if stage == "fetch" else {}
        world.succeed(stage, **problem)
    world.settle()
    ready = next(item for item in world.status["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", Reason.INVALID_SPEC)
    assert f"{where}: a model cannot be trained through this chat template: it asks" in ready["message"]
    assert "model.chatTemplate" in ready["message"]
    assert not [key for key in world.children if key.kind == "Deployment"]


@pytest.mark.parametrize("kind", [ChatTemplateKind(opens="<think>", drops_reasoning=True), None])
def test_a_template_that_opens_reasoning_is_trained_through(kind):
    world = make_finetune()
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", chat_template=kind)
    world.settle()
    assert world.stage("train")["state"] == "Running"


def test_parsers_are_arguments_of_the_engine_and_part_of_what_a_model_answers():
    world = make_eval(serving={"reasoningParser": "deepseek_r1", "toolCallParser": "llama3_json"})
    world.settle()
    world.succeed("fetch")
    world.settle()
    (server,) = [child for key, child in world.children.items() if key.kind == "Deployment"]
    args = server["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--reasoning-parser") + 1] == "deepseek_r1"
    assert args[args.index("--tool-call-parser") + 1] == "llama3_json"
    assert "--enable-auto-tool-choice" in args


def test_the_base_of_an_adapter_is_fetched_with_its_own_token_and_claim():
    base = {"uri": "pvc://bases/llama", "tokenSecretRef": {"name": "hub", "key": "token"}}
    world = make_eval(model={"source": {"uri": "hf://org/lora", "base": base}})
    world.secrets, world.claims = {"hub": "1"}, {**world.claims, "bases": {}}
    world.settle()
    spec, pod = json.loads(world.specification("fetch")), world.job("fetch")["spec"]["template"]["spec"]
    assert (spec["baseUri"], spec["baseTokenEnv"]) == ("pvc://bases/llama", "BASE_TOKEN")
    assert "/inputs/pvc/bases" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert "BASE_TOKEN" in [item["name"] for item in pod["containers"][0]["env"]]


DIGEST = "sha256:" + "ab" * 32
IMAGE = "registry.example.org:5000/models/small@sha256:" + "cd" * 32
PLACES = {
    "claim": (
        "pvc://weights/llama",
        "/inputs/pvc/weights",
        {"persistentVolumeClaim": {"claimName": "weights"}},
    ),
    "image": (f"oci://{IMAGE}/llama", f"/inputs/oci/{image_folder(IMAGE)}", {"image": {"reference": IMAGE}}),
}


def fetched_in_place(make, uri, **spec):
    world = make(**spec)
    world.claims = {**world.claims, "weights": {}}
    world.settle()
    world.succeed("fetch", path=in_place_path("team/models", uri, DIGEST))
    world.settle()
    return world


def volume_at(template, path):
    """The volume that is mounted at a path, without its name, and whether it can be written to."""
    pod = template["spec"]["template"]["spec"]
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["mountPath"] == path]
    (volume,) = [item for item in pod["volumes"] if item["name"] == mount["name"]]
    return {key: value for key, value in volume.items() if key != "name"}, not mount.get("readOnly")


@pytest.mark.parametrize(("uri", "path", "source"), PLACES.values(), ids=PLACES)
def test_a_model_that_stays_in_place_is_mounted_wherever_it_is_read(uri, path, source):
    world = fetched_in_place(make_eval, uri, model={"source": {"uri": uri}})
    (server,) = [child for key, child in world.children.items() if key.kind == "Deployment"]
    world.serve("target-server")
    world.settle()
    ((kind, fields),) = source.items()
    for reader in (server, world.job("generate")):
        volume, writable = volume_at(reader, path)
        assert volume[kind].items() >= fields.items()
        assert not writable


def test_every_stage_that_names_a_model_in_place_mounts_it():
    path = in_place_path("team/models", PLACES["claim"][0], DIGEST)
    shape = JobShape(claims=("data",))
    named = with_models(shape, json.dumps({"judges": [{"path": path}], "text": f"see {path}"}))
    assert named.claims == ("data", "weights")
    assert with_models(shape, json.dumps({"text": f"see {path}"})) == shape


def test_a_claim_of_data_and_of_the_model_is_one_volume():
    uri = PLACES["claim"][0]
    suites = [{"name": "h", "dataset": {"uri": "pvc://weights/h.jsonl"}, "judge": "refusals"}]
    world = fetched_in_place(make_eval, uri, model={"source": {"uri": uri}}, contentSafety=suites)
    world.serve("target-server")
    world.settle()
    assert volume_at(world.job("generate"), "/inputs/pvc/weights")


def test_a_model_on_the_claim_of_the_artifacts_is_the_same_volume():
    uri = "pvc://safety-artifacts/mine/llama"
    world = fetched_in_place(make_eval, uri, model={"source": {"uri": uri}})
    (server,) = [child for key, child in world.children.items() if key.kind == "Deployment"]
    pod = server["spec"]["template"]["spec"]
    assert [v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v] == ["artifacts"]
    assert "/inputs/pvc/safety-artifacts" in [m["mountPath"] for m in pod["containers"][0]["volumeMounts"]]


def test_only_a_server_of_a_model_in_place_looks_whether_it_changed():
    uri = "pvc://weights/llama"
    world = fetched_in_place(make_eval, uri, model={"source": {"uri": uri}})
    (server,) = [child for key, child in world.children.items() if key.kind == "Deployment"]
    env = {
        item["name"]: item.get("value") for item in server["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert env["SAFETY_SERVER_IN_PLACE"] == f"/artifacts/{in_place_path('team/models', uri, DIGEST)}"
    copied = server_of(make_eval())["containers"][0]["env"]
    assert "SAFETY_SERVER_IN_PLACE" not in {item["name"] for item in copied}


@pytest.mark.parametrize(
    "uri",
    [
        "oci://registry/models/small",
        "oci://registry:5000/Models/small:1",
        "oci://r/m@sha256:1",
    ],
)
def test_an_image_needs_a_tag_or_a_digest(uri):
    status = make_eval(model={"source": {"uri": uri}}).settle().status
    ready = next(item for item in status["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == Reason.INVALID_SPEC
    assert "write oci://registry/repository@sha256:digest" in ready["message"]


def server_of(world):
    """The model server's pod."""
    world.claims["compiled"] = {}
    world.settle()
    world.succeed("fetch", output="model")
    world.settle()
    (server,) = [child for key, child in world.children.items() if key.kind == "Deployment"]
    return server["spec"]["template"]["spec"]


def cache_folder(serving, **spec):
    """The folder of the claim that a server sees."""
    pod = server_of(make_eval(serving={"startCache": {"claimName": "compiled"}, **serving}, **spec))
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "start-cache"]
    assert {"name": "start-cache", "persistentVolumeClaim": {"claimName": "compiled"}} in pod["volumes"]
    assert "readOnly" not in mount
    return mount["subPath"]


def test_compiled_code_has_a_folder_for_each_model_image_and_way_of_serving():
    one = cache_folder({})
    assert cache_folder({"replicas": 3}) == one
    others = [{"image": "other:1"}, {"device": "gpu"}, {"dtype": "float16"}, {"args": ["--quantization=fp8"]}]
    with_env = cache_folder({}, pod={"env": [{"name": "VLLM_PLUGINS", "value": "mine"}]})
    assert len({one, with_env, *(cache_folder(other) for other in others)}) == 6


@pytest.mark.parametrize(
    ("claim", "uri", "holds"),
    [
        ("safety-artifacts", "pvc://weights/llama", "artifacts"),
        ("weights", "pvc://weights/llama", "the model"),
    ],
)
@pytest.mark.parametrize("make", [make_eval, make_guarded])
def test_compiled_code_has_a_claim_that_nothing_else_writes_to(make, claim, uri, holds):
    serving = {"startCache": {"claimName": claim}}
    world = fetched_in_place(make, uri, model={"source": {"uri": uri}}, serving=serving)
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert f"the claim {claim} holds {holds}" in stalled["message"]
    assert not world.names("Deployment")


def test_a_server_with_a_cache_compiles_in_its_own_pod_and_reads_the_store_only():
    pod = server_of(make_eval(serving={"startCache": {"claimName": "compiled"}}))
    container = pod["containers"][0]
    env = {item["name"]: item["value"] for item in container["env"]}
    assert env["VLLM_CACHE_ROOT"] == "/tmp/start-cache/vllm"
    assert env["SAFETY_START_CACHE"] == "/start-cache"
    assert next(item for item in container["volumeMounts"] if item["name"] == "artifacts")["readOnly"]
    plain = server_of(make_eval())
    assert "start-cache" not in {volume["name"] for volume in plain["volumes"]}


@pytest.mark.parametrize(
    ("image", "cleans"), [({}, "server:1"), ({"image": "vllm/vllm-openai:v1"}, "worker:1")]
)
def test_old_caches_are_deleted_by_an_image_of_the_chart_that_alone_sees_all_folders(image, cleans):
    pod = server_of(make_eval(serving={"startCache": {"claimName": "compiled"}, **image}))
    (cleaner,) = pod["initContainers"]
    assert cleaner["image"] == cleans
    (mount,) = [item for item in cleaner["volumeMounts"] if item["name"] == "start-cache"]
    assert mount == {"name": "start-cache", "mountPath": "/start-caches", "subPath": "model-safety"}
    (own,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "start-cache"]
    assert own["subPath"] == f"model-safety/{cleaner['args'][-1]}"
    assert "initContainers" not in server_of(make_eval())


@pytest.mark.parametrize("make", [make_eval, make_guarded])
def test_a_missing_claim_of_compiled_code_is_told_before_anything_is_fetched(make):
    world = make(serving={"startCache": {"claimName": "compiled"}})
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ClaimMissing")
    assert "spec.serving.startCache.claimName: the PersistentVolumeClaim compiled" in stalled["message"]
    assert not world.names("Job")
    assert not world.names("Deployment")


def test_a_large_model_may_be_given_more_time_to_start():
    (container,) = server_of(make_eval(serving={"startupSeconds": 7200}))["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 7200
