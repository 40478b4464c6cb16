"""What the operator always tells a stage, for tests that are about something else.

Stages have no defaults of their own where a planner passes a value: those of a resource stand in its kind.
"""

from typing import Any

from safety_worker.blending.choosing import Rule

_CHOOSING = {"agreement": "all", "pick": "first", "reasoning": "strip"}
_GRADIENT = {"seed": 42}

SETTINGS: dict[str, dict[str, Any]] = {
    "benchmark": {"seed": 42},
    "collect": {"max_invalid": 0.02},
    "screen": {
        **_CHOOSING,
        "parts": ["retain"],
        "gradient": _GRADIENT,
        "batch_tokens": 8192,
        "device": "cpu",
    },
    "assemble": {
        **_CHOOSING,
        "candidates": 1,
        "on_unparsed": "drop",
        "max_tokens": 16384,
        "validation": 0.03,
        "split_seed": 42,
        "format": "jsonl",
    },
}
"""By stage."""


def choosing_rule(judges: int, **changes: Any) -> Rule:
    """How an answer is chosen of those that so many judges saw."""
    return Rule.model_validate({**_CHOOSING, "judges": judges, **changes})
