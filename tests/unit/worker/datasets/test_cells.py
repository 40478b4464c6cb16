"""Cells: every type that JSON, CSV, Parquet and pandas give, as name, number, flags, categories and label."""

import datetime as dt
import io
import math
import uuid
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_worker.datasets.categories import categories_of, literal_of, stratum_name, texts_of
from safety_worker.datasets.cells import (
    BadCell,
    CellError,
    cell_text,
    is_nothing,
    name_of,
    named,
    number_of,
)
from safety_worker.datasets.labels import Meanings
from safety_worker.datasets.readers import read_file

NAMES: list[tuple[Any, str]] = [
    (None, ""),
    (math.nan, ""),
    (Decimal("NaN"), ""),
    (np.float32("nan"), ""),
    ("", ""),
    ("  Fraud\u00a0", "Fraud"),
    (True, "true"),
    ("True", "true"),
    (np.bool_(True), "true"),
    (pa.scalar(False), "false"),
    ("FALSE", "false"),
    (0, "0"),
    (1.0, "1"),
    ("1.0", "1"),
    ("-2.00", "-2"),
    ("0.0", "0"),
    (-0.0, "0"),
    (np.int8(3), "3"),
    (np.float64(2.5), "2.5"),
    ("1.5.0", "1.5.0"),
    ("1.", "1."),
    ("007", "007"),
    (Decimal("1.500"), "1.5"),
    (Decimal(100), "100"),
    (Decimal("1E+2"), "100"),
    (1e300, "1e+300"),
    (math.inf, "inf"),
    (10**30, "1" + "0" * 30),
    (b"caf\xc3\xa9", "caf\u00e9"),
    (dt.date(2024, 2, 29), "2024-02-29"),
    (dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC), "2024-02-29 12:30:00+00:00"),
    (dt.timedelta(seconds=5), "0:00:05"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (named("unsafe", 1), "unsafe"),
]


@pytest.mark.parametrize(("value", "name"), NAMES, ids=map(repr, range(len(NAMES))))
def test_a_value_has_one_name_in_every_format(value: object, name: str) -> None:
    assert name_of(value) == name


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"\xff", object(), BadCell("is damaged"), ({1},)])
def test_what_is_no_name_is_said(value: object) -> None:
    with pytest.raises(CellError):
        name_of(value)


NOTHING = [
    *("", " ", "null\u200b", "\ufeff", "\uff2eA", "nan", "NaN", "-NaN", "NA", "N/A", "n/a", "n.a.", "<NA>"),
    *("#N/A", "#NA", "null", "NULL", "None", "none", "NaT", "1.#QNAN", "-", "[]", "{}", "\\N"),
    *("\u2014", "\u2013", "(null)", "(none)", "<null>", "undefined", "#NULL!"),
]


@pytest.mark.parametrize("text", NOTHING)
def test_spellings_of_nothing_name_nothing_and_are_texts_all_the_same(text: str) -> None:
    assert is_nothing(text)
    assert categories_of(text) == ()
    assert stratum_name(text) == ""
    assert Meanings({}).read(text).name == ""
    assert cell_text(text) == text


@pytest.mark.parametrize("text", ["0", "no", "false", "Namibia", "nano", "safe"])
def test_falsy_names_are_names(text: str) -> None:
    assert not is_nothing(text)
    assert categories_of(text) == (text,)


NUMBERS: list[tuple[Any, float | None]] = [
    (0, 0.0),
    (0.25, 0.25),
    (" 4 ", 4.0),
    ("1e-3", 0.001),
    (Decimal("0.1"), 0.1),
    (np.float32(0.5), 0.5),
    (math.inf, math.inf),
    (b"1", 1.0),
    *((value, None) for value in (None, math.nan, "nan", "", "x", "0,5", True, [1], {"a": 1}, 10**400)),
]


@pytest.mark.parametrize(("value", "number"), NUMBERS, ids=map(repr, range(len(NUMBERS))))
def test_numbers_are_numbers_however_they_are_written(value: object, number: float | None) -> None:
    assert number_of(value) == number


