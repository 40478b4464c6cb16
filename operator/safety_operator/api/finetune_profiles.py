"""Published settings of fine-tuning by name: ``spec.profile`` of a SafetyFinetune.

A profile holds values for what the spec leaves out. A field that the CRD fills in by itself is in a profile
only with the same value, which a test checks; all others have no default in the CRD (``UNSET``).
"""

from collections.abc import Mapping
from typing import Any, Literal

from safety_records.numbers import exact

Profile = Literal["safety-blueprint"]
"""Names of profiles."""

PROFILES: Mapping[Profile, Mapping[str, Mapping[str, Any]]] = {
    "safety-blueprint": {
        "schedule": {
            "steps": 40,
            "learning_rate": 5e-7,
            "min_learning_rate": 5e-8,
            "warmup_steps": 20,
            "decay": "cosine",
            "weight_decay": 0.01,
            "betas": (0.9, 0.95),
            "max_grad_norm": 1.0,
        },
        "batch": {"global_": 16, "micro": 1, "max_sequence_length": 8192},
        "checkpoint": {"every_steps": 20, "keep": 3, "best": "validation-loss"},
        "validation": {"every_steps": 20},
    }
}
"""By name, part of the spec and field.

safety-blueprint: NVIDIA's safety blueprint for agentic AI, for all weights of an 8B model on eight GPUs.
"""

LEARNING_RATES: Mapping[str, float] = {"full": 5e-7, "lora": 1e-4}
"""Peak learning rate by ``method.type``, where the spec gives none. Full: the blueprint's. LoRA: adapters
start at zero and need rates of the order of 1e-4; with that of full fine-tuning they would learn nothing."""

_BLUEPRINT = PROFILES["safety-blueprint"]["schedule"]


def profile_rules() -> tuple[tuple[str, str], ...]:
    """What a spec says has to fit what its profile fills in."""
    warmup, rate = _BLUEPRINT["warmup_steps"], exact(_BLUEPRINT["min_learning_rate"])
    named, where = "!has(self.profile)", "self.schedule"
    return (
        (
            f"{named} || self.method.type == 'full' || has({where}.learningRate)",
            "profile safety-blueprint has a learning rate for method full only: set schedule.learningRate",
        ),
        (
            f"{named} || has({where}.warmupSteps) || !has({where}.steps) || {where}.steps >= {warmup}",
            f"profile safety-blueprint warms up for {warmup} steps: set schedule.warmupSteps as well",
        ),
        (
            (
                f"{named} || has({where}.steps) || has({where}.epochs) || !has({where}.warmupSteps) || "
                f"{where}.warmupSteps <= {_BLUEPRINT['steps']}"
            ),
            (
                f"profile safety-blueprint has {_BLUEPRINT['steps']} steps: warm-up is part of them, so set "
                "schedule.steps as well"
            ),
        ),
        (
            (
                f"{named} || has({where}.minLearningRate) || !has({where}.learningRate) || "
                f"!{where}.learningRate.matches('^[0-9.]+([eE]-?[0-9]+)?$') || "
                f"double({where}.learningRate) >= {rate}"
            ),
            (
                f"profile safety-blueprint ends at a learning rate of {rate}: set "
                "schedule.minLearningRate as well"
            ),
        ),
        (
            f"{named} || has(self.data.blendRef) || has(self.checkpoint.best)",
            (
                "profile safety-blueprint keeps the checkpoint with the lowest validation loss, and data.uri "
                "has no validation rows: set checkpoint.best to none, or name a SafetyBlend"
            ),
        ),
    )


def rate_rule() -> tuple[str, str]:
    """A rate at the end is not above the default peak either; a given peak is the schedule's own rule."""
    where, full, lora = "self.schedule", LEARNING_RATES["full"], LEARNING_RATES["lora"]
    return (
        (
            f"has({where}.learningRate) || !has({where}.minLearningRate) || "
            f"!{where}.minLearningRate.matches('^[0-9.]+([eE]-?[0-9]+)?$') || "
            f"double({where}.minLearningRate) <= (self.method.type == 'lora' ? {exact(lora)} : {exact(full)})"
        ),
        (
            f"schedule.minLearningRate is above the default learning rate ({exact(full)} for method full, "
            f"{exact(lora)} for lora): set schedule.learningRate as well"
        ),
    )
