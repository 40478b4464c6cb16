"""What a training gets for what its spec leaves out."""

import pytest

from safety_operator.api.finetune_profiles import PROFILES
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_operator.planning.safety_finetune.settings import checkpoints_gradients, filled_in, processes_of
from safety_operator.schema.resource import resource_schema
from safety_operator.schema.rules import with_defaults
from safety_records.base import KUBERNETES


def stored(**spec):
    """The spec as the API server stores it: with the CRD's defaults."""
    given = {"model": {"source": {"uri": "hf://org/model"}}, "data": {"blendRef": {"name": "blend"}}} | spec
    resource = with_defaults(resource_schema(KIND_BY_NAME["SafetyFinetune"]), {"spec": given})
    return SafetyFinetuneSpec.model_validate(resource["spec"], context=KUBERNETES)


def test_the_blueprint_profile_is_what_the_blueprint_published():
    found = filled_in(stored(profile="safety-blueprint"))
    schedule, batch = found.schedule, found.batch
    assert (schedule.steps, schedule.epochs, schedule.warmup_steps) == (40, None, 20)
    assert (schedule.learning_rate, schedule.min_learning_rate, schedule.decay) == (5e-7, 5e-8, "cosine")
    assert (schedule.betas, schedule.weight_decay, schedule.max_grad_norm) == ((0.9, 0.95), 0.01, 1.0)
    assert (batch.global_, batch.micro, batch.max_sequence_length) == (16, 1, 8192)
    assert (found.checkpoint.every_steps, found.checkpoint.keep) == (20, 3)
    assert found.checkpoint.best == "validation-loss"
    assert (found.validation.every_steps, found.precision) == (20, "bf16")


def test_what_a_spec_says_stands_over_its_profile():
    found = filled_in(
        stored(
            profile="safety-blueprint",
            schedule={"epochs": "2", "warmupSteps": 0, "learningRate": "1e-5"},
            batch={"global": 32},
            checkpoint={"best": "none"},
        )
    )
    schedule = found.schedule
    assert (schedule.steps, schedule.epochs, schedule.warmup_steps) == (None, 2.0, 0)
    assert (schedule.learning_rate, schedule.min_learning_rate) == (1e-5, 5e-8)
    assert (found.batch.global_, found.checkpoint.best) == (32, "none")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_field_that_the_api_server_fills_in_has_no_other_value_in_a_profile(profile):
    plain = stored()
    for part, values in PROFILES[profile].items():
        given = getattr(plain, part)
        for name, value in values.items():
            assert name not in given.model_fields_set or getattr(given, name) == value


@pytest.mark.parametrize(("method", "rate"), [("full", 5e-7), ("lora", 1e-4)])
def test_the_learning_rate_fits_what_is_trained(method, rate):
    found = filled_in(stored(method={"type": method}))
    assert found.schedule.learning_rate == rate
    assert (found.schedule.epochs, found.schedule.warmup_steps) == (1.0, 0)


def test_each_gpu_has_a_process_and_on_cpu_there_are_as_many_as_are_asked_for():
    compute = stored(compute={"gpusPerNode": 8, "processesPerNode": 2}).compute
    assert (processes_of(compute, "gpu"), processes_of(compute, "cpu")) == (8, 2)
    assert processes_of(stored(compute={"gpusPerNode": 8}).compute, "cpu") == 1


@pytest.mark.parametrize(
    ("spec", "device", "on"),
    [
        ({}, "gpu", True),
        ({}, "cpu", False),
        ({"method": {"type": "lora"}}, "gpu", True),
        ({"compute": {"gradientCheckpointing": False}}, "gpu", False),
        ({"compute": {"gradientCheckpointing": True}}, "cpu", True),
    ],
)
def test_activations_are_computed_again_where_that_is_worth_it(spec, device, on):
    assert checkpoints_gradients(stored(**spec), device) is on
