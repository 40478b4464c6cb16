"""Values that Python has no type for: nothing where nobody asks, a malformed record where somebody does."""

import csv
import datetime as dt
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.unit.worker.conftest import Workplace

from safety_records.data import Columns, Dataset, RowFilter
from safety_worker.datasets.cells import NOT_READ, BadCell
from safety_worker.datasets.loading import LoadedData, load_dataset
from safety_worker.datasets.readers import read_file
from safety_worker.datasets.tables import cells_of
from safety_worker.errors import InputError

BAD_UTF8 = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())
BAD_VIEW = pa.array([b"fine", b"caf\xe9"], pa.binary_view()).view(pa.string_view())


def extension(values: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.opaque(values.type, "geometry", "somebody"), values)


AWKWARD: dict[str, Callable[[], pa.Array]] = {
    "year 10000": lambda: pa.array([0, 2932897], pa.date32()),
    "before year 1": lambda: pa.array([0, -1000000], pa.date32()),
    "milliseconds of a date past 9999": lambda: pa.array([0, 2932897 * 86_400_000], pa.date64()),
    "timestamp past 9999": lambda: pa.array([0, 253402300800], pa.timestamp("s")),
    "timestamp past 9999 with a zone": lambda: pa.array([0, 253402300800], pa.timestamp("s", "UTC")),
    "zone of Windows": lambda: pa.array([0, 1], pa.timestamp("us", "W. Europe Standard Time")),
    "zone that nobody has": lambda: pa.array([0, None], pa.timestamp("ns", "Mars/Olympus")),
    "nanoseconds": lambda: pa.array([0, 1], pa.timestamp("ns")),
    "time of nanoseconds": lambda: pa.array([0, 1], pa.time64("ns")),
    "duration": lambda: pa.array([0, 2**62], pa.duration("s")),
    "interval": lambda: pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "decimal": lambda: pa.array([decimal.Decimal("1.50"), None], pa.decimal256(60, 2)),
    "bytes": lambda: pa.array([b"\xff", None]),
    "bytes of a size": lambda: pa.array([b"\xff\xfe", None], pa.binary(2)),
    "text that is no UTF-8": lambda: BAD_UTF8,
    "view of it": lambda: BAD_VIEW,
    "dictionary of it": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 1]), BAD_UTF8),
    "list of dates": lambda: pa.array([[0], [2932897]], pa.list_(pa.date32())),
    "large list of times": lambda: pa.array([[0], None], pa.large_list(pa.timestamp("us", "Nowhere/X"))),
    "pairs of dates": lambda: pa.array([[0, 1], [2932897, 0]], pa.list_(pa.date32(), 2)),
    "object with a date": lambda: pa.array([{"a": 0}, {"a": 2932897}], pa.struct([("a", pa.date32())])),
    "map with a date": lambda: pa.array([[("a", 0)], [("a", 2932897)]], pa.map_(pa.string(), pa.date32())),
    "map with lists": lambda: pa.array(
        [[("a", [1])], [("a", [])]], pa.map_(pa.string(), pa.list_(pa.int8()))
    ),
    "map by objects": lambda: pa.array(
        [[({"x": 1}, True)], None], pa.map_(pa.struct([("x", pa.int8())]), pa.bool_())
    ),
    "map by lists": lambda: pa.array([[(["x"], True)], None], pa.map_(pa.list_(pa.string()), pa.bool_())),
    "extension of somebody": lambda: extension(pa.array([0, 2932897], pa.date32())),
    "unique identifiers": lambda: pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"1" * 16, None], pa.binary(16))
    ),
    "half floats": lambda: pa.array([1.0, None], pa.float16()),
    "runs": lambda: pa.RunEndEncodedArray.from_arrays(
        pa.array([2], pa.int32()), pa.array([2932897], pa.date32())
    ),
    "nothing": lambda: pa.nulls(2),
    "empty objects": lambda: pa.array([{}, None], pa.struct([])),
}
NOT_IN_PARQUET = {"interval", "runs", "empty objects"}


def write(path: Path, column: pa.Array) -> str:
    """A file with two good prompts and the column, as a URI."""
    table = pa.table({"prompt": ["one", "two"], "extra": column})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as stream:
            stream.write_table(table)
    return f"pvc://claim/{path.name}"


