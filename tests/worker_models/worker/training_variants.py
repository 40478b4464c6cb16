"""Trainings of one model in several ways that have to come to the same, and some that are to fail.

Run with the worker's own Python; libraries are imported once, and each training is a fork.
Usage: training_variants.py ROOT SPEC.json
ROOT is an artifact root; SPEC a train stage without ``out``. Prints one JSON object: by training its exit
codes, losses, numbers and failure, and how far its weights are from those of the plain one.
"""

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from training_kills import start, wait
from transformers import AutoModelForCausalLM

from safety_worker.errors import InputError
from safety_worker.training import checkpoints
from safety_worker.training.records import METRICS_NAME, read_metrics
from safety_worker.training.trl import callback, export, product, saving, sharded, stopping, trainer

SAVING_SECONDS = 10
STEP_SECONDS = 8
"""A busy machine needs some for two processes."""
LORA = {"type": "lora", "rank": 4, "alpha": 8}

PASS = {"globalBatch": 12, "microBatch": 2, "steps": 5}
"""A pass over 50 rows, whose last step has two of them: not one for each place of two or three processes."""

Run = Callable[..., dict[str, Any]]


def rank() -> int:
    return int(os.environ.get("JOB_COMPLETION_INDEX", "0"))


def stopped() -> Any:
    """SIGTERM in the first step."""
    return patch.object(stopping.Interruption, "wish", lambda _self: stopping.Stop.SAVE)


def hanging() -> Any:
    """The second process does not come back from its second step."""
    step = sharded.Trainer.training_step

    def training_step(self: Any, *given: Any) -> Any:
        if self.state.global_step == 1 and rank() == 1:
            threading.Event().wait()
        return step(self, *given)

    return patch.object(sharded.Trainer, "training_step", training_step)


def slow() -> Any:
    """The first process writes checkpoints for longer than a step may take."""
    seal = callback.seal_files

    def seal_files(*given: Any) -> Any:
        if rank() == 0:
            time.sleep(SAVING_SECONDS)
        return seal(*given)

    return patch.object(callback, "seal_files", seal_files)


