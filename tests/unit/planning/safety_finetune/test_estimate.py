"""What a training takes, against figures that are known for the architecture of Llama 3.1 8B."""

import pytest
from tests.unit.planning.examples import finished_blend, make_finetune

from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_operator.planning.safety_finetune.estimate import Layout, copy_bytes, disk_of, memory_of
from safety_operator.planning.safety_finetune.gpu_memory import gpu_memory
from safety_records.model_shape import ModelShape

GIB = 2**30
LLAMA_8B = ModelShape(
    parameters=8_030_261_248,
    layers=32,
    hidden_size=4096,
    intermediate_size=14336,
    query_size=4096,
    key_size=1024,
    vocabulary=128256,
)
LLAMA_70B = ModelShape(
    parameters=70_553_706_496,
    layers=80,
    hidden_size=8192,
    intermediate_size=28672,
    query_size=8192,
    key_size=1024,
    vocabulary=128256,
)


def spec_of(**changes):
    base = {"model": {"source": {"uri": "hf://org/model"}}, "data": {"blendRef": {"name": "blend"}}}
    return SafetyFinetuneSpec.model_validate(base | changes)


def test_all_weights_of_8b_take_128_gb_of_state_which_eight_gpus_share():
    alone = memory_of(LLAMA_8B, spec_of(), Layout(1, "ddp", gradient_checkpointing=True))
    assert alone.least == pytest.approx(128.5e9, rel=0.02)
    shared = memory_of(LLAMA_8B, spec_of(), Layout(8, "fsdp", gradient_checkpointing=True))
    assert shared.least == pytest.approx(16.1e9 + 2 * GIB, rel=0.02)
    assert shared.expected < 80 * GIB


def test_copies_on_each_gpu_share_nothing():
    one = memory_of(LLAMA_8B, spec_of(), Layout(1, "ddp", gradient_checkpointing=True))
    many = memory_of(LLAMA_8B, spec_of(), Layout(8, "ddp", gradient_checkpointing=True))
    assert many.least == one.least
    assert many.expected > one.expected


def test_lora_needs_the_frozen_weights_in_bf16_and_little_more():
    spec = spec_of(method={"type": "lora"}, batch={"maxSequenceLength": 1024})
    found = memory_of(LLAMA_8B, spec, Layout(1, "ddp", gradient_checkpointing=False))
    assert found.least == pytest.approx(2 * LLAMA_8B.parameters + 2 * GIB, rel=0.01)
    assert found.expected < 40 * GIB


def test_70b_fits_eight_gpus_of_80_gib_with_lora_that_shares_the_weights_and_32_with_all_of_them():
    batch = {"batch": {"global": 32, "micro": 1, "maxSequenceLength": 2048}}
    lora, full = spec_of(method={"type": "lora"}, **batch), spec_of(**batch)

    def of(spec, processes, strategy):
        return memory_of(LLAMA_70B, spec, Layout(processes, strategy, gradient_checkpointing=True))

    assert of(lora, 8, "ddp").least > 80 * GIB
    assert of(lora, 8, "fsdp").expected < 0.9 * 80 * GIB
    assert of(full, 8, "fsdp").least > 80 * GIB
    assert of(full, 32, "fsdp").expected < 80 * GIB


def test_computing_activations_again_saves_most_of_them():
    layout = [Layout(8, "fsdp", gradient_checkpointing=again) for again in (True, False)]
    again, kept = (memory_of(LLAMA_8B, spec_of(), one).expected for one in layout)
    assert kept - again > 30 * GIB


def test_a_checkpoint_of_all_weights_has_12_bytes_a_parameter_and_one_more_is_there_than_is_kept():
    found = disk_of(LLAMA_8B, spec_of(checkpoint={"keep": 3}), 16_000_000_000)
    assert found == 4 * 12 * LLAMA_8B.parameters + 16_000_000_000
    adapters = disk_of(LLAMA_8B, spec_of(method={"type": "lora"}), 16_000_000_000)
    assert adapters < 20_000_000_000


@pytest.mark.parametrize(
    ("strategy", "spec", "copied"),
    [
        ("fsdp", {}, 48.2e9),
        ("ddp", {}, 96.4e9),
        ("fsdp", {"method": {"type": "lora"}}, 0),
        ("fsdp", {"backend": "nemo-rl"}, 0),
    ],
)
def test_pods_share_the_copy_that_is_written_while_training_goes_on_as_they_share_the_model(
    strategy, spec, copied
):
    layout = Layout(8, strategy, gradient_checkpointing=True)
    compute = {"device": "gpu", "nodes": 2, "gpusPerNode": 4}
    found = copy_bytes(LLAMA_8B, spec_of(compute=compute, **spec), layout)
    assert found == pytest.approx(copied, rel=0.01)


def test_small_checkpoints_are_not_copied():
    small = LLAMA_8B.model_copy(update={"parameters": 10_000_000})
    assert copy_bytes(small, spec_of(), Layout(1, "ddp", gradient_checkpointing=False)) == 0


@pytest.mark.parametrize(
    ("given", "selector", "gib"),
    [
        ("80Gi", {"nvidia.com/gpu.product": "Tesla-T4"}, 80),
        (None, {"nvidia.com/gpu.memory": "81920"}, 80),
        (None, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, 80),
        (None, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}, 10),
        (None, {"nvidia.com/gpu.product": "NVIDIA-H200"}, 140),
        (None, {"nvidia.com/gpu.product": "NVIDIA-H200-MIG-1g.18gb"}, 18),
        (None, {"nvidia.com/gpu.product": "NVIDIA-GH200-480GB"}, 95),
        (None, {"nvidia.com/gpu.product": "NVIDIA-L40S"}, 45),
        (None, {"nvidia.com/gpu.product": "NVIDIA-NEW"}, None),
        (None, {"nvidia.com/gpu.memory": "many"}, None),
        (None, {}, None),
    ],
)
def test_the_memory_of_a_gpu_is_what_the_spec_or_the_node_selector_says(given, selector, gib):
    assert gpu_memory(given, selector) == (gib * GIB if gib else None)