def load(workplace: Workplace, uri: str, filters: tuple[RowFilter, ...] = (), **columns: str) -> LoadedData:
    return load_dataset(
        "data", Dataset(uri=uri, columns=Columns(**columns), filters=filters), workplace.context
    )


@pytest.fixture
def claim(workplace: Workplace) -> Path:
    folder = workplace.inputs / "pvc/claim"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        *((name, ".arrow") for name in AWKWARD),
        *((name, ".parquet") for name in sorted(AWKWARD.keys() - NOT_IN_PARQUET)),
    ],
)
def test_a_column_that_nobody_asks_for_is_not_read(
    name: str, ending: str, claim: Path, workplace: Workplace
) -> None:
    uri = write(claim / f"d{ending}", AWKWARD[name]())
    data = load(workplace, uri)
    assert [row.prompt for row in data.rows] == ["one", "two"]
    assert next(iter(read_file(claim / f"d{ending}", {"prompt"}))).value["extra"] == NOT_READ


@pytest.mark.parametrize("name", AWKWARD)
def test_a_column_that_somebody_asks_for_never_ends_a_run(
    name: str, claim: Path, workplace: Workplace
) -> None:
    """Every cell is a value, or makes its record malformed with the column's name."""
    uri = write(claim / "d.arrow", AWKWARD[name]())
    for field in ("id", "categories", "label", "prompt_label", "response", "system", "messages"):
        data = load(workplace, uri, **{field: "extra"})
        assert data.read == 2
        assert all("extra" in item.detail or "conversation" in item.detail for item in data.invalid)
    for wanted in (RowFilter(column="extra", any_of=("x",)), RowFilter(column="extra", at_least=0.0)):
        assert load(workplace, uri, (wanted,)).read == 2


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([0, 2932897, None], pa.date32()), ["1970-01-01", "10000-01-01", None]),
        (pa.array([0, 1_500_000], pa.timestamp("us")), ["1970-01-01 00:00:00", "1970-01-01 00:00:01.5"]),
        (pa.array([0], pa.timestamp("ns", "Asia/Tokyo")), ["1970-01-01 09:00:00+0900"]),
        (pa.array([0], pa.timestamp("ms", "Mars/Olympus")), ["1970-01-01 00:00:00Z"]),
        (pa.array([[0, None], None], pa.list_(pa.date32())), [["1970-01-01", None], None]),
        (pa.array([{"a": 0}, None], pa.struct([("a", pa.date32())])), [{"a": "1970-01-01"}, None]),
        (pa.array([5], pa.duration("s")), [5]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
        (BAD_UTF8, ["fine", BadCell("is not UTF-8")]),
        (BAD_VIEW, ["fine", BadCell("is not UTF-8")]),
        (pa.array([[1], [2, 3], [], None]).slice(1), [[2, 3], [], None]),
        (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)).slice(1), [None, [3, 4]]),
        (pa.array([{"a": 1}, None, {"a": 2}]).slice(1), [None, {"a": 2}]),
        (pa.nulls(1), [None]),
    ],
)
def test_cells_of_a_column(column: pa.Array, names: list[Any]) -> None:
    assert cells_of(column) == names


def test_damaged_offsets_are_refused() -> None:
    offsets, items = pa.array([0, 900, 2], pa.int32()), pa.array([1, 2])
    bad = pa.Array.from_buffers(pa.list_(pa.int64()), 2, [None, offsets.buffers()[1]], children=[items])
    with pytest.raises(pa.ArrowException):
        cells_of(bad)
    wrong = pa.DictionaryArray.from_arrays(pa.array([0, 7]), pa.array(["x"]), safe=False)
    assert cells_of(wrong) == ["x", BadCell("has no value in the file's dictionary")]


