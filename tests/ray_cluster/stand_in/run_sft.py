"""Stands in for NeMo-RL's ``examples/run_sft.py`` on CPU: an actor of Ray on each node, gloo between them.

It reads the configuration that NeMo-RL would read, and leaves what NeMo-RL leaves: checkpoints with a part of
the weights from each process, TensorBoard's files, steps on standard output. As NeMo-RL, it has no handler
for signals, saves at ``save_period`` only, and goes on from its newest checkpoint. Not all of the
configuration counts: rows are trained one by one in float32 with AdamW at a constant rate.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from events import record
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from stand_in_worker import Worker


def start_workers(config: dict[str, Any], last: str) -> list[Any]:
    """An actor for each GPU of each node."""
    nodes, gpus = config["cluster"]["num_nodes"], config["cluster"]["gpus_per_node"]
    group = placement_group([{"CPU": gpus, "GPU": gpus}] * nodes, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    remote = ray.remote(num_cpus=1, num_gpus=1)(Worker)
    workers = [
        remote.options(  # type: ignore[attr-defined]
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank // gpus)
        ).remote()
        for rank in range(nodes * gpus)
    ]
    host, port = ray.get(workers[0].address.remote())
    everywhere(workers, "start", config, meeting=f"tcp://{host}:{port}", last=last)
    return workers


def everywhere(workers: list[Any], method: str, *values: Any, **named: Any) -> list[Any]:
    """What each process gives; ``start`` is told which it is."""
    if method == "start":
        named["world"] = len(workers)
        return ray.get([worker.start.remote(*values, rank=n, **named) for n, worker in enumerate(workers)])
    return ray.get([getattr(worker, method).remote(*values, **named) for worker in workers])


def save(workers: list[Any], folder: Path, step: int, keep: int) -> None:
    """A checkpoint under its name once it is whole."""
    partial = folder / f"tmp_step_{step}"
    everywhere(workers, "save", str(partial))
    info = {"total_steps": step, "step": step}
    (partial / "training_info.json").write_text(json.dumps(info), encoding="utf-8")
    partial.rename(folder / f"step_{step}")
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(folder / f"step_{old}")


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step_")) for path in folder.glob("step_*"))


def main(config: dict[str, Any]) -> None:
    folder = Path(config["checkpointing"]["checkpoint_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    done = next(reversed(checkpoints(folder)), 0)
    logs = Path(config["logger"]["log_dir"])
    logs = logs / f"exp_{len(list(logs.glob('exp_*'))) + 1:03}" / "tensorboard"
    logs.mkdir(parents=True)
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=True)
    workers = start_workers(config, str(folder / f"step_{done}") if done else "")
    steps, period = config["sft"]["max_num_steps"], config["checkpointing"]["save_period"]
    pause = float(os.environ.get("NRL_STAND_IN_PAUSE", "0"))
    for step in range(done + 1, steps + 1):
        print(f"========== Step {step}/{steps} ==========", flush=True)  # noqa: T201 - its output
        numbers, *_ = everywhere(workers, "step", step - 1)
        print(f"• Loss: {numbers['train__loss']:.4f}", flush=True)  # noqa: T201 - its output
        with (logs / "events.out.tfevents").open("ab") as stream:
            stream.write(record(step, **numbers))
        if step % period == 0 or step == steps:
            save(workers, folder, step, config["checkpointing"]["keep_top_k"])
        time.sleep(pause)


if __name__ == "__main__":
    main(yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text(encoding="utf-8")))