def estimated(claim=None, free=None, shape=LLAMA_8B, **spec):
    """A training whose model is fetched and whose blend is there."""
    world = make_finetune(**spec)
    world.claims["safety-artifacts"] = claim or {}
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=8192, shape=shape, free_bytes=free)
    world.settle()
    return world


def test_what_certainly_does_not_fit_is_refused_before_a_gpu_is_asked_for():
    world = estimated(compute={"device": "gpu", "gpuMemory": "80Gi"})
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "NotEnoughMemory")
    assert "take 121.7 GiB of each GPU, and a GPU has 80.0 GiB" in found["message"]
    assert "method.type lora" in found["message"]
    assert len(world.names("Job")) == 1
    world.edit(method={"type": "lora"})
    world.settle()
    assert len(world.names("Job")) == 2
    assert world.condition("Stalled")["status"] == "False"


def test_copies_on_several_nodes_do_not_help():
    world = estimated(compute={"device": "gpu", "gpuMemory": "80Gi", "nodes": 8, "strategy": "ddp"}, batch={})
    assert "Set compute.strategy to fsdp" in world.condition("Stalled")["message"]


@pytest.mark.parametrize(("gpus", "strategy"), [(1, "auto"), (2, "fsdp")])
def test_frozen_weights_can_be_shared_too(gpus, strategy):
    compute = {"device": "gpu", "gpuMemory": "8Gi", "gpusPerNode": gpus, "strategy": strategy}
    message = estimated(compute=compute, method={"type": "lora"}).condition("Stalled")["message"]
    assert "Use more GPUs" in message
    assert ("with compute.strategy fsdp" in message) is (gpus == 1)


def test_what_is_close_is_trained_with_a_warning():
    world = estimated(
        compute={"device": "gpu", "gpuMemory": "40Gi", "gradientCheckpointing": False},
        method={"type": "lora"},
        batch={"global": 16, "micro": 2, "maxSequenceLength": 8192},
    )
    assert len(world.names("Job")) == 2
    (warning,) = world.status["warnings"]
    assert "a GPU has 40.0 GiB: set compute.gradientCheckpointing, lower batch.micro" in warning


def test_a_model_of_unknown_sizes_is_trained_and_the_status_says_that_nothing_was_estimated():
    world = estimated(shape=None, compute={"device": "gpu", "gpuMemory": "1Gi"})
    assert len(world.names("Job")) == 2
    assert "do not say its sizes" in world.status["estimate"]["unknown"]


def test_a_gpu_of_unknown_memory_is_no_reason_to_wait():
    world = estimated(compute={"device": "gpu"})
    assert len(world.names("Job")) == 2
    assert world.status["estimate"]["gpuMemoryLeast"] == "121.7Gi"
    assert "gpuMemoryAvailable" not in world.status["estimate"]


@pytest.mark.parametrize(("capacity", "stalled"), [("100Gi", True), ("1Ti", False), (None, False)])
def test_a_claim_that_is_too_small_is_told_and_refused_where_it_is_so_by_its_size_too(capacity, stalled):
    claim = {"status": {"capacity": {"storage": capacity}}} if capacity else {}
    world = estimated(claim, free=50 * GIB, compute={"device": "cpu"})
    assert (len(world.names("Job")) == 1) is stalled
    if stalled:
        found = world.condition("Stalled")
        assert (found["status"], found["reason"]) == ("True", "NotEnoughDisk")
        assert "take 359.0 GiB, and the claim safety-artifacts had 50.0 GiB of 100.0 GiB" in found["message"]
        world.claims["safety-artifacts"] = {"status": {"capacity": {"storage": "1Ti"}}}
        world.settle()
        assert len(world.names("Job")) == 2
    else:
        assert "take 359.0 GiB" in world.status["warnings"][0]


@pytest.mark.parametrize(("limit", "warned"), [("120Gi", True), ("140Gi", False), (None, False)])
def test_a_limit_that_leaves_no_room_for_the_copy_of_a_checkpoint_is_told(limit, warned):
    resources = {"requests": {"memory": "64Gi"}} | ({"limits": {"memory": limit}} if limit else {})
    world = estimated(compute={"device": "gpu", "resources": resources})
    assert len(world.names("Job")) == 2
    assert world.status["estimate"]["checkpointMemory"] == "89.7Gi"
    warnings = world.status.get("warnings", [])
    assert [text for text in warnings if "takes 134.6 GiB" in text and "120.0 GiB" in text] == warnings
    assert len(warnings) == warned


def test_a_training_that_has_begun_goes_on_whatever_is_estimated_later():
    world = estimated(compute={"device": "gpu"})
    name = world.start("train")
    world.edit(compute={"device": "gpu", "gpuMemory": "80Gi"})
    world.settle()
    assert name in world.names("Job")
    assert world.condition("Stalled")["status"] == "False"


def test_what_was_chosen_for_what_the_spec_leaves_out_is_in_the_status():
    world = estimated(compute={"device": "gpu"}, method={"type": "lora"})
    chosen = world.status["settings"]
    assert (chosen["learningRate"], chosen["epochs"], chosen["processes"]) == ("0.0001", "1", 1)
    assert (chosen["device"], chosen["launcher"]) == ("gpu", "job")
    assert "strategy" not in chosen
