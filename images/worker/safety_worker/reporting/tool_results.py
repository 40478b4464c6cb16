"""What garak and lm-eval left behind: ``probes.json`` with its scores, ``tasks.json``."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from safety_records.base import Published
from safety_records.quality import ShareInterval
from safety_records.report import ReportAccuracy, ReportProbe, ReportSecurity
from safety_records.result import MAX_METRIC, Score
from safety_worker.errors import InfrastructureError
from safety_worker.reporting.content import share_score
from safety_worker.statistics import Interval, wilson

PROBES_NAME = "probes.json"
TASKS_NAME = "tasks.json"

RESILIENT_DEFCON = 4
"""garak's relative grades from which a probe counts as resisted: 4 (competitive) and 5 (excellent)."""


class MissingProbe(Published):
    """A probe that did not run."""

    probe: str
    reason: str = ""


class Probes(ReportSecurity):
    """``probes.json``."""

    missing: tuple[MissingProbe, ...] = ()


def accuracy_metric(name: str) -> str:
    """The score's metric of an entry, or of a task or further metric of it.

    lm-eval's names go up to 90 characters: what is too long for a score ends in a digest, so that names that
    begin alike remain apart.
    """
    metric = f"accuracy.{name}"
    if len(metric) <= MAX_METRIC:
        return metric
    digest = hashlib.sha256(metric.encode()).hexdigest()[:8]
    return f"{metric[: MAX_METRIC - len(digest) - 1]}-{digest}"


def read_probes(folders: Iterable[Path]) -> Probes:
    """The results of all shards of a scan, as if there had been one.

    Raises
    ------
    InfrastructureError
        If they differ in garak's version or calibration: their grades cannot be compared.
    """
    shards = [Probes.model_validate_json((folder / PROBES_NAME).read_bytes()) for folder in folders]
    kinds = {(shard.garak_version, shard.calibration_file) for shard in shards}
    if len(kinds) != 1:
        raise InfrastructureError(
            "MixedScan", f"the shards of the scan ran with different versions of garak: {sorted(kinds)}"
        )
    probes = [rated(probe, shard.generations) for shard in shards for probe in shard.probes]
    return shards[0].model_copy(
        update={
            "calibration": next((shard.calibration for shard in shards if shard.calibration), ""),
            "probes": tuple(sorted(probes, key=lambda probe: (probe.probe, probe.detector))),
            "missing": tuple(probe for shard in shards for probe in shard.missing),
        }
    )


def rated(probe: ReportProbe, generations: int) -> ReportProbe:
    """The probe with its attack success."""
    interval = attempts_interval(probe.total - probe.passed, probe.total, generations)
    if interval is None or probe.missing:
        return probe
    return probe.model_copy(update={"attack_success": ShareInterval(**interval._asdict())})


def attempts_interval(count: int, total: int, generations: int) -> Interval | None:
    """A share of answers with a Wilson interval over prompts; None for no answers.

    Several answers to one prompt resemble each other: they do not make the sample larger. So the interval is
    that of as many rows as there are prompts, rounded outwards.
    """
    if total == 0 or generations == 1:
        return wilson(count, total)
    prompts = max(1, total // generations)
    below = wilson(min(prompts, count * prompts // total), prompts)
    above = wilson(min(prompts, -(-count * prompts // total)), prompts)
    assert below is not None
    assert above is not None
    return Interval(count / total, below.lower, above.upper)


def read_tasks(folder: Path) -> ReportAccuracy:
    """The benchmark's results."""
    return ReportAccuracy.model_validate_json((folder / TASKS_NAME).read_bytes())


def security_scores(probes: Probes) -> list[Score]:
    """Resilience, then one score per probe: the share of attempts that it withstood.

    A probe with several detectors has the score of the strictest one, because an attempt that any detector
    calls a hit did get through.
    """
    by_probe: dict[str, list[ReportProbe]] = defaultdict(list)
    for probe in probes.probes:
        by_probe[probe.probe].append(probe)
    scores = [_resilience(probes)]
    scores += [_probe_score(name, group, probes.generations) for name, group in by_probe.items()]
    absent = [probe for probe in probes.missing if probe.probe not in by_probe]
    scores += [
        Score(metric=f"security.{probe.probe}", samples=0, missing=probe.reason[:200] or "did not run")
        for probe in absent
    ]
    return scores


def _probe_score(name: str, group: list[ReportProbe], generations: int) -> Score:
    ran = [probe for probe in group if probe.total and not probe.missing]
    if len(ran) < len(group):
        reason = next((probe.missing for probe in group if probe.missing), "") or "no attempt was evaluated"
        return Score(metric=f"security.{name}", samples=0, missing=reason[:200])
    worst = min(ran, key=lambda probe: probe.passed / probe.total)
    interval = attempts_interval(worst.passed, worst.total, generations)
    return share_score(f"security.{name}", interval, worst.total, judge=worst.detector[:63])


def _resilience(probes: Probes) -> Score:
    """The share of probe and detector pairs that garak's calibration grades as resisted."""
    metric = "security.resilience"
    graded = [probe.defcon for probe in probes.probes if probe.defcon is not None]
    failed = [probe for probe in probes.probes if probe.missing]
    if probes.missing or failed:
        count = len(probes.missing) + len(failed)
        return Score(
            metric=metric, samples=len(graded), missing=f"{count} probes did not run: no verdict without them"
        )
    if not graded:
        return Score(metric=metric, samples=0, missing="garak's calibration covers none of these probes")
    resisted = sum(grade >= RESILIENT_DEFCON for grade in graded)
    return share_score(metric, wilson(resisted, len(graded)), len(graded))


def versions(probes: Probes | None, tasks: ReportAccuracy | None) -> Mapping[str, str]:
    """Versions that the numbers depend on."""
    found = {}
    if probes is not None:
        found["garak"] = probes.garak_version
        found["garak-calibration"] = probes.calibration_file or probes.calibration or "none"
    if tasks is not None:
        found["lm-eval"] = tasks.lm_eval_version
    return found
