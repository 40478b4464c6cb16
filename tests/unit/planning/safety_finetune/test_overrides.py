"""Arguments of TRL that a spec overrides."""

import pytest
from tests.unit.planning.examples import make_finetune


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lerning_rate", "trl.SFTConfig has no such argument. Did you mean learning_rate?"),
        ("policy.max_grad_norm", "trl.SFTConfig has no such argument."),
        ("hub_token", "use spec.output.push, which takes its token from a Secret."),
        ("save_steps", "resuming depends on it, so it cannot be set here. Use the fields of schedule"),
    ],
)
def test_a_mistaken_argument_is_told_before_anything_is_fetched(name, words):
    world = make_finetune(overrides={"neftune_noise_alpha": 5, name: 1})
    world.settle()
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "InvalidSpec")
    assert found["message"].startswith(f"spec.overrides.{name}: {words}")
    assert world.names("Job") == []
    world.edit(overrides={"neftune_noise_alpha": 5})
    world.settle()
    assert len(world.names("Job")) == 1
