"""The overview and the page of one resource, as people see them."""

import copy
import re

import pytest
from tests.unit.cli.support import (
    GivenResources,
    finished_resources,
    recording_console,
    render_lines,
    text_of,
    with_scores,
)

from safety_cli import status
from safety_cli.errors import CliError
from safety_cli.resources import age, ordered, share_of


@pytest.fixture(scope="module")
def finished():
    return finished_resources()


def show(resources, name="", *, width=120, everywhere=False):
    console = recording_console(width)
    assert status.show(console, GivenResources(resources), name, everywhere=everywhere) == 0
    return text_of(console)


def test_all_kinds_are_on_one_page_in_the_order_they_build_on_each_other(finished):
    lines = render_lines(status.build_overview(ordered(finished), 120, namespaces=False), 120)
    assert [line.split()[0] for line in lines] == [
        "RESOURCE",
        "safetyeval/base",
        "safetyeval/hardened",
        "safetyblend/blend",
        "safetyfinetune/hardened",
        "guardeddeployment/assistant",
    ]
    assert lines[5].split()[1:3] == ["True", "Serving"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_overview_fits_and_keeps_name_and_state(finished, width):
    lines = render_lines(status.build_overview(ordered(finished), width, namespaces=False), width)
    assert len(lines) == 6
    assert all(len(line) <= width for line in lines)
    assert "Serving" in lines[5]
    assert lines[5].startswith("guardeddep")


def test_a_namespace_without_resources_says_what_to_do():
    text = show([])
    assert "kubectl apply -f FILE" in text
    assert "-A" in text


def test_what_is_wrong_is_told_in_full_below_the_table():
    broken = with_scores("base", [])
    words = "The Secret hub does not exist in this namespace. Create it with the key token." * 3
    broken["status"]["conditions"][0] |= {"status": "False", "message": f"{words}\x1b[2J"}
    text = show([broken], width=70)
    assert "\x1b" not in text
    joined = " ".join(text.split())
    assert f"safetyeval/base: {words}\\x1b[2J" in joined


def test_warnings_are_counted_below_the_table_and_stand_on_the_page():
    warned = with_scores("base", [])
    warned["status"]["warnings"] = ["notes.txt not read: beside records", "a\x1b[2J"]
    assert "safetyeval/base: 2 warnings, see kubectl safety status safetyeval/base -n team" in show([warned])
    page = show([warned], "safetyeval/base")
    assert "Warning: notes.txt not read: beside records" in page
    assert "Warning: a\\x1b[2J" in page
    assert "warning" not in show([with_scores("base", [])])


def test_a_changed_spec_counts_as_not_seen():
    changed = with_scores("base", [])
    changed["metadata"]["generation"] = 2
    text = show([changed])
    assert "Pending" in text
    assert "not seen by the operator yet" in text


def test_one_resource_shows_scores_with_intervals_and_reasons_for_missing_ones():
    scores = [
        {"metric": "contentSafety", "value": "0.912", "lower": "0.88", "upper": "0.94", "samples": 160},
        {"metric": "security.resilience", "samples": 0, "missing": "goodside.Tag: timed out"},
    ]
    resource = with_scores("base", scores)
    text = show([resource], "base")
    assert "only the report has" not in text
    assert not any(name in text for name in ("UNREADABLE", "TRUNCATED", "ASKED"))
    counted = scores[0] | {"unparsed": 3, "truncated": 17, "drawn": "160 of 520, seed 42"}
    text = show([with_scores("base", [counted])], "base", width=160)
    for words in ("UNREADABLE", "TRUNCATED", "17", "160 of 520, seed 42"):
        assert words in text
    resource["status"]["omittedScores"] = 62
    text = show([resource], "base")
    assert "and 62 of single probes, which only the report has" in text
    assert "0.88 to 0.94" in text
    assert "goodside.Tag: timed out" in text
    assert text.startswith("safetyeval/base in team: Succeeded, not passed")
    assert "hf://org/model@main" in text


def test_a_pushed_model_is_shown_with_its_digest_and_where_it_went(finished):
    tuned = copy.deepcopy(next(item for item in finished if item["kind"] == "SafetyFinetune"))
    tuned["status"]["output"]["pushed"] = {"uri": "hf://org/hardened@c0ffee", "at": "2020-01-01T00:00:00Z"}
    text = show([tuned], tuned["metadata"]["name"], width=400)
    assert tuned["status"]["output"]["digest"] in text
    assert re.search(r"Pushed: hf://org/hardened@c0ffee, \d+d ago", text)


def test_the_page_of_every_finished_kind_has_its_conditions_and_stages(finished):
    for resource in finished:
        text = show([resource], resource["metadata"]["name"])
        assert "Conditions" in text
        assert "Ready" in text
        assert share_of(resource).value == 1.0 or resource["kind"] == "GuardedDeployment"


def test_a_name_that_two_kinds_share_asks_which(finished):
    with pytest.raises(CliError, match="safetyeval/hardened or safetyfinetune/hardened"):
        show(finished, "hardened")
    assert "safetyfinetune/hardened" in show(finished, "sft/hardened")


def test_a_name_that_is_not_there_says_where_to_look(finished):
    with pytest.raises(CliError, match="kubectl safety status -A"):
        show(finished, "nobody")
    with pytest.raises(CliError, match="pod: no kind of this operator"):
        show(finished, "pod/base")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("2026-11-21T11:59:30Z", "30s"),
        ("2026-11-21T11:30:00Z", "30m"),
        ("2026-11-20T14:00:00Z", "22h"),
        ("2026-11-01T12:00:00Z", "20d"),
        ("2026-11-22T12:00:00Z", "0s"),
        ("nonsense", ""),
        (None, ""),
    ],
)
def test_ages_read_as_those_of_kubectl(time, words):
    from tests.unit.planning.world import START  # noqa: PLC0415 - the same noon

    assert age(time, START) == words
