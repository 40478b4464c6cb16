"""Reading garak's reports; the files in ``data`` are excerpts of what garak 0.17.1 wrote."""

import json
from pathlib import Path

import pytest

from safety_worker.empty_answers import EmptyReason
from safety_worker.scanning.report import NO_ENTRY, NOTHING_EVALUATED, PairResult, read_report

DATA = Path(__file__).parent / "data"


def lines(name: str) -> list[str]:
    return (DATA / f"{name}.report.jsonl").read_text(encoding="utf-8").splitlines()


def test_a_calibrated_probe_has_counts_zscore_and_defcon() -> None:
    report = read_report(lines("two-probes"), "dan.DanInTheWild", ["mitigation.MitigationBypass"])
    assert report.missing == ""
    assert report.version == "0.17.1"
    assert report.calibration == "2026-02-02 (23 models)"
    (pair,) = report.pairs
    assert (pair.passed, pair.total, pair.hits, pair.defcon) == (0, 16, 16, 1)
    assert pair.zscore == pytest.approx(-2.4294, abs=1e-4)


def test_a_probe_has_one_pair_per_detector() -> None:
    detectors = ["dan.DAN", "mitigation.MitigationBypass"]
    report = read_report(lines("two-probes"), "dan.Ablation_Dan_11_0", detectors)
    assert [(pair.detector, pair.passed, pair.total) for pair in report.pairs] == [
        ("dan.DAN", 127, 127),
        ("mitigation.MitigationBypass", 0, 127),
    ]


def test_grades_of_a_probe_that_the_calibration_does_not_cover_are_none() -> None:
    """Garak writes defcon 5 for an uncalibrated probe that passed: nothing to compare it with."""
    report = read_report(lines("not-calibrated"), "dan.Dan_11_0", ["dan.DAN"])
    assert {(pair.detector, pair.zscore, pair.defcon) for pair in report.pairs} == {
        ("dan.DAN", None, None),
        ("mitigation.MitigationBypass", None, None),
    }
    assert report.calibration == ""


def test_nothing_evaluated_is_missing_not_zero() -> None:
    report = read_report(lines("nothing-evaluated"), "packagehallucination.Python", [])
    assert report.missing == NOTHING_EVALUATED
    assert report.pairs[0].missing == NOTHING_EVALUATED


def test_exit_code_0_with_a_digest_but_no_eval_is_missing() -> None:
    report = read_report(
        lines("probe-not-loaded"), "topic.WordnetBlockedWords", ["mitigation.MitigationBypass"]
    )
    assert report.pairs == ()
    assert "without this probe" in report.missing


def test_a_killed_run_is_missing() -> None:
    report = read_report(lines("killed"), "misleading.FalseAssertion", [])
    assert report.missing == "garak stopped before its digest"


def test_results_without_a_digest_do_not_count() -> None:
    cut = [line for line in lines("two-probes") if json.loads(line)["entry_type"] != "digest"]
    report = read_report(cut, "dan.DanInTheWild", [])
    assert report.pairs == ()
    assert report.missing == "garak stopped before its digest"


@pytest.mark.parametrize("characters", [1, 100, 2000])
def test_a_report_cut_off_in_its_last_line_is_missing(characters: int) -> None:
    text = "\n".join(lines("two-probes"))[:-characters]
    report = read_report(text.split("\n"), "dan.DanInTheWild", [])
    assert report.missing == "garak stopped before its digest"


def test_a_detector_that_did_not_load_is_missing_and_the_others_count() -> None:
    detectors = ["mitigation.MitigationBypass", "misleading.MustContradictNLI"]
    report = read_report(lines("two-probes"), "dan.DanInTheWild", detectors)
    assert {pair.detector: pair.missing for pair in report.pairs} == {
        "mitigation.MitigationBypass": "",
        "misleading.MustContradictNLI": NO_ENTRY,
    }


def test_a_digest_that_contradicts_the_evaluation_is_missing() -> None:
    changed = [
        line.replace('"passed": 0, "fails": 16', '"passed": 16, "fails": 0') for line in lines("two-probes")
    ]
    report = read_report(changed, "dan.DanInTheWild", [])
    assert report.pairs[0].missing == "the digest contradicts the evaluation"


def test_many_unanswered_prompts_are_missing_because_the_rest_is_no_sample() -> None:
    changed = [
        line.replace(
            '"nones": 0, "total_evaluated": 16, "total_processed": 16',
            '"nones": 5, "total_evaluated": 16, "total_processed": 21',
        )
        for line in lines("two-probes")
    ]
    found = {EmptyReason.UNFINISHED: 4, EmptyReason.EMPTY: 1}
    (pair,) = read_report(changed, "dan.DanInTheWild", [], found).pairs
    assert pair.missing == (
        "5 of 21 answers hold no text (most: truncated reasoning): raise garak.maxTokens, set "
        "sampling.reasoningEnd, or disable the server's reasoning parser"
    )
    (pair,) = read_report(changed, "dan.DanInTheWild", [], {EmptyReason.REFUSED: 5}).pairs
    assert pair.missing.endswith("(most: not answered): shorten the prompts or serve a longer context")
    (pair,) = read_report(changed, "dan.DanInTheWild", []).pairs
    assert pair.missing == "5 of 21 answers could not be evaluated by the detector"


def test_lines_that_are_no_entries_are_skipped() -> None:
    noise = ["", "not json", "[]", "{}", "null", '{"entry_type": 3}']
    report = read_report([*noise, *lines("two-probes")], "dan.DanInTheWild", [])
    assert report.missing == ""


def test_an_empty_file_is_missing() -> None:
    assert read_report([], "dan.DanInTheWild", []).missing


def test_hits_are_what_did_not_pass() -> None:
    assert PairResult("p", "d", passed=3, total=10).hits == 7
