"""Mistakes in ``spec.overrides``, told before anything is fetched."""

from difflib import get_close_matches

from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_records.trl_arguments import ARGUMENTS, ELSEWHERE, OWNED


def check_overrides(spec: SafetyFinetuneSpec) -> str:
    """The first mistake, empty if there is none."""
    names = spec.overrides if spec.backend == "trl" else {}
    return next(filter(None, map(_check_argument, names)), "")


def _check_argument(name: str) -> str:
    if name in OWNED:
        return (
            f"spec.overrides.{name}: resuming depends on it, so it cannot be set here. "
            "Use the fields of schedule and checkpoint."
        )
    if name in ELSEWHERE:
        return f"spec.overrides.{name}: use spec.{ELSEWHERE[name]}, which takes its token from a Secret."
    if name in ARGUMENTS:
        return ""
    near = get_close_matches(name, sorted(ARGUMENTS), 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"spec.overrides.{name}: trl.SFTConfig has no such argument.{hint}"
