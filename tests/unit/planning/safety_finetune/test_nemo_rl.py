"""A SafetyFinetune with NeMo-RL: prepared and exported without GPUs, trained in an image of NVIDIA's."""

import json
from dataclasses import replace

import pytest
from tests.unit.planning.examples import finished_blend, make_finetune

from safety_operator.planning.engine.remedies import remedy_of
from safety_operator.state.observed import PodFailure
from safety_records.result import Training

NEMO = {
    "backend": "nemo-rl",
    "nemoRl": {"runAsRoot": True},
    "compute": {"device": "gpu", "nodes": 2, "gpusPerNode": 8},
    "batch": {"global": 16, "micro": 1, "maxSequenceLength": 1024},
}


def start(**spec):
    world = make_finetune(**NEMO | spec)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=8192)
    world.settle()
    return world


def spec_of(world, stage):
    name = world.job(stage)["metadata"]["annotations"]["modelsafety.dev/specification"]
    return next(
        json.loads(item["data"]["spec.json"])
        for key, item in world.applied.items()
        if key.kind == "ConfigMap" and key.name == name
    )


def test_it_is_prepared_trained_and_exported_one_after_the_other():
    world = start()
    assert spec_of(world, "prepare")["nemoRl"] == {"version": "0.7.0"}
    prepared = world.succeed("prepare", output="prepared")
    world.settle()
    training = spec_of(world, "train")
    assert training["prepared"] == prepared.output.uri
    assert (training["nodes"], training["processes"], training["strategy"]) == (2, 8, "fsdp")
    trained = world.succeed("train", output="checkpoints", training=Training(step=40, steps=40, loss=0.5))
    world.settle()
    assert "output" not in world.status
    assert spec_of(world, "export")["trained"] == trained.output.uri
    world.succeed("export", output="product")
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.status["output"]["uri"].startswith("pvc://safety-artifacts/out/export-")
    assert world.status["step"] == 40


def test_only_the_container_that_trains_has_gpus_another_image_and_root():
    world = start()
    prepare = world.job("prepare")["spec"]["template"]["spec"]
    assert prepare["containers"][0]["securityContext"]["runAsNonRoot"] is True
    assert "nvidia.com/gpu" not in prepare["containers"][0]["resources"].get("limits", {})
    world.succeed("prepare")
    world.settle()
    pod = world.job("train")["spec"]["template"]["spec"]
    (container,), (copies,) = pod["containers"], pod["initContainers"]
    assert container["image"] == "nvcr.io/nvidia/nemo-rl:v0.7.0"
    assert copies["image"] == prepare["containers"][0]["image"] == "worker:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": False,
        "runAsUser": 0,
    }
    assert copies["securityContext"]["runAsNonRoot"] is True
    assert world.job("train")["spec"]["completions"] == 2


def test_an_image_of_ones_own_is_run_as_any_user():
    world = start(nemoRl={"image": "registry.example.com/nemo-rl:any-user"})
    world.succeed("prepare")
    world.settle()
    (container,) = world.job("train")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/nemo-rl:any-user"
    assert container["securityContext"]["runAsNonRoot"] is True


def test_a_chart_whose_default_is_cpu_says_what_to_set():
    world = make_finetune(**NEMO | {"compute": {}})
    world.settings = replace(world.settings, device="cpu")
    world.settle()
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "InvalidSpec")
    assert "Set compute.device to gpu" in found["message"]


def test_data_of_ones_own_are_read_where_they_are_prepared():
    world = make_finetune(**NEMO | {"data": {"uri": "configmap://prompts/harm.jsonl"}})
    world.settle()
    world.succeed("fetch")
    world.settle()
    volumes = world.job("prepare")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "configmap-0", "configMap": {"name": "prompts"}} in volumes


def test_a_namespace_that_refuses_root_is_told_both_ways_out():
    words = (
        'pods "train-0" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true '
        '(container "worker" must not set securityContext.runAsNonRoot=false), runAsUser=0 (container '
        '"worker" must not set runAsUser=0)'
    )
    remedy = remedy_of(PodFailure("", "", None, "FailedCreate", words))
    assert "Pod Security level is baseline" in remedy.text
    assert "nemoRl.image" in remedy.text


