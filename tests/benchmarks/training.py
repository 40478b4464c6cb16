"""Speed of training as ratios within one run, so that they mean the same on every machine.

- tokens a second against a bare TRL script with the same settings; both in turns (wanted: at least 97 %).
- start-up beyond loading the model: importing libraries, reading and preparing rows (wanted: at most 10 s).
- share of what training waits for a checkpoint in the steps of the default interval (wanted: at most 3 %);
  and what a checkpoint takes of which nothing is written behind the training, as the last one.

Random weights and random rows: speed does not depend on what they are. Run it where torch is, for example in
the worker image: python tests/benchmarks/training.py --hidden 512 --layers 8 --steps 12 --rounds 3.
Ends with 1 when something wanted is missed.
"""

# ruff: noqa: T201, PLC0415 - it prints; libraries are imported while the clock runs

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

LEAST_RATIO, MOST_START_SECONDS, MOST_SHARE = 0.97, 10.0, 0.03
DEFAULT_INTERVAL = 20
"""Steps between checkpoints where a spec does not say it."""
WARM_STEPS = 2
"""Steps that do not count."""

Prepared = tuple[Any, Callable[[], float]]
"""A trainer, and what gives the seconds of a checkpoint."""


def write_inputs(root: Path, options: argparse.Namespace) -> None:
    """A base with random weights, and rows of random words."""
    shape = {
        "hidden_size": options.hidden,
        "intermediate_size": 4 * options.hidden,
        "num_hidden_layers": options.layers,
        "max_position_embeddings": 1024,
    }
    script = ROOT / "tests/worker_models/worker/tiny_model.py"
    subprocess.run([sys.executable, str(script), str(root / "base"), json.dumps(shape)], check=True)
    words = random.Random(1)
    lines = []
    for _ in range(512):
        text = [" ".join(f"w{words.randrange(95)}" for _ in range(options.length // 2)) for _ in range(2)]
        turns = [{"role": "user", "content": text[0]}, {"role": "assistant", "content": text[1]}]
        lines.append(json.dumps({"messages": turns}) + "\n")
    (root / "rows.jsonl").write_text("".join(lines), encoding="utf-8")


def stage(root: Path, options: argparse.Namespace) -> Any:
    """The specification, as the operator makes it."""
    from safety_records.stages import parse_stage_spec

    return parse_stage_spec(
        json.dumps(
            {
                "stage": "train",
                "namespace": "n",
                "kind": "SafetyFinetune",
                "name": "b",
                "inputsHash": "h",
                "root": f"file://{root}",
                "out": "out",
                "model": "base",
                "train": "rows.jsonl",
                "steps": options.steps,
                "learningRate": 1e-4,
                "globalBatch": 4,
                "microBatch": 2,
                "maxSequenceLength": options.length * 2,
                "precision": "fp32",
                "validationSteps": 10**6,
                "checkpointSteps": options.steps - WARM_STEPS,
                "checkpointKeep": 1,
                "device": options.device,
                "nodes": 1,
            }
        )
    )


def ours(root: Path, options: argparse.Namespace) -> Prepared:
    """The trainer of the train stage, with what follows it."""
    from safety_worker.training.planning import plan_training
    from safety_worker.training.rendezvous import Peers
    from safety_worker.training.trl import backend, resuming
    from safety_worker.training.trl.trainer import build_trainer, load_inputs

    spec = stage(root, options)
    inputs = load_inputs(spec, root)
    plan = plan_training(spec, len(inputs.train.rows), inputs.model_max_length, 1)
    start = resuming.decide_start(spec, root / "fresh", plan, Peers(), validate=False)
    work = Path(tempfile.mkdtemp(dir=root))
    watch = backend.make_watch(spec, work, start, Peers(), steps=plan.steps, validate=False)
    return build_trainer(spec, inputs, plan, root, watch), lambda: watch.interruption.save_seconds


def bare(root: Path, options: argparse.Namespace) -> Prepared:
    """What a script has that uses TRL and nothing else."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from safety_worker.training.planning import plan_training
    from safety_worker.training.trl.trainer import load_inputs, trainer_arguments

    spec = stage(root, options)
    inputs = load_inputs(spec, root)
    plan = plan_training(spec, len(inputs.train.rows), None, 1)
    arguments = trainer_arguments(spec, plan, root / "bare", validate=False)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(root / "base", dtype=torch.float32),
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list(inputs.train.rows),
        processing_class=AutoTokenizer.from_pretrained(root / "base"),
    )
    return trainer, lambda: 0.0


def step_seconds(trainer: Any) -> tuple[list[float], list[float]]:
    """Seconds of each step but the first ones, and seconds that training waited for each checkpoint."""
    from transformers import TrainerCallback

    begins: list[float] = []
    ends: list[float] = []
    waits: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
            begins.append(time.monotonic())

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            ends.append(time.monotonic())

        def on_save(self, *_args: Any, **_kwargs: Any) -> None:
            waits.append(time.monotonic() - ends[-1])

    trainer.add_callback(Clock())
    trainer.train()
    return [after - before for before, after in itertools.pairwise(begins)][WARM_STEPS:], waits


def start_seconds(root: Path, options: argparse.Namespace) -> float:
    """From nothing to a trainer, without loading the model."""
    before = time.monotonic()
    from safety_worker.training.trl import trainer

    seconds: list[float] = []
    load = trainer.load_model

    def timed(*arguments: Any) -> Any:
        start = time.monotonic()
        model = load(*arguments)
        seconds.append(time.monotonic() - start)
        return model

    trainer.load_model = timed
    ours(root, options)
    trainer.load_model = load
    return time.monotonic() - before - seconds[0]


def measure(root: Path, options: argparse.Namespace) -> dict[str, float]:
    """All numbers; the two trainers in turns, so that other load on the machine meets both."""
    write_inputs(root, options)
    started = start_seconds(root, options)
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    saving: list[float] = []
    waiting: list[float] = []
    trainers = [("ours", ours), ("bare", bare)]
    for _ in range(options.rounds):
        for name, prepare in trainers:
            trainer, save_seconds = prepare(root, options)
            seconds, waits = step_seconds(trainer)
            found[name] += seconds
            if name == "ours":
                saving.append(save_seconds())
                waiting.append(waits[0])
        trainers.reverse()  # so that being first is no advantage
    step = median(found["ours"])
    quick = {name: quantiles(seconds, n=4)[0] for name, seconds in found.items()}  # least of other load
    return {
        "ratio": round(quick["bare"] / quick["ours"], 4),
        "stepSeconds": round(step, 4),
        "startSeconds": round(started, 2),
        "checkpointSeconds": round(median(saving), 3),
        "waitSeconds": round(median(waiting), 3),
        "checkpointShare": round(median(waiting) / (DEFAULT_INTERVAL * step), 4),
    }


def main() -> int:
    """Measure, print, and say by the exit code whether all is as wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("hidden", 512), ("layers", 8), ("length", 256), ("steps", 12), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    options = parser.parse_args()
    os.environ["ACCELERATE_USE_CPU"] = "true" if options.device == "cpu" else "false"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options)
    print(json.dumps(found))
    wanted = (
        found["ratio"] >= LEAST_RATIO,
        found["startSeconds"] <= MOST_START_SECONDS,
        found["checkpointShare"] <= MOST_SHARE,
    )
    return 0 if all(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
