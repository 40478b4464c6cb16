"""Run one garak probe in a process of its own and read its result.

A probe that hangs, dies or finds its detector missing takes no other along. garak does all of these.
"""

import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from safety_records.eval_stages import ScanStage
from safety_worker.empty_answers import EmptyReason
from safety_worker.errors import InputError
from safety_worker.generation.target import Target
from safety_worker.library_warnings import warnings_in_log
from safety_worker.scanning.catalogue import expected_detectors
from safety_worker.scanning.configuration import PREFIX, build_configuration
from safety_worker.scanning.report import NO_SILENCE, ProbeReport, read_report
from safety_worker.scanning.warm import Launcher, ProbeOrder
from safety_worker.subprocesses import Ending, Outcome

log = logging.getLogger(__name__)

REPORT_NAME = f"{PREFIX}.report.jsonl"
KEPT_NAMES = (REPORT_NAME, f"{PREFIX}.hitlog.jsonl")
"""garak's files that are kept; its HTML page (1.8 MB a probe) says nothing that these do not."""

CHECK_SECONDS = 5.0
"""Time between two looks at the target while a probe runs."""

DEAD_SECONDS = 60.0
"""A target that has not answered for so long is dead; garak itself would go on asking."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NOT_LOADED = re.compile(r"detector load failed: [\w.]+|failed to load probe [\w.]+")
_WARNING = re.compile(rb"\S+ \S+  (?:WARNING|ERROR)  ")
_LAST_WORDS = re.compile(_NOT_LOADED.pattern + r"|^[A-Za-z_.]*(?:Error|Exception)\b", re.MULTILINE)


class Runner(NamedTuple):
    """What is the same for all probes of a scan."""

    spec: ScanStage
    target: Target
    launcher: Launcher
    scratch: Path
    log: Path
    """garak's own log, of all probes."""
    on_tick: Callable[[str, float], None]
    """Told the probe and its seconds so far, about twice a second."""


class Try(NamedTuple):
    """What one try of a probe gave."""

    report: ProbeReport
    again: bool
    """Whether another try may give more."""


class TargetWatch:
    """Notices that the target has been dead for a while."""

    def __init__(self, target: Target, clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._clock = clock
        self._checked = self._answered = clock()

    def is_dead(self) -> bool:
        """Whether it has not answered for :data:`DEAD_SECONDS`; looks every :data:`CHECK_SECONDS`."""
        now = self._clock()
        if now - self._checked >= CHECK_SECONDS:
            if self._target.is_alive():
                self._answered = self._clock()
            self._checked = self._clock()
        return self._checked - self._answered >= DEAD_SECONDS


def run_probe(runner: Runner, name: str, probe: Mapping[str, object], folder: Path) -> Try:
    """Run a probe of the catalogue and leave its report in ``folder``.

    Never raises for what garak does: whatever goes wrong is a missing result with a reason.
    """
    scratch = runner.scratch / name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    configuration = scratch / "garak.yaml"
    content = build_configuration(runner.spec, name, scratch, runner.target.form)
    configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    watch = TargetWatch(runner.target)

    def give_up(seconds: float) -> bool:
        runner.on_tick(name, seconds)
        return watch.is_dead()

    order = ProbeOrder(configuration, scratch / "garak.log", runner.spec.reasoning_end)
    read = runner.log.stat().st_size if runner.log.is_file() else 0
    outcome = runner.launcher.run(order, runner.spec.probe_timeout_seconds, give_up)
    detectors = expected_detectors(probe, runner.spec.detectors)
    report = collect(scratch, folder, name, detectors, read_silence(order.silence))
    shutil.rmtree(scratch, ignore_errors=True)
    log.info("probe ended: probe=%s ending=%s seconds=%.1f", name, outcome.ending, outcome.seconds)
    missing = explain_failure(report, outcome, runner.spec.probe_timeout_seconds)
    report = report._replace(missing=missing, warnings=read_warnings(runner.log, read))
    return Try(report, again=bool(missing) and may_help(report, outcome))


def read_warnings(path: Path, begin: int) -> tuple[str, ...]:
    """What garak's log says from a byte on that decides the numbers, each once."""
    if not path.is_file():
        return ()
    with path.open("rb") as lines:
        lines.seek(begin)
        return warnings_in_log(line.decode("utf-8", "replace") for line in lines if _WARNING.match(line))


def may_help(report: ProbeReport, outcome: Outcome) -> bool:
    """Whether a failed probe is worth another try: not if garak came to its end, or lacks what it needs."""
    return report.unfinished and not _NOT_LOADED.search(_COLOUR.sub("", outcome.log))


def read_silence(notes: Path) -> Counter[EmptyReason]:
    """How many answers without text the launcher has noted, by why."""
    if not notes.is_file():
        return Counter()
    return Counter(map(EmptyReason, notes.read_text(encoding="utf-8").splitlines()))


def collect(
    scratch: Path,
    folder: Path,
    name: str,
    detectors: tuple[str, ...],
    silence: Mapping[EmptyReason, int] = NO_SILENCE,
) -> ProbeReport:
    """Move garak's files to where they are kept and read the report."""
    folder.mkdir(parents=True, exist_ok=True)
    for kept in KEPT_NAMES:
        (folder / kept).unlink(missing_ok=True)  # of an earlier try
        if (scratch / kept).is_file():
            shutil.move(scratch / kept, folder / kept)
    path = folder / REPORT_NAME
    if not path.is_file():
        return ProbeReport((), "", "", "garak left no report", unfinished=True)
    with path.open(encoding="utf-8", errors="replace") as lines:
        return read_report(lines, name, detectors, silence)


def explain_failure(report: ProbeReport, outcome: Outcome, timeout_seconds: float) -> str:
    """Why the probe has no result, in words for people; empty if it has one. Never model text."""
    if not report.missing:
        return ""
    if outcome.ending is Ending.TIMED_OUT:
        return f"not finished within {timeout_seconds:.0f} s"
    if outcome.ending is Ending.GIVEN_UP:
        return "the target stopped answering"
    words = _LAST_WORDS.findall(_COLOUR.sub("", outcome.log))
    said = f": {words[-1]}" if words else ""
    how = "its process died" if outcome.code is None else f"exit code {outcome.code}"
    return f"{report.missing} ({how}{said})"[:200]


def check_probe_name(name: str) -> str:
    """The probe's name, which becomes a folder's.

    Raises
    ------
    InputError
        If it has another form than ``module.Class``.
    """
    if not re.fullmatch(r"[a-z_0-9]+\.[A-Za-z_0-9]+", name):
        raise InputError(
            "InvalidProbe", f"security.garak.probes: {name[:80]!r} is not of the form module.Class"
        )
    return name
