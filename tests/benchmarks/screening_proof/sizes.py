"""How much of everything."""

from typing import NamedTuple


class Sizes(NamedTuple):
    """Rows, tokens and steps of one experiment."""

    refusals: int
    """Prompts whose refusals the hardened model is trained on."""
    hardening_benign: int
    """Benign rows it is trained on as well."""
    hardening_epochs: float
    benign: int
    """Benign rows of the set that is screened."""
    hidden: int
    """Harmful prompts whose answers are hidden among them; those that the base model refuses are left out."""
    anchors: int
    """Harmful prompts whose answers are anchors; none of them is hidden or trained on."""
    tuning_epochs: float
    """Passes over the screened set."""
    exam: int
    """HarmBench prompts of the exam."""
    tokens: int
    """New tokens of an answer that is trained on."""
    exam_tokens: int
    """New tokens of an answer in the exam: a refusal comes first."""
    larf_layers: tuple[int, ...]
    """Layers that larf is tried at."""


SIZES = {
    "tiny": Sizes(24, 16, 1, 40, 8, 8, 1, 16, 24, 16, (15,)),
    "small": Sizes(160, 100, 1.5, 160, 48, 24, 1.5, 160, 48, 32, (10, 15, 20)),
}
"""By name. ``tiny`` tries out that everything runs; its numbers say nothing."""

SEED = 42
BATCH = 8
SEQUENCE = 64
"""Tokens of a training row: whether an answer is a refusal is decided by its first ones."""
LEARNING_RATE = 1e-3
GENTLE_RATE = 2e-4
"""Of a fine-tuning that moves the model little; it makes half as many passes as well."""
