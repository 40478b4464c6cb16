"""Bars in a terminal, lines in a pipe."""

import copy

import pytest
from tests.unit.cli.support import (
    GivenResources,
    finished_resources,
    recording_console,
    render_lines,
    text_of,
)

from safety_cli.errors import CliError
from safety_cli.kubectl import UnknownKindsError, UnreachableError
from safety_cli.resources import ordered
from safety_cli.watch import LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS, build_screen, show


@pytest.fixture(scope="module")
def finished():
    return ordered(finished_resources())


def running(resource, done=45, total=160):
    changed = copy.deepcopy(resource)
    status = changed["status"]
    status["state"] = "Running"
    status["stages"][2] |= {"state": "Running"}
    for stage in status["stages"][3:]:
        stage["state"] = "Pending"
    name = status["stages"][2]["name"]
    status["progress"] = {
        "stage": name,
        "done": done,
        "total": total,
        "percent": 100 * done // total,
        "text": f"{name}: {done}/{total} rows",
    }
    for condition in status["conditions"]:
        if condition["type"] in {"Ready", "Succeeded"}:
            condition["status"] = "Unknown"
    return changed


def follow(*looks, names=(), terminal=False, until_done=True, pauses=None, width=100):
    console = recording_console(width, terminal=terminal)
    slept = [] if pauses is None else pauses
    code = show(
        console,
        GivenResources(*looks),
        names,
        everywhere=False,
        seconds=2,
        until_done=until_done,
        sleep=slept.append,
        clock=lambda: sum(slept),
    )
    return code, text_of(console)


def test_a_pipe_gets_a_line_for_each_change_and_none_for_the_same(finished):
    base = finished[0]
    looks = ([running(base)], [running(base)], [running(base, 90)], [base])
    code, text = follow(*looks)
    assert code == 0
    lines = [line.split(" ", 1)[1] for line in text.splitlines()]
    assert [line.split(":")[0] for line in lines] == [
        "safetyeval/base Running",
        "safetyeval/base Running",
        "safetyeval/base Succeeded",
    ]
    assert "45/160 rows" in lines[0]
    assert "90/160 rows" in lines[1]
    assert "\x1b" not in text


def test_a_terminal_gets_bars_that_move(finished):
    code, text = follow([running(finished[0])], [finished[0]], terminal=True)
    assert code == 0
    assert "\x1b[" in text
    assert "━" in text
    assert "45/160 rows" in text


def test_it_ends_badly_when_something_failed(finished):
    broken = copy.deepcopy(finished[0])
    broken["status"]["state"] = "Failed"
    broken["status"]["conditions"][0] |= {"type": "Ready", "status": "False", "message": "No such model."}
    code, text = follow([broken])
    assert code == 1
    assert "safetyeval/base Failed: No such model." in text


@pytest.mark.parametrize("kind", [UnreachableError, UnknownKindsError])
def test_a_lost_connection_is_told_once_and_waited_for_with_growing_pauses(finished, kind, capsys):
    pauses = []
    lost = [kind(f"The API server is lost, try {number}.") for number in range(6)]
    code, text = follow([running(finished[0])], *lost, [running(finished[0])], [finished[0]], pauses=pauses)
    assert code == 0
    assert "lost" not in text
    told = capsys.readouterr().err
    assert told.count("is lost") == 1
    assert told.count("The API server answers again.") == 1
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 2]


def test_a_server_that_does_not_answer_the_first_look_is_told_and_asked_again(finished, capsys):
    pauses = []
    lost = UnreachableError("The API server does not answer.")
    code, _ = follow(lost, lost, [finished[0]], names=["safetyeval/base"], pauses=pauses)
    assert code == 0
    assert capsys.readouterr().err.count("does not answer. It is asked again for up to 5 minutes.") == 1
    assert pauses == [4, 8]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_server_that_stays_away_is_given_up(finished, terminal, is_first):
    pauses = []
    looks = [] if is_first else [[running(finished[0])]]
    with pytest.raises(CliError, match=r"Given up after [56] minutes: The API server"):
        follow(*looks, UnreachableError("The API server is lost."), terminal=terminal, pauses=pauses)
    assert PATIENCE_SECONDS < sum(pauses) < PATIENCE_SECONDS + 2 * LONGEST_PAUSE_SECONDS


def test_a_cluster_without_the_kinds_ends_it_at_the_first_look():
    with pytest.raises(UnknownKindsError):
        follow(UnknownKindsError("This cluster does not know the four kinds"))


def test_what_does_not_pass_ends_it_at_once(finished):
    for looks in ([[running(finished[0])]], []):
        pauses = []
        with pytest.raises(CliError, match=r"^Your rights"):
            follow(*looks, CliError("Your rights do not suffice"), pauses=pauses)
        assert len(pauses) == len(looks)


def test_only_named_resources_are_followed(finished):
    code, text = follow(finished, names=["base"])
    assert code == 0
    assert "safetyblend" not in text


def test_waiting_for_nothing_is_an_error():
    with pytest.raises(CliError, match="nothing to wait for"):
        follow([])


@pytest.mark.parametrize("width", [40, 60, 80, 99, 100, 200])
def test_every_screen_fits_its_terminal(finished, width):
    resources = [running(finished[0]), *finished[1:]]
    lines = render_lines(build_screen(resources, width, 40, everywhere=False), width)
    assert all(len(line) <= width for line in lines)
    assert "Serving" in "\n".join(lines)
    assert "45/160" in "\n".join(lines)


def test_a_low_terminal_shows_those_that_work_and_counts_the_rest(finished):
    resources = [*finished[1:], running(finished[0])]
    lines = render_lines(build_screen(resources, 100, 4, everywhere=False), 100)
    assert len(lines) == 3
    assert "45/160 rows" in lines[0] + lines[1]
    assert "and 3 more" in lines[2]
