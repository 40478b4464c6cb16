"""Settings and numbers of a training in words: what page and model card share."""

import re
from collections.abc import Mapping
from typing import Any

from safety_records.finetune import FinetuneReport, TrainedFrom
from safety_records.result import Training
from safety_worker.training_report.plots import scientific

_HUB = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?)(?:@([\w./-]+))?")

PRECISIONS = {
    "bf16": "bfloat16; the weights that are trained stay in float32",
    "fp32": "float32",
}
STRATEGIES = {"fsdp": "fully sharded (FSDP)", "ddp": "data parallel (DDP)"}


def setting_lines(report: FinetuneReport) -> list[tuple[str, str]]:
    """Settings that a reader asks for, each with its value; those that were not recorded are left out."""
    found = report.settings
    lines = [
        ("Backend", report.backend),
        ("Method", method_words(found.get("method"))),
        ("Length", _length(found)),
        ("Learning rate", _rate(found)),
        ("Optimizer", _optimizer(found)),
        ("Batch", _batch(found)),
        ("Longest row", _rows(found)),
        ("Precision", PRECISIONS.get(str(found.get("precision")), "")),
        ("Gradient checkpointing", "on" if found.get("gradientCheckpointing") else ""),
        ("Processes", _processes(found, report.training)),
        ("Model", _chosen(found)),
        ("Seed", _text(found, "seed")),
    ]
    overrides = found.get("overrides")
    if isinstance(overrides, dict):
        lines += [(f"Override {name}", str(value)) for name, value in sorted(overrides.items())]
    return [(name, words) for name, words in lines if words]


def method_words(method: Any) -> str:
    """Whether all weights were trained, or adapters."""
    if not isinstance(method, Mapping):
        return ""
    if method.get("type") != "lora":
        return "all weights"
    modules = ", ".join(map(str, method.get("targetModules") or ())) or "all linear layers"
    return f"LoRA, rank {method.get('rank')}, alpha {method.get('alpha')}, on {modules}"


def _text(found: Mapping[str, Any], name: str, words: str = "{}") -> str:
    value = found.get(name)
    return "" if value is None else words.format(value)


def _length(found: Mapping[str, Any]) -> str:
    steps, epochs = _text(found, "steps", "{:,} optimizer steps"), found.get("epochs")
    passes = "pass" if epochs == 1 else "passes"
    return steps or _text(found, "epochs", f"{{:g}} {passes} over the data")


def _rate(found: Mapping[str, Any]) -> str:
    peak = found.get("learningRate")
    if peak is None:
        return ""
    warm = found.get("warmupSteps")
    words = scientific(peak) + (f" after {warm} steps of warm-up" if warm else "")
    decay, end = found.get("decay"), scientific(found.get("minLearningRate", 0))
    return words if decay == "constant" else f"{words}, {decay} to {end}"


def _optimizer(found: Mapping[str, Any]) -> str:
    if "weightDecay" not in found:
        return ""
    betas = ", ".join(f"{beta:g}" for beta in found.get("betas") or ())
    norm = found.get("maxGradNorm")
    cut = f", gradients scaled down to norm {norm:g}" if norm is not None else ""
    return f"AdamW, betas {betas}, weight decay {found['weightDecay']:g}{cut}"


def _batch(found: Mapping[str, Any]) -> str:
    whole = _text(found, "globalBatch", "{} rows a step")
    return whole + (_text(found, "microBatch", ", {} in a forward pass of a process") if whole else "")


def _rows(found: Mapping[str, Any]) -> str:
    longest = _text(found, "maxSequenceLength", "{:,} tokens")
    if not longest:
        return ""
    done = "no training with longer rows" if found.get("longRows") == "refuse" else "longer ones were cut"
    return f"{longest}; {done}{'; short rows share a sequence' if found.get('packing') else ''}"


def _processes(found: Mapping[str, Any], training: Training) -> str:
    nodes = found.get("nodes")
    processes = training.processes or (nodes and nodes * (found.get("processes") or 1))
    if not processes:
        return ""
    where = {"gpu": ", a GPU each", "cpu": " on CPU"}.get(str(found.get("device")), "")
    pods = f" in {nodes} pods" if nodes and nodes > 1 else ""
    shared = STRATEGIES.get(str(training.strategy or found.get("strategy")), "") if processes > 1 else ""
    return f"{processes}{where}{pods}{f', {shared}' if shared else ''}"


def _chosen(found: Mapping[str, Any]) -> str:
    if found.get("best") == "validation-loss":
        return "of the checkpoint with the lowest validation loss"
    return "of the last step"


def result_lines(report: FinetuneReport) -> list[tuple[str, str]]:
    """Numbers of the training; those that were not measured are left out."""
    numbers = report.training
    memory = numbers.memory_bytes
    lines = [
        ("Steps", _steps(numbers)),
        ("Passes over the data", "" if numbers.epoch is None else f"{numbers.epoch:.2f}"),
        ("Loss of the last step", _nats(numbers.loss)),
        ("Validation loss", _nats(numbers.validation_loss)),
        (
            "Tokens per second",
            "" if numbers.tokens_per_second is None else f"{numbers.tokens_per_second:,.0f}",
        ),
        ("Trained tokens", _share(numbers.trained_share, "of all tokens, those of answers")),
        ("Memory of the fullest GPU", "" if memory is None else f"{memory / 2**30:.1f} GiB"),
        ("Model FLOPs utilization", _share(numbers.mfu, "of the GPUs' peak")),
        ("Interruptions", resume_words(numbers.resumes)),
        ("Training rows", "" if report.train_rows is None else f"{report.train_rows:,}"),
        ("Validation rows", "" if report.validation_rows is None else f"{report.validation_rows:,}"),
        ("Wall time of the last try", "" if report.seconds is None else duration(report.seconds)),
    ]
    return [(name, words) for name, words in lines if words]


def resume_words(resumes: int | None) -> str:
    """How often training was interrupted and went on; empty: it is not known."""
    if resumes is None:
        return ""
    if not resumes:
        return "none"
    return f"{resumes}: each time training went on from the last checkpoint"


def _steps(numbers: Training) -> str:
    if numbers.step is None:
        return ""
    words = f"{numbers.step:,}"
    if numbers.steps is not None and numbers.steps != numbers.step:
        words += f" of {numbers.steps:,}"
    if numbers.stopped_early:
        words += "; ended early, because the validation loss no longer fell"
    return words + (
        f"; the model is that of step {numbers.best_step:,}" if numbers.best_step is not None else ""
    )


def _nats(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f} nats per token"


def _share(value: float | None, of: str) -> str:
    return "" if value is None else f"{100 * value:.1f} % {of}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def hub_name(base: TrainedFrom) -> tuple[str, str]:
    """Name and revision of a base model on the Hugging Face hub; empty where it is from elsewhere."""
    found = _HUB.fullmatch(base.name)
    return (found[1], found[2] or "") if found else ("", "")