XY: list[Any] = [
    ["y", "x", "x", None, math.nan, "nan"],
    ("x", "y"),
    {"x", "y"},
    np.array(["x", "y"], dtype=object),
    pa.array(["x", "y"]),
    "x, y",
    "x; y",
    "x|y",
    "x\ny\n",
    "x\uff0cy",
    "x\u3001y",
    "['x', 'y']",
    '["x", "y"]',
    "['x' 'y']",
    "['x'\n 'y']",
    "('x', 'y')",
    "{'x', 'y'}",
    "[nan, 'x', 'y']",
    "['x', \"y\", None]",
    "array(['x', 'y'], dtype=object)",
    "Index(['x', 'y'], dtype='object')",
    "dict_keys(['x', 'y'])",
    "OrderedDict([('x', True), ('y', True), ('z', False)])",
    "[np.str_('x'), np.str_('y')]",
    "{'x': np.True_, 'y': np.int64(1), 'z': np.float64(0.0)}",
    "[x, y]",
    "{x,y}",
    {"x": True, "y": True, "z": False},
    {"x": 1, "y": 1.0, "z": 0, "w": None},
    {"x": "yes", "y": "True", "z": "no", "w": ""},
    [("x", True), ("y", True), ("z", None)],
    "{'x': True, 'y': True, 'z': False}",
    '{"x": 1, "y": true, "z": 0}',
    [b"x", "y"],
    b"['x', 'y']",
    [named("x", 0), named("y", 4)],
]


@pytest.mark.parametrize("value", XY, ids=map(repr, range(len(XY))))
def test_categories_are_read_from_every_way_to_list_them(value: object) -> None:
    assert categories_of(value) == ("x", "y")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (3, ("3",)),
        (3.0, ("3",)),
        ("3.0", ("3",)),
        ([1.0, 2.0], ("1", "2")),
        ("[1. 2.]", ("1", "2")),
        ("[3 14]", ("14", "3")),
        ("Hate, Harassment; Fraud", ("Fraud", "Hate, Harassment")),
        ("[redacted]", ("redacted",)),
        ("(other)", ("(other)",)),
        ("O'Neill", ("O'Neill",)),
        ("it's", ("it's",)),
        (True, ("true",)),
        ("False", ("false",)),
        ({}, ()),
        ({"x": None}, ()),
        ([], ()),
        ("none", ()),
        (["none"], ()),
        ({"x": False}, ()),
    ],
)
def test_categories(value: object, names: tuple[str, ...]) -> None:
    assert categories_of(value) == names


@pytest.mark.parametrize(
    "value",
    [
        {"x": 0.93, "y": 0.01},
        {"x": {"y": True}},
        {"x": ["a"]},
        [{"name": "x"}],
        [["x"], ["y"]],
        [True, False],
        [0, 1, 0, 0],
        "[0 1 0 0]",
        [0.93, 0.01],
        "['x', 'y",
        "['x', y(1)]",
        "{'x': 0.93}",
        b"\xff\xfe",
        BadCell("is damaged"),
        "['" + "x" * 30_000 + "']",
    ],
)
def test_categories_that_nobody_can_read_are_said(value: object) -> None:
    with pytest.raises(CellError):
        categories_of(value)


@pytest.mark.parametrize(
    "text", ["[" * 5000 + "]" * 5000, "[" + "-" * 100_000 + "'']", "[" + "(" * 90 + "'')" * 90 + "]"]
)
def test_a_literal_of_an_attacker_is_no_danger(text: str) -> None:
    with pytest.raises(CellError):
        literal_of(text, 1_000_000)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (categories_of, Meanings({}).read):
        with suppress(CellError):
            read(text)
    texts_of(text)
    stratum_name(text)


@given(st.lists(st.text("abc'\"\\,[]{} ", min_size=1, max_size=6), min_size=1, max_size=4))
def test_what_pandas_writes_of_a_list_is_that_list(names: list[str]) -> None:
    wanted = categories_of(names)
    assert categories_of(str(names)) == wanted


