"""Which image a pod has: that for GPUs where it asks for one, and no other."""

from dataclasses import replace

import pytest
from tests.unit.planning.lives import LIVES
from tests.unit.planning.world import World

from safety_operator.api.common import GPU
from safety_operator.state.settings import Images

IMAGES = Images("cpu", "cpu-server", "guardrails", worker_gpu="gpu", server_gpu="gpu-server")
WITH_GPU = {"worker": "gpu", "server": "gpu-server"}
WITHOUT = {"worker": "cpu", "server": "cpu-server", "classifier": "cpu", "guardrails": "guardrails"}


def lived(kind: str, device: str) -> World:
    """A resource at the end of its life, where models run on a device."""
    make, steps = LIVES[kind]
    world = make()
    world.settings = replace(world.settings, images=IMAGES, device=device)
    for step in steps:
        world.settle()
        step(world)
    world.settle()
    return world


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("kind", LIVES)
def test_a_pod_that_asks_for_a_gpu_has_the_image_for_gpus_and_no_other_pod_has_it(kind: str, device: str):
    seen = set()
    for manifest in lived(kind, device).applied.values():
        if manifest["kind"] in {"Job", "Deployment"}:
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            on_gpu = GPU in container["resources"].get("limits", {})
            assert container["image"] == (WITH_GPU if on_gpu else WITHOUT)[container["name"]]
            seen.add(on_gpu)
    assert seen == ({True, False} if device == "gpu" else {False})