def test_a_turn_s_time_does_not_spoil_a_conversation(claim: Path, workplace: Workplace) -> None:
    turn = pa.struct(
        [("role", pa.string()), ("content", pa.string()), ("at", pa.timestamp("us", "Nowhere/X"))]
    )
    talk = [
        [{"role": "user", "content": "hello", "at": 0}],
        [{"role": "user", "content": "you", "at": 2**61}],
    ]
    uri = write(claim / "d.parquet", pa.array(talk, pa.list_(turn)))
    assert [row.prompt for row in load(workplace, uri, messages="extra").rows] == ["hello", "you"]


def test_binary_columns_may_hold_texts(claim: Path, workplace: Workplace) -> None:
    pq.write_table(pa.table({"prompt": pa.array([b"caf\xc3\xa9", b"\xff"])}), claim / "d.parquet")
    data = load(workplace, "pvc://claim/d.parquet")
    assert [row.prompt for row in data.rows] == ["caf\u00e9"]
    assert [item.detail for item in data.invalid] == ["'prompt' is bytes that are no UTF-8 text"]


def test_the_numbers_of_classes_have_their_names(claim: Path, workplace: Workplace) -> None:
    """As ``datasets`` writes ClassLabel, alone and in lists, newer and older."""
    label = {"_type": "ClassLabel", "names": ["fraud", "hate"]}
    for feature, cells in (
        (label, [1, -1]),
        ({"_type": "Sequence", "feature": label}, [[1, 1], []]),
        ({"_type": "List", "feature": label, "length": -1}, [[1], None]),
        ([label], [[1], []]),
    ):
        features = {"prompt": {"dtype": "string", "_type": "Value"}, "extra": feature}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table({"prompt": ["one", "two"], "extra": cells}).replace_schema_metadata(meta)
        pq.write_table(table, claim / "d.parquet")
        data = load(workplace, "pvc://claim/d.parquet", categories="extra")
        assert [row.categories for row in data.rows] == [("hate",), ()]
        for name in ("hate", "1"):
            wanted = (RowFilter(column="extra", any_of=(name,)),)
            assert len(load(workplace, "pvc://claim/d.parquet", wanted).rows) == 1


@pytest.mark.parametrize("meta", [b"", b"{", b"[]", b'{"info": {"features": {"extra": 5}}}'])
def test_metadata_that_is_none_is_left_alone(meta: bytes, claim: Path) -> None:
    table = pa.table({"prompt": ["one"]}).replace_schema_metadata({b"huggingface": meta})
    pq.write_table(table, claim / "d.parquet")
    assert [record.value for record in read_file(claim / "d.parquet")] == [{"prompt": "one"}]


def twice(ending: str, path: Path) -> None:
    """A file whose record has the key ``extra`` twice, with two values."""
    if ending == ".parquet":
        table = pa.table(
            [pa.array(["one"]), pa.array(["a"]), pa.array(["b"])], names=["prompt", "extra", "extra"]
        )
        pq.write_table(table, path)
    else:
        texts = {
            ".jsonl": '{"prompt": "one", "extra": "a", "extra": "b"}\n',
            ".json": '[{"prompt": "one", "extra": "a", "extra": "b"}]',
            ".csv": "prompt,extra,extra\none,a,b\n",
            ".yaml": "- prompt: one\n  extra: a\n  extra: b\n",
        }
        path.write_text(texts[ending])


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".json", ".csv", ".yaml"])
def test_a_key_that_stands_twice_has_no_value(ending: str, claim: Path, workplace: Workplace) -> None:
    twice(ending, claim / f"d{ending}")
    uri = f"pvc://claim/d{ending}"
    assert [row.prompt for row in load(workplace, uri).rows] == ["one"], "nobody asked for it"
    data = load(workplace, uri, label="extra")
    assert [item.detail for item in data.invalid] == ["'extra' stands there twice, with different values"]


def test_a_key_that_stands_twice_with_one_value_has_it(workplace: Workplace) -> None:
    uri = workplace.configmap("c", "d.jsonl", '{"prompt": "one", "x": {"a": 1}, "x": {"a": 1}}\n')
    assert load(workplace, uri, categories="x").rows[0].categories == ("a",)
    uri = workplace.configmap("c", "d.jsonl", '{"prompt": "one", "x": 1, "x": true}\n')
    assert len(load(workplace, uri, categories="x").invalid) == 1