@pytest.mark.parametrize(
    "spec", [{"checkpoint": {"best": "validation-loss"}}, {"validation": {"earlyStopAfter": 2}}]
)
def test_what_goes_by_the_validation_loss_wants_validation_rows(spec):
    blend = finished_blend()
    blend["status"]["output"]["validationRows"] = 0
    world = make_finetune(**spec)
    world.refer("SafetyBlend", "blend", blend)
    world.settle()
    world.succeed("fetch")
    world.settle()
    assert "Set split.validation of the SafetyBlend" in world.condition("Stalled")["message"]


def test_two_fine_tunings_have_folders_of_their_own_even_with_one_name_after_the_other():
    first, second = make_finetune(), make_finetune()
    second.resource["metadata"]["uid"] = "ffffffff-2222"
    outs = set()
    for world in (first, second):
        world.refer("SafetyBlend", "blend", finished_blend())
        world.settle()
        world.succeed("fetch", output="base")
        world.settle()
        outs.add(spec_of(world, "train")["out"])
    assert len(outs) == 2


@pytest.mark.parametrize(("cpu", "fits"), [(8, False), ("8500m", False), ("9", True), (None, True)])
def test_too_few_cpus_for_ray_are_told_before_anything_runs(cpu, fits):
    limits = {} if cpu is None else {"cpu": cpu}
    world = make_finetune(**NEMO | {"compute": NEMO["compute"] | {"resources": {"limits": limits}}})
    world.settle()
    assert fits == any("-fetch-" in name for name in world.names("Job"))
    if not fits:
        found = world.condition("Stalled")
        assert found["reason"] == "InvalidSpec"
        assert f"cpu: {cpu} for 8 GPUs a node" in found["message"]
        assert "raise it to 9" in found["message"]


@pytest.mark.parametrize(("memory", "fits"), [("700Mi", False), ("1073741823", False), ("1Gi", True)])
@pytest.mark.parametrize("launcher", ["job", "kuberay"])
def test_less_memory_than_ray_itself_takes_is_told_before_anything_runs(memory, fits, launcher):
    compute = NEMO["compute"] | {"launcher": launcher, "resources": {"limits": {"memory": memory}}}
    world = make_finetune(**NEMO | {"compute": compute})
    world.settle()
    assert fits == any("-fetch-" in name for name in world.names("Job"))
    if not fits:
        found = world.condition("Stalled")
        assert found["reason"] == "InvalidSpec"
        assert f"a limit of memory: {memory} for a training pod" in found["message"]
        assert "does not start with less than 1Gi" in found["message"]


def test_nemo_rls_image_comes_from_the_mirror_that_the_chart_names():
    world = start()
    images = replace(world.settings.images, nemo_rl="mirror.example.com/nvidia/nemo-rl")
    world.settings = replace(world.settings, images=images)
    world.succeed("prepare")
    world.settle()
    (container,) = world.job("train")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "mirror.example.com/nvidia/nemo-rl:v0.7.0"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"overrides": {"policy.optimiser.name": "x"}},
            "spec.overrides: NeMo-RL's configuration has no",
        ),
        ({"overrides": {"policy.dtensor_cfg.tensor_paralel_size": 2}}, "NeMo-RL knows no such key"),
        ({"overrides": {"logger.log_dir": "logs"}}, "spec.overrides: logger.log_dir cannot be set here"),
        ({"overrides": {"policy.dtensor_cfg.tensor_parallel_size": 3}}, "16 GPUs are no multiple of the 3"),
        ({"overrides": {"policy.dtensor_cfg.tensor_parallel_size": "2"}}, "Input should be a valid integer"),
        (
            {"profile": "safety-blueprint", "checkpoint": {"everySteps": 10}},
            "spec.checkpoint.everySteps 10 is no multiple of validation.everySteps 20",
        ),
    ],
)
def test_what_settings_alone_show_to_be_wrong_is_told_before_anything_runs(spec, words):
    world = make_finetune(**NEMO | spec)
    world.settle()
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "InvalidSpec")
    assert words in found["message"]
    assert list(world.names("Job")) == []
