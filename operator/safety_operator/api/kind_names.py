"""The names of the four kinds, apart from their models: who only asks for resources needs no schema."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KindNames:
    """What a kind is called."""

    kind: str
    plural: str
    short: str
    batch: bool = True
    """Whether it comes to an end, and so has the condition Succeeded."""


EVAL = KindNames(kind="SafetyEval", plural="safetyevals", short="seval")
BLEND = KindNames(kind="SafetyBlend", plural="safetyblends", short="sblend")
FINETUNE = KindNames(kind="SafetyFinetune", plural="safetyfinetunes", short="sft")
GUARDED = KindNames(kind="GuardedDeployment", plural="guardeddeployments", short="gdep", batch=False)

KIND_NAMES = (EVAL, BLEND, FINETUNE, GUARDED)
"""In the order in which one depends on the other."""
