"""A driver that takes the GPU of each node at the same time, as a training does."""

import sys
from pathlib import Path

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@ray.remote(num_gpus=1, num_cpus=1)
def where() -> str:
    return ray.get_runtime_context().get_node_id()


ray.init(log_to_driver=False)
group = placement_group([{"GPU": 1, "CPU": 1}] * 2, strategy="STRICT_SPREAD")
ray.get(group.ready(), timeout=60)
places = [PlacementGroupSchedulingStrategy(group, bundle) for bundle in range(2)]
found = ray.get([where.options(scheduling_strategy=place).remote() for place in places], timeout=60)
Path(sys.argv[1], "result").write_text(f"{len(set(found))} nodes")
