"""Text that cannot act on a terminal, and tables that fit it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from tests.unit.cli.support import recording_console, render_lines, text_of, with_scores

from safety_cli.status import show_one
from safety_cli.terminal import PIPE_WIDTH, TableColumn, build_table, clean, fit


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x1b[2J\x1b[1;1H", "\\x1b[2J\\x1b[1;1H"),
        ("safe\rUNSAFE", "safe\\x0dUNSAFE"),
        ("back\x08\x08space", "back\\x08\\x08space"),
        ("\x9b31m c1", "\\x9b31m c1"),
        ("\u202ereversed\u2066", "\\u202ereversed\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028paragraph\u2029", "line\\u2028paragraph\\u2029"),
        ("tags\U000e0041", "tags\\U000e0041"),
        ("half\ud800", "half\\ud800"),
        ("a\tb\nc", "a    b\\x0ac"),
        ("e" + "\u0301" * 40, "e\u0301\u0301"),
        ("Grüße, 漢字 🙂", "Grüße, 漢字 🙂"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(hostile, shown):
    assert clean(hostile) == shown


@given(st.text())
def test_nothing_that_acts_is_left_and_cleaning_twice_changes_nothing(text):
    cleaned = clean(text, lines=True)
    left = {unicodedata.category(char) for char in cleaned if char != "\n"}
    assert not {category for category in left if category[0] == "C" or category in {"Zl", "Zp"}}
    assert clean(cleaned, lines=True) == cleaned


def columns(*, shrink=False):
    return [
        TableColumn("NAME", [Text("first"), Text("the-second-of-them")], shrink=shrink),
        TableColumn("STATE", [Text("Running"), Text("Failed")]),
        TableColumn("EMPTY", [Text(""), Text("")]),
        TableColumn("NUMBERS", [Text("content 0.912"), Text("")], drop=1),
        TableColumn("WORDS", [Text("generate: 12/160 rows"), Text("stopped")], drop=2),
    ]


def titles(width):
    return [column.title for column in fit(columns(), width)]


def test_columns_leave_in_their_order_where_there_is_no_room_and_empty_ones_always():
    assert titles(200) == ["NAME", "STATE", "NUMBERS", "WORDS"]
    assert titles(60) == ["NAME", "STATE", "NUMBERS"]
    assert titles(46) == ["NAME", "STATE", "NUMBERS"]
    assert titles(40) == ["NAME", "STATE"]
    assert titles(5) == ["NAME", "STATE"]


@pytest.mark.parametrize("width", [20, 24, 30, 40, 60, 80, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(width):
    lines = render_lines(build_table(columns(shrink=True), width), width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert "Failed" in lines[2]


def test_a_pipe_gets_no_lines_of_the_width_of_its_terminal():
    page = recording_console(PIPE_WIDTH)
    resource = with_scores("base", [{"metric": "contentSafety", "value": "0.9", "samples": 3}])
    show_one(page, resource)
    assert max(len(line) for line in text_of(page).splitlines()) < 200