@contextmanager
def behind(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    """Checkpoints are written while training goes on, and what else is changed."""
    with patch.object(saving, "WRITTEN_BEHIND_BYTES", 0), ExitStack() as together:
        for one in patches:
            together.enter_context(one)
        yield


def full_disk() -> AbstractContextManager[None]:
    """The first process has no space for what it writes."""
    seal = callback.seal_files

    def seal_files(*given: Any) -> Any:
        if rank() == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return seal(*given)

    return behind(patch.object(callback, "seal_files", seal_files))


def stopped_behind(*, in_time: bool) -> AbstractContextManager[None]:
    """SIGTERM in the step behind which a checkpoint is being written, which is done in time or never."""
    asked = threading.Event()
    seal = callback.seal_files

    def seal_files(*given: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            (asked if in_time else threading.Event()).wait()
        return seal(*given)

    def wish(_self: Any) -> Any:
        if any(thread.name == "checkpoint" for thread in threading.enumerate()):
            asked.set()
        return stopping.Stop.SAVE if asked.is_set() else stopping.Stop.GO_ON

    return behind(
        patch.object(callback, "seal_files", seal_files),
        patch.object(stopping.Interruption, "wish", wish),
        patch.object(stopping.Interruption, "seconds_left", lambda _self: None if in_time else 0.0),
    )


def damaged() -> Any:
    """What was written last cannot be read again."""
    return patch.object(product, "find_damage", lambda _folder: ["optimizer.pt"])


def runner(root: Path, spec: dict[str, Any]) -> Run:
    """Gives a function that runs a training, with changes of its specification."""

    def run(
        name: str, processes: int = 1, around: AbstractContextManager[Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        whole = {**spec, "out": name, "name": name, "nodes": processes, **changes}
        with around or nullcontext():
            codes = wait(start(root, whole, processes))
        path = root / f"{name}.json.0.message"
        message = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        lines = read_metrics(root / f"{name}.work" / METRICS_NAME)
        return {
            "codes": codes,
            "failure": (message.get("failure") or {}).get("reason"),
            "training": message.get("training"),
            "losses": [line["loss"] for line in lines if "loss" in line],
            "validation": [line["validation_loss"] for line in lines if "validation_loss" in line],
        }

    return run


def difference(root: Path, name: str, other: str) -> float:
    """Largest difference of two weights."""
    one, two = (load_file(root / folder / "model.safetensors") for folder in (name, other))
    assert one.keys() == two.keys()
    return max(float((one[key].float() - two[key].float()).abs().max()) for key in one)


def alike(root: Path, run: Run) -> dict[str, Any]:
    """Whatever the processes, the rows in a sequence, or the interruption."""
    found = {
        "one": run("v-one"),
        "packed": run("v-packed", packing=True, globalBatch=13, microBatch=1),
        "ddp": run("v-ddp", 2),
        "fsdp": run("v-fsdp", 2, strategy="fsdp"),
        "lora": run("v-lora", method=LORA),
        "lora-ddp": run(
            "v-lora-ddp",
            2,
            slow(),
            method=LORA,
            stepTimeoutSeconds=STEP_SECONDS,
            gradientCheckpointing=True,
        ),
        "lora-fsdp-begun": run("v-lora-fsdp", 2, stopped(), method=LORA, strategy="fsdp"),
        "lora-fsdp": run("v-lora-fsdp", 2, method=LORA, strategy="fsdp"),
        "lost-begun": run("v-lost", around=damaged(), checkpointSteps=1),
        "lost": run("v-lost", checkpointSteps=1),
        "pass": run("v-pass", **PASS),
        "pass-ddp": run("v-pass-ddp", 2, **PASS),
        "pass-fsdp-begun": run("v-pass-fsdp", 2, stopped(), strategy="fsdp", **PASS),
        "pass-fsdp": run("v-pass-fsdp", 3, strategy="fsdp", **PASS),
    }
    for name in ("packed", "ddp", "fsdp", "lost"):
        found[name]["difference"] = difference(root, f"v-{name}", "v-one")
    for name in ("lora-ddp", "lora-fsdp"):
        found[name]["difference"] = difference(root, f"v-{name}", "v-lora")
    for name in ("pass-ddp", "pass-fsdp"):
        found[name]["difference"] = difference(root, f"v-{name}", "v-pass")
    found["lora"]["merged"] = merged_alike(root)
    found["lora"]["change"] = difference(root, "v-lora", "v-one")
    AutoModelForCausalLM.from_pretrained(root / "v-fsdp")
    return found


def merged_alike(root: Path) -> bool:
    """Whether an adapter merged tensor by tensor has the bytes that PEFT gives."""
    adapter, base = root / "v-lora" / export.ADAPTER, root / "base"
    doubt = InputError("AdapterDoesNotFit", "other names")
    for name, around in (
        ("tensors", nullcontext()),
        ("peft", patch.object(export, "merge_adapter", side_effect=doubt)),
    ):
        (root / name).mkdir()
        with around:
            export.merge(adapter, base, torch.bfloat16, root / name)
    one, two = (load_file(root / name / "model.safetensors") for name in ("tensors", "peft"))
    assert {weight.dtype for weight in one.values()} == {torch.bfloat16}
    return one.keys() == two.keys() and all(torch.equal(weight, two[name]) for name, weight in one.items())


def measured(run: Run) -> dict[str, Any]:
    """SIGTERM in a step after which the validation loss is due."""
    return {
        "due-begun": run("v-due", around=stopped(), validationSteps=1),
        "due": run("v-due", validationSteps=1),
        "last-begun": run("v-last", around=stopped(), steps=1),
        "last": run("v-last", steps=1),
    }


def aside(root: Path, run: Run) -> dict[str, Any]:
    """Checkpoints that are written while training goes on, and what comes meanwhile."""
    often = {"strategy": "fsdp", "checkpointSteps": 1}
    found: dict[str, Any] = {"aside": run("v-aside", around=behind(), checkpointSteps=1)}
    for name, around in (
        ("disk", full_disk()),
        ("stopped", stopped_behind(in_time=True)),
        ("late", stopped_behind(in_time=False)),
    ):
        found[f"{name}-begun"] = run(f"v-{name}", 2, around, **often)
        found[f"{name}-begun"]["complete"] = [
            one.step
            for one in checkpoints.list_checkpoints(root / f"v-{name}.work" / checkpoints.CHECKPOINTS)
        ]
        found[name] = run(f"v-{name}", 2, behind(), **often)
        found[name]["difference"] = difference(root, f"v-{name}", "v-fsdp")
    found["aside"]["difference"] = difference(root, "v-aside", "v-one")
    return found


def refused(run: Run) -> dict[str, Any]:
    """What cannot go on, or be handed over."""
    run("v-other", 2, stopped(), strategy="fsdp")
    unsharded = patch.object(
        trainer.AutoModelForCausalLM,
        "from_pretrained",
        side_effect=ValueError("there is no FSDP2 plan for it"),
    )
    renamed = patch.object(export, "_saved_weights", lambda _state: {})
    full = patch.object(sharded.Trainer, "training_step", side_effect=RuntimeError("can't allocate memory"))
    return {
        "other": run("v-other", 2, strategy="ddp"),
        "fewer": run("v-other", 1, strategy="fsdp"),
        "unsharded": run("v-unsharded", 2, unsharded, strategy="fsdp"),
        "renamed": run("v-renamed", 2, renamed, strategy="fsdp", steps=1),
        "full": run("v-full", 1, full),
    }


def ended(run: Run) -> dict[str, Any]:
    """What ends a training."""
    short = {"stepTimeoutSeconds": STEP_SECONDS, "validation": "", "globalBatch": 10}
    return {"hangs": run("v-hangs", 2, hanging(), **short)}


def main(root: Path, given: Path) -> None:
    run = runner(root, json.loads(given.read_text(encoding="utf-8")))
    found = alike(root, run) | aside(root, run) | measured(run) | refused(run) | ended(run)
    sys.stdout.write(json.dumps(found))


main(Path(sys.argv[1]), Path(sys.argv[2]))
