"""Read what garak left: the ``eval`` and ``digest`` entries of a report, and nothing else.

garak ends with exit code 0 when a probe hit, when a probe did not load, when a detector did not load, and
when nothing could be evaluated. So a number counts only if its ``eval`` entry is there, evaluated something,
and the run reached its ``digest``. Everything else is a missing number with a reason, never 0.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from safety_worker.empty_answers import REMEDIES, EmptyReason, too_many_empty

DIGEST_MISSING = "garak stopped before its digest"
NOTHING_EVALUATED = "no answer could be evaluated"
NO_ENTRY = "the detector gave no result, it may not have loaded"

REMEDY = "raise garak.maxTokens, set sampling.reasoningEnd, or disable the server's reasoning parser"
"""Against answers without text: garak's own limit of 150 tokens is too short for reasoning."""


NO_SILENCE: Mapping[EmptyReason, int] = MappingProxyType({})


class PairResult(NamedTuple):
    """One probe with one detector."""

    probe: str
    detector: str
    passed: int = 0
    """Answers that withstood."""
    total: int = 0
    """Answers that were evaluated."""
    zscore: float | None = None
    """Distance to the calibration's models in standard deviations; None: not calibrated."""
    defcon: int | None = None
    """1 (worst) to 5; None: not calibrated."""
    missing: str = ""
    """Why there is no number."""

    @property
    def hits(self) -> int:
        """Answers in which the attack succeeded."""
        return self.total - self.passed


class ProbeReport(NamedTuple):
    """One probe's results with all its detectors."""

    pairs: tuple[PairResult, ...]
    version: str
    """garak's version, empty if the report does not say it."""
    calibration: str
    """Date and size of the calibration; empty if none was used."""
    missing: str
    """Why the probe has no result at all."""
    unfinished: bool = False
    """Whether garak did not come to its end: what is missing may be there next time."""
    warnings: tuple[str, ...] = ()
    """What garak's log says that decides the numbers, in words of ours."""


def read_report(
    lines: Iterable[str],
    probe: str,
    detectors: Iterable[str],
    silence: Mapping[EmptyReason, int] = NO_SILENCE,
) -> ProbeReport:
    """Results of one probe from the lines of its ``report.jsonl``.

    Parameters
    ----------
    lines
        The file's lines. A last line that was cut off counts as absent.
    probe
        Name such as ``dan.DanInTheWild``.
    detectors
        Detectors that have to have given a result.
    silence
        How many answers hold no text, by why; for the words of the reason only.
    """
    entries = list(parse_entries(lines))
    version = next((str(e["garak_version"]) for e in entries if e["entry_type"] == "init"), "")
    digest = next((e for e in entries if e["entry_type"] == "digest"), None)
    if digest is None:
        return ProbeReport((), version, "", DIGEST_MISSING, unfinished=True)
    evals = {e["detector"]: e for e in entries if e["entry_type"] == "eval" and e["probe"] == probe}
    if not evals:
        return ProbeReport((), version, "", "garak ran without this probe, it may not have loaded")
    wanted = sorted({*detectors, *evals})
    scores = find_scores(digest, probe)
    pairs = tuple(read_pair(probe, name, evals.get(name), scores.get(name, {}), silence) for name in wanted)
    missing = "" if any(not pair.missing for pair in pairs) else pairs[0].missing
    return ProbeReport(pairs, version, read_calibration(digest), missing)


def parse_entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Entries of a report; lines that are no JSON object with an ``entry_type`` are skipped."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("entry_type"), str):
            yield entry


def read_pair(
    probe: str,
    detector: str,
    entry: dict[str, Any] | None,
    score: dict[str, Any],
    silence: Mapping[EmptyReason, int] = NO_SILENCE,
) -> PairResult:
    """One pair from its ``eval`` entry and its part of the digest."""
    if entry is None:
        return PairResult(probe, detector, missing=NO_ENTRY)
    passed, total = int(entry["passed"]), int(entry["total_evaluated"])
    processed = int(entry.get("total_processed", total))
    if too_many_empty(processed - total, processed):
        return PairResult(probe, detector, missing=explain_silence(processed - total, processed, silence))
    if total == 0:
        return PairResult(probe, detector, missing=NOTHING_EVALUATED)
    if not score:
        return PairResult(probe, detector, missing="the digest lacks this detector")
    if (int(score["passed"]), int(score["total_evaluated"])) != (passed, total):
        return PairResult(probe, detector, missing="the digest contradicts the evaluation")
    calibrated = score.get("calibration_used") is True
    return PairResult(
        probe,
        detector,
        passed,
        total,
        zscore=float(score["relative_score"]) if calibrated else None,
        defcon=int(score["relative_defcon"]) if calibrated else None,
    )


def explain_silence(silent: int, processed: int, found: Mapping[EmptyReason, int]) -> str:
    """Why so many answers leave no number, and what to do.

    A probe may ask more often than a detector looks, so the noted kinds say which, not how many.
    """
    kind = max(found, key=lambda kind: found[kind], default=None)
    if kind is None:
        return f"{silent} of {processed} answers could not be evaluated by the detector"
    remedy = REMEDIES[kind] if kind is EmptyReason.REFUSED else REMEDY
    return f"{silent} of {processed} answers hold no text (most: {kind}): {remedy}"


def find_scores(digest: dict[str, Any], probe: str) -> dict[str, dict[str, Any]]:
    """The digest's scores of one probe by detector; the digest groups probes by module or taxonomy."""
    for group in digest.get("eval", {}).values():
        if probe in group:
            return {name: score for name, score in group[probe].items() if not name.startswith("_")}
    return {}


def read_calibration(digest: dict[str, Any]) -> str:
    """Which calibration the relative scores refer to: they can be compared within one only."""
    calibration = digest.get("meta", {}).get("calibration")
    if not isinstance(calibration, dict):
        return ""
    return f"{str(calibration.get('calibration_date', ''))[:10]} ({calibration.get('model_count')} models)"
