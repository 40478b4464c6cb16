"""Mistakes of a spec that CEL cannot see: in regular expressions of Python, arguments, cron, garak's probes.

Everything else that a spec alone shows is a rule of its schema, which the API server enforces.
"""

import re
from collections.abc import Iterator, Sequence

from safety_operator.api.common import GPU, Resources, Serving
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.api.judges import Judge
from safety_operator.api.quantities import amount
from safety_operator.api.safety_blend import SafetyBlendSpec
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.children.runtimes import RUNTIMES
from safety_operator.planning.shared.garak_probes import find_downloads, select_probes
from safety_operator.planning.shared.schedule import DEFAULT_ZONE, check_schedule


def check_eval(spec: SafetyEvalSpec) -> str:
    """The first mistake of a SafetyEval, empty if there is none."""
    checks = [
        check_gpus(spec.serving, "spec.serving"),
        check_judges(spec.judges),
        *(
            check_pattern(task.answer_pattern or "", f"spec.accuracy[{index}].answerPattern")
            for index, task in enumerate(spec.accuracy)
        ),
        *_check_probes(spec),
        check_schedule(spec.schedule, spec.time_zone or DEFAULT_ZONE) if spec.schedule else "",
    ]
    return next(filter(None, checks), "")


def check_blend(spec: SafetyBlendSpec) -> str:
    """The first mistake of a SafetyBlend, empty if there is none."""
    return check_gpus(spec.on_policy.serving, "spec.onPolicy.serving") or check_judges(spec.judges)


def check_deployment(spec: GuardedDeploymentSpec) -> str:
    """The first mistake of a GuardedDeployment, empty if there is none."""
    return check_gpus(spec.serving, "spec.serving")


def check_judges(judges: Sequence[Judge]) -> str:
    """The first mistake in a judge's parser or server, empty if there is none."""
    for index, judge in enumerate(judges):
        where = f"spec.judges[{index}]"
        regex = judge.custom.parser.regex if judge.custom else None
        mistake = check_pattern(regex or "", f"{where}.custom.parser.regex")
        mistake = mistake or (check_gpus(judge.serving, f"{where}.serving") if judge.serving else "")
        if mistake:
            return mistake
    return ""


def check_gpus(serving: Serving, where: str) -> str:
    """That the GPUs named in resources are as many as the engine takes by its arguments; empty if so."""
    count = RUNTIMES[serving.runtime].gpus(serving)
    named = serving.resources or Resources()
    for part, given in (("requests", named.requests.get(GPU)), ("limits", named.limits.get(GPU))):
        if given is not None and amount(given) != count:
            return (
                f"{where}.resources.{part}: {given} of {GPU}, but tensorParallelSize and args make {count}: "
                f"leave {GPU} out."
            )
    return ""


def check_pattern(pattern: str, where: str) -> str:
    """A regular expression with at most one group, checked before the work that leads to it."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        return f"{where}: {error}. Write a regular expression of Python."
    return "" if groups <= 1 else f"{where}: {groups} groups. Mark what counts with one."


def _check_probes(spec: SafetyEvalSpec) -> Iterator[str]:
    """Probes that garak knows, and thresholds over those that are run."""
    if spec.security is None:
        return
    selected = select_probes(spec.security.garak.probes, spec.security.garak.exclude)
    yield selected.mistake
    yield _check_downloads(spec)
    measured = {"security.resilience", *(f"security.{probe}" for probe in selected.probes)}
    for index, threshold in enumerate(spec.thresholds):
        if threshold.metric.startswith("security.") and threshold.metric not in measured:
            yield (
                f"spec.thresholds[{index}].metric: {threshold.metric} is not measured by this spec, whose "
                f"scan measures {', '.join(sorted(measured)[:12])}. Name one of these, or add the probe."
            )


MAX_NAMED = 6
"""Probes that a message names; the names are up to 40 characters long."""


def missing_downloads(spec: SafetyEvalSpec) -> tuple[str, ...]:
    """Probes that will have no number, because they need downloads and downloads are refused."""
    if spec.security is None or spec.security.garak.downloads == "allow":
        return ()
    garak = spec.security.garak
    return find_downloads(select_probes(garak.probes, garak.exclude).probes, garak.detectors)


def downloads_warning(spec: SafetyEvalSpec) -> str:
    """That probes will be missing, and resilience with them; empty if none will."""
    names = missing_downloads(spec)
    if not names:
        return ""
    shown = ", ".join(names[:MAX_NAMED]) + (" and others" if len(names) > MAX_NAMED else "")
    return (
        f"spec.security.garak.downloads is refuse, and {shown} need downloads: they, and "
        "security.resilience, will be missing. Set downloads to allow (with a cache where there is no "
        "network), or exclude them."
    )


def _check_downloads(spec: SafetyEvalSpec) -> str:
    """A threshold over what will be missing cannot be met."""
    absent = {f"security.{name}" for name in missing_downloads(spec)}
    absent |= {"security.resilience"} if absent else set()
    index = next((n for n, item in enumerate(spec.thresholds) if item.metric in absent), None)
    return "" if index is None else f"spec.thresholds[{index}] cannot be met: {downloads_warning(spec)}"