def test_numbers_without_an_end_spoil_their_cell_only(workplace: Workplace) -> None:
    digits = "9" * 10_000
    uri = workplace.configmap(
        "c", "d.jsonl", f'{{"prompt": "one", "n": {digits}}}\n{{"prompt": "two", "n": NaN}}\n'
    )
    assert [row.prompt for row in load(workplace, uri).rows] == ["one", "two"]
    uri = workplace.configmap("c", "d.json", f'[{{"prompt": "one", "n": {digits}}}]')
    assert len(load(workplace, uri, (RowFilter(column="n", at_least=5),)).rows) == 1
    uri = workplace.configmap("c", "d.yaml", f"- prompt: one\n  n: {digits}\n  when: 2024-99-99\n")
    assert len(load(workplace, uri).rows) == 1


def test_plain_values_of_yaml_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    words = [
        "no",
        "yes",
        "on",
        "12:30",
        "007",
        "0x1F",
        "1_000",
        "2024-01-01",
        "~",
        "null",
        "true",
        "1.5",
        "-3",
        "=",
    ]
    path = tmp_path / "d.yaml"
    path.write_text("".join(f"- {{prompt: p, x: {word}}}\n" for word in words))
    found = [record.value["x"] for record in read_file(path)]
    assert found == [
        "no",
        "yes",
        "on",
        "12:30",
        "007",
        "0x1F",
        "1_000",
        "2024-01-01",
        None,
        None,
        True,
        1.5,
        -3,
        "=",
    ]
    path.write_text(yaml.safe_dump([{"prompt": "no", "x": [1, 2.5, None, True, "true", "1", "", "~"]}]))
    assert [record.value for record in read_file(path)] == [
        {"prompt": "no", "x": [1, 2.5, None, True, "true", "1", "", "~"]}
    ]


def test_a_tag_of_yaml_that_nobody_knows_spoils_its_cell_only(workplace: Workplace) -> None:
    content = (
        "- {prompt: a, x: !Ref b, y: !!set {z}}\n- {prompt: !own c}\n- !own {prompt: d}\n- {prompt: e}\n"
    )
    data = load(workplace, workplace.configmap("c", "d.yaml", content))
    assert [row.prompt for row in data.rows] == ["a", "e"]
    assert [row.detail for row in data.invalid] == [
        "'prompt' has a tag of YAML that is not read",
        "has a tag of YAML that is not read",
    ]


def test_a_byte_in_another_column_of_csv_spoils_nothing(workplace: Workplace) -> None:
    content = b"prompt,note\none,caf\xe9\ntwo,\0\n"
    assert len(load(workplace, workplace.configmap("c", "d.csv", content)).rows) == 2
    data = load(workplace, workplace.configmap("c", "d.csv", content), id="note")
    assert [item.detail for item in data.invalid] == [
        "'note' is not UTF-8",
        "'note' holds NUL bytes, which are no text",
    ]


def test_a_byte_in_another_cell_of_json_lines_spoils_nothing(workplace: Workplace) -> None:
    content = (
        b'{"prompt": "one", "note": {"x": ["caf\xe9"]}}\n{"prompt": "caf\xe9", "note": 1}\n["caf\xe9"]\n'
    )
    data = load(workplace, workplace.configmap("c", "d.jsonl", content))
    assert [row.prompt for row in data.rows] == ["one"]
    assert [item.detail for item in data.invalid] == ["'prompt' is not UTF-8", "not UTF-8"]


def test_an_unknown_column_is_said_with_all_that_there_are(claim: Path, workplace: Workplace) -> None:
    for ending in (".parquet", ".arrow"):
        uri = write(claim / f"d{ending}", pa.array([0, 2932897], pa.date32()))
        with pytest.raises(InputError, match="no column 'text', it has extra, prompt"):
            load(workplace, uri, prompt="text")


def test_csv_as_python_writes_it_comes_back(tmp_path: Path) -> None:
    rows = [["prompt", "x"], ['a "b"\nc', "1,5"], ["", "\u2028"], ["dt", str(dt.date(2024, 1, 1))]]
    with (tmp_path / "d.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    assert [list(record.value.values()) for record in read_file(tmp_path / "d.csv")] == rows[1:]
