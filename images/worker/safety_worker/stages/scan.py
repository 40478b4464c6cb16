"""The scan stage: garak's probes against the target, one after the other.

Output: ``probes.json`` and, for each probe, ``probes/<name>/`` with garak's report and ``pairs.json``. A
probe that has a result is not run again when the stage is started again. One that gave none is tried once
more; tries are counted on disk before they begin, so that a probe that takes the whole pod down is listed as
missing in the end, like any other, and does not take the scan along.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safety_records.eval_stages import ScanStage
from safety_records.progress import Progress
from safety_records.result import StageResult
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.generation.target import Target
from safety_worker.generation.tls_relay import asked_directly, without_tls
from safety_worker.reporting.tool_results import PROBES_NAME
from safety_worker.scanning.catalogue import find_calibration, garak_version, load_probes
from safety_worker.scanning.configuration import LOG_NAME, garak_environment, garak_settings
from safety_worker.scanning.probes import Runner, check_probe_name, run_probe
from safety_worker.scanning.report import PairResult, ProbeReport
from safety_worker.scanning.warm import Launcher
from safety_worker.transport.hub_cache import open_cache

RESULT_NAME = "pairs.json"
TRIES_NAME = "tries.json"

MAX_TRIES = 2
"""Tries of a probe, over all pods of the stage."""


def run(spec: ScanStage, context: StageContext) -> StageResult:
    """Run every probe that has no result yet; a probe that gives none is listed with the reason."""
    names = list(dict.fromkeys(map(check_probe_name, spec.probes)))
    folder = context.store.output(spec.out)
    catalogue = load_probes()
    scratch = context.scratch / "garak"
    (scratch / "home").mkdir(parents=True, exist_ok=True)
    key = context.secret(spec.target.api_key_env)
    cache = open_cache(spec.cache, context.inputs, scratch, "security.garak") if spec.cache else None
    allowed = spec.downloads == "allow"
    environment = garak_environment(context.environment, scratch, key, downloads=allowed, cache=cache)
    target = Target(spec.target, key, garak_settings(spec))
    with (
        without_tls(spec.target) as asked,
        Launcher(asked_directly(environment), scratch / "launcher.log") as launcher,
    ):
        scan = Scan(spec.model_copy(update={"target": asked}), context, folder, launcher, target)
        reports = {name: scan.probe(number, name, catalogue) for number, name in enumerate(names)}
    context.report_progress(scan.progress(len(names), "scanned"))
    summary = summarise_scan(reports, spec)
    atomic_write_text(folder / PROBES_NAME, json.dumps(summary, indent=1))
    return StageResult(
        stage="scan",
        inputs_hash=spec.inputs_hash,
        rows=sum(not pair["missing"] for pair in summary["probes"]),
        warnings=tuple(dict.fromkeys(said for report in reports.values() for said in report.warnings)),
        versions={"garak": garak_version(), "garak-calibration": summary["calibrationFile"] or "none"},
    )


class Scan:
    """One scan: its specification, its surroundings and its output folder."""

    def __init__(
        self, spec: ScanStage, context: StageContext, folder: Path, launcher: Launcher, target: Target
    ) -> None:
        self._spec = spec
        self._context = context
        self._folder = folder
        self._target = target
        self._done = 0
        scratch = context.scratch / "garak"
        self._runner = Runner(spec, target, launcher, scratch / "run", scratch / LOG_NAME, self._report_probe)

    def probe(self, number: int, name: str, catalogue: Mapping[str, Any]) -> ProbeReport:
        """A probe's result: the kept one, or a new one."""
        self._done = number
        folder = self._folder / "probes" / name
        kept = load_report(folder / RESULT_NAME)
        if kept is not None:
            return kept
        if name not in catalogue:
            return ProbeReport((), "", "", f"garak {garak_version()} has no probe {name}"[:200])
        folder.mkdir(parents=True, exist_ok=True)
        report = self._try(name, catalogue[name], folder)
        if not report.missing:
            atomic_write_text(folder / RESULT_NAME, json.dumps(report._asdict() | {"pairs": [*report.pairs]}))
        return report

    def _try(self, name: str, probe: Mapping[str, Any], folder: Path) -> ProbeReport:
        """Try a probe as often as may help; what is missing then says how often it was tried."""
        tries = Tries(folder / TRIES_NAME)
        report = ProbeReport((), "", "", tries.reason or "its pod was stopped while it ran")
        again = True
        while again and tries.count < MAX_TRIES:
            self._target.wait(self._report_waiting, answer=True)
            tries.begin()
            try:
                report, again = run_probe(self._runner, name, probe, folder)
            except SystemExit:  # the pod is being moved, which is not the probe's doing
                tries.take_back()
                raise
            tries.end(report.missing)
        if not report.missing or tries.count < MAX_TRIES:
            return report
        return report._replace(missing=f"{report.missing[:180]}, {tries.count} times")

    def progress(self, done: int, message: str) -> Progress:
        """A progress line."""
        return Progress(stage="scan", done=done, total=len(self._spec.probes), unit="probes", message=message)

    def _report_probe(self, name: str, seconds: float) -> None:
        self._context.report_progress(self.progress(self._done, f"garak {name}: {seconds:.0f} s"))

    def _report_waiting(self, seconds: float) -> None:
        self._context.report_progress(
            self.progress(self._done, f"waiting for the target to answer: {seconds:.0f} s")
        )


class Tries:
    """How often a probe has been tried, and what the last try gave; survives the pod."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.count = int(kept.get("count", 0))
        self.reason = str(kept.get("reason", ""))

    def begin(self) -> None:
        """Count a try before it begins; unless it ends, the pod went down with it."""
        self.count += 1
        self._write("")

    def end(self, reason: str) -> None:
        """Keep why the try gave nothing."""
        self._write(reason)

    def take_back(self) -> None:
        """Do not count a try that was cut short from outside."""
        self.count -= 1
        self._write(self.reason)

    def _write(self, reason: str) -> None:
        self.reason = reason
        atomic_write_text(self._path, json.dumps({"count": self.count, "reason": reason}))


def load_report(path: Path) -> ProbeReport | None:
    """A probe's kept result; None if there is none."""
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    pairs = tuple(PairResult(*pair) for pair in kept["pairs"])
    return ProbeReport(**kept | {"pairs": pairs, "warnings": tuple(kept.get("warnings", ()))})


def summarise_scan(reports: Mapping[str, ProbeReport], spec: ScanStage) -> dict[str, Any]:
    """Content of ``probes.json``."""
    calibrations = sorted({report.calibration for report in reports.values() if report.calibration})
    pairs = [pair for report in reports.values() if not report.missing for pair in report.pairs]
    return {
        "garakVersion": garak_version(),
        "calibration": "; ".join(calibrations),
        "calibrationFile": find_calibration(),
        "detectors": spec.detectors,
        "generations": spec.generations,
        "promptCap": spec.prompt_cap,
        "probes": [pair._asdict() | {"hits": pair.hits} for pair in pairs],
        "missing": [
            {"probe": name, "reason": report.missing} for name, report in reports.items() if report.missing
        ],
    }