def test_labels_have_the_meaning_that_their_user_gives_them() -> None:
    meanings = Meanings({"1": "unsafe", "0": "safe", "Nicht Gut": "unsafe", "none": "safe"})
    for value in (
        1,
        1.0,
        True,
        "1",
        "1.0",
        "True",
        "yes",
        [1, 1, 0],
        "nicht  gut",
        "HARMFUL",
        {"unsafe": True},
    ):
        assert meanings.read(value).meaning == "unsafe", value
    for value in (0, 0.0, False, "0.0", "no", "Safe", b"0", "none", np.int64(0), "[0, 0, 1]"):
        assert meanings.read(value).meaning == "safe", value


def test_without_a_word_numbers_and_truth_values_mean_nothing() -> None:
    for value in (0, 1, True, "no", "toxic", "2"):
        label = Meanings({}).read(value)
        assert label.name
        assert label.meaning is None
    both = Meanings({"true": "safe", "1": "unsafe"})
    assert (both.of("True"), both.of("1"), both.of("yes")) == ("safe", "unsafe", None)


@pytest.mark.parametrize("value", [None, math.nan, "", "nan", "<NA>", [], [None, "nan"], {}, {"safe": False}])
def test_a_missing_label_is_none(value: object) -> None:
    assert Meanings({}).read(value) == ("", None, False)


def test_of_several_labels_in_a_cell_most_decide() -> None:
    read = Meanings({"0": "safe"}).read
    assert read(["safe", "unsafe", 0]).meaning == "safe"
    assert read("['unsafe', 'harmful', 'safe']").meaning == "unsafe"
    assert read(["safe", "unsafe"]) == ("", None, True)
    assert read({"safe": True, "unsafe": True}).divided
    assert read(["maybe", "maybe", "safe"]) == ("maybe", None, False)


def test_the_number_of_a_class_counts_where_its_name_means_nothing() -> None:
    assert Meanings({"1": "unsafe"}).read(named("pos", 1)).meaning == "unsafe"
    assert Meanings({"1": "unsafe"}).read(named("safe", 1)).meaning == "safe"


FRAME = {
    "flag": [True, False, None],
    "count": [1, 0, None],
    "score": [0.5, 1.0, math.nan],
    "name": ["x", "None", None],
    "list": [["x", "y"], [], None],
    "when": [dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC), None],
    "kind": ["a", "b", None],
}


def test_a_table_of_pandas_means_the_same_in_every_format(tmp_path: Path) -> None:
    """What CSV makes texts of is read as what JSON lines and Parquet keep."""
    frame = pd.DataFrame(FRAME)
    frame["kind"] = frame["kind"].astype("category")
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet", index=False)
    frame.to_json(tmp_path / "d.jsonl", orient="records", lines=True, date_format="iso")
    found = {}
    for ending in ("csv", "parquet", "jsonl"):
        rows = [record.value for record in read_file(tmp_path / f"d.{ending}")]
        found[ending] = [
            (
                *(stratum_name(row[column]) for column in ("flag", "count", "score", "name", "kind")),
                categories_of(row["list"]),
                number_of(row["score"]),
                texts_of(row["flag"]) - {""},
            )
            for row in rows
        ]
    assert found["csv"] == found["parquet"] == found["jsonl"]
    assert found["csv"] == [
        ("true", "1", "0.5", "x", "a", ("x", "y"), 0.5, {"true"}),
        ("false", "0", "1", "", "b", (), 1.0, {"false"}),
        ("", "", "", "", "", (), None, frozenset()),
    ]


def test_a_list_that_numpy_wrote_into_csv_is_that_list(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": [np.array(["x y", "z"]), np.array(["x"])]})
    content = io.StringIO()
    frame.to_csv(content, index=False)
    (tmp_path / "d.csv").write_text(content.getvalue())
    assert [categories_of(record.value["c"]) for record in read_file(tmp_path / "d.csv")] == [
        ("x y", "z"),
        ("x",),
    ]
