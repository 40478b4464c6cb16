"""Reading data: every format, every kind of malformed row, every place that a URI can name."""

import gzip
import json
from pathlib import Path
from random import Random

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.unit.worker.conftest import Workplace

from safety_records.data import Columns, Dataset
from safety_worker.datasets import readers
from safety_worker.datasets.loading import LoadedData, check_invalid, load_dataset
from safety_worker.datasets.readers import READERS, read_file
from safety_worker.errors import InputError

ROWS = [{"prompt": "one", "label": "x, y"}, {"prompt": "two", "label": "z"}]


def load(workplace: Workplace, uri: str, **columns: str) -> LoadedData:
    return load_dataset("data", Dataset(uri=uri, columns=Columns(**columns)), workplace.context)


def written(folder: Path) -> dict[str, bytes]:
    """The same two rows in every format."""
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, folder / "t.parquet")
    for name, writer in (("t.arrow", pa.ipc.new_file), ("s.arrow", pa.ipc.new_stream)):
        with writer(folder / name, table.schema) as stream:
            stream.write_table(table)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    return {
        "d.jsonl": lines,
        "d.ndjson": lines,
        "d.jsonl.gz": gzip.compress(lines),
        "d.json": json.dumps(ROWS).encode(),
        "wrapped.json": json.dumps({"data": ROWS, "version": 1}).encode(),
        "d.yaml": yaml.safe_dump(ROWS).encode(),
        "d.csv": b'prompt,label\none,"x, y"\ntwo,z\n',
        "bom.csv": b'\xef\xbb\xbfprompt,label\none,"x, y"\ntwo,z\n',
        "d.parquet": (folder / "t.parquet").read_bytes(),
        "d.arrow": (folder / "t.arrow").read_bytes(),
        "s.arrow": (folder / "s.arrow").read_bytes(),
    }


def test_every_format_gives_the_same_rows(workplace: Workplace, tmp_path: Path) -> None:
    digests = set()
    for key, content in written(tmp_path).items():
        data = load(workplace, workplace.configmap("c", key, content), categories="label")
        assert [row.prompt for row in data.rows] == ["one", "two"], key
        assert data.rows[0].categories == ("x", "y"), key
        assert data.rows[1].origin.index == 1
        digests.add(tuple(row.digest for row in data.rows))
    assert len(digests) == 1


def test_nested_yaml_leaves_take_their_keys_as_categories(workplace: Workplace) -> None:
    text = "violence:\n  weapons:\n    high: [how to a, how to b]\nfraud: how to c\n"
    data = load(workplace, workplace.configmap("c", "tasks.yaml", text), categories="categories")
    assert [(row.prompt, row.categories) for row in data.rows] == [
        ("how to a", ("high", "violence", "weapons")),
        ("how to b", ("high", "violence", "weapons")),
        ("how to c", ("fraud",)),
    ]


MALFORMED = [
    (b"{not json", "not valid JSON"),
    (b"[1, 2]", "expected an object, found a list"),
    (b'{"other": 1}', "no 'prompt'"),
    (b'{"prompt": 5}', "is a number, not a text"),
    (b'{"prompt": " \\u200b "}', "is empty"),
    (b'{"prompt": "\\ud800"}', "lone surrogates"),
    (b'\xff\xfe{"prompt": "x"}', "not UTF-8"),
    (b'{"prompt": "' + b"x" * 300_000 + b'"}', "300000 characters"),
    (b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("line", "why"), MALFORMED, ids=[why for _, why in MALFORMED])
def test_a_malformed_row_is_counted_and_placed_and_the_others_are_read(
    line: bytes, why: str, workplace: Workplace
) -> None:
    uri = workplace.configmap("c", "d.jsonl", b'{"prompt": "first"}\n\n' + line + b'\n{"prompt": "last"}\n')
    data = load(workplace, uri)
    assert [row.prompt for row in data.rows] == ["first", "last"]
    assert data.read == 3
    bad = data.invalid[0]
    assert (bad.file, bad.line, bad.index, bad.reason) == ("d.jsonl", 3, 1, "invalid")
    assert why in bad.detail


def test_too_many_malformed_rows_are_refused_with_file_and_line(workplace: Workplace) -> None:
    data = load(workplace, workplace.configmap("c", "d.jsonl", '{"prompt": "a"}\nbroken\n'))
    check_invalid(data, 0.5)
    with pytest.raises(InputError, match=r"1 of 2 rows are malformed.*d\.jsonl line 2: not valid JSON"):
        check_invalid(data, 0.02)


def test_json_lines_may_be_called_json(workplace: Workplace) -> None:
    content = '\ufeff{"prompt": "a"}\n\nbroken\n{"prompt": "b"}\n'
    data = load(workplace, workplace.configmap("c", "d.json", content))
    assert [row.prompt for row in data.rows] == ["a", "b"]
    assert [row.detail for row in data.invalid] == ["not valid JSON"]
    for content in (
        '{"prompt": "a"}',
        '[{"prompt": "a"},\n{"prompt": "b"},\n',
        '{"prompt": "a"\n{"prompt": "b"}\n',
    ):
        with pytest.raises(InputError, match=r"d\.json: "):
            load(workplace, workplace.configmap("c", "d.json", content))


def test_ragged_csv_rows_are_malformed(workplace: Workplace) -> None:
    data = load(workplace, workplace.configmap("c", "d.csv", "prompt,label\na,b\nc\nd,e,f\n"))
    assert [row.detail for row in data.invalid] == [
        "fewer fields than the header",
        "more fields than the header",
    ]


def test_quotation_marks_that_csv_does_not_know_spoil_their_row_only(workplace: Workplace) -> None:
    content = 'prompt,n\n"a \\"b\\" c",1\n"say "hi" twice",2\n"a ""b"" c",3\nfive "feet" tall,4\n'
    data = load(workplace, workplace.configmap("c", "d.csv", content))
    assert [row.prompt for row in data.rows] == ['a "b" c', 'five "feet" tall']
    assert [row.line for row in data.invalid] == [2, 3]
    assert all("is doubled" in row.detail for row in data.invalid)


@pytest.mark.parametrize("content", ['prompt\n"one\ntwo\nthree\n', 'prompt,n\na,1\n"b,2\nc,3\n', 'prompt\n"'])
def test_a_quotation_mark_that_is_never_closed_swallows_no_rows_unsaid(
    content: str, workplace: Workplace
) -> None:
    with pytest.raises(InputError, match=r"d\.csv: its last quotation mark is never closed"):
        load(workplace, workplace.configmap("c", "d.csv", content))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_of_records_may_be_called_json_lines(indent: int | None, workplace: Workplace) -> None:
    content = "\ufeff" + json.dumps([{"prompt": "a"}, {"prompt": "b"}], indent=indent)
    for key in ("d.jsonl", "d.ndjson"):
        data = load(workplace, workplace.configmap("c", key, content))
        assert ([row.prompt for row in data.rows], data.invalid) == (["a", "b"], ())


def test_a_csv_row_that_is_no_utf8_is_malformed_and_the_others_are_read(workplace: Workplace) -> None:
    content = "prompt,note\na,x\ncaf\u00e9,y\n".encode() + b"caf\xe9,z\nd,\xff\n" + b"e,w\n"
    data = load(workplace, workplace.configmap("c", "d.csv", content))
    assert [row.prompt for row in data.rows] == ["a", "caf\u00e9", "d", "e"], "nobody asked for the notes"
    assert [(row.line, row.detail) for row in data.invalid] == [(4, "'prompt' is not UTF-8")]


def test_a_wrong_column_is_said_with_the_columns_that_are_there(workplace: Workplace) -> None:
    uri = workplace.configmap("c", "d.jsonl", '{"text": "a", "label": "b"}\n')
    with pytest.raises(InputError, match=r"no column 'prompt', it has label, text: set columns\.prompt"):
        load(workplace, uri)
    with pytest.raises(InputError, match=r"no column 'kind'.*columns\.categories"):
        load(workplace, uri, prompt="text", categories="kind")


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("Prompt", "'Prompt'"),
        (" prompt", "' prompt'"),
        ("prompt\u200b", r"'prompt\\u200b'"),
        ("\ufeffprompt", r"'\\ufeffprompt'"),
        ("pr\uff4fmpt", r"'pr\\uff4fmpt'"),
    ],
)
def test_a_column_that_only_looks_like_the_wanted_one_is_spelt_out(
    header: str, shown: str, workplace: Workplace
) -> None:
    uri = workplace.configmap("c", "d.jsonl", json.dumps({header: "a", "n": 1}) + "\n")
    with pytest.raises(InputError, match=f"no column 'prompt'.*; {shown} differs in case, spaces or hidden"):
        load(workplace, uri)


@pytest.mark.parametrize(
    ("key", "content", "why"),
    [
        ("d.csv", b"prompt;label\nhow, and why;x\n", "columns are not separated by commas"),
        ("d.csv", b"prompt\tlabel\nhow, and why\tx\n", "columns are not separated by commas"),
        ("d.csv", b"prompt|label\na|x\n", "columns are not separated by commas"),
        ("d.csv", b"\xef\xbb\xbfsep=;\nprompt;label\na;x\n", "first line is Excel's sep="),
        ("d.csv", b"sep=,\nprompt,label\na,x\n", "first line is Excel's sep="),
        ("d.json", b'{"prompt": "a"}{"prompt": "b"}', "put each record on one line"),
        ("d.json", b'{\n "prompt": "a"\n}\n{\n "prompt": "b"\n}\n', "put each record on one line"),
        ("d.json", b'[{"prompt": "a"}]\n[{"prompt": "b"}]\n', "put each record on one line"),
        ("d.yaml", "- prompt: caf\u00e9\n".encode("latin-1"), "is not UTF-8: .* save it as UTF-8"),
    ],
)
def test_what_a_file_is_instead_is_said(key: str, content: bytes, why: str, workplace: Workplace) -> None:
    uri = workplace.configmap("c", key, content)
    with pytest.raises(InputError, match=why):
        load(workplace, uri)


@pytest.mark.parametrize("key", ["d.jsonl", "d.ndjson", "d.txt", "d.jsonl.gz"])
def test_a_line_that_no_memory_should_hold_ends_the_reading(
    key: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 1000)
    content = b"a\n" + b"b" * 2000 + b"\n"
    uri = workplace.configmap("c", key, gzip.compress(content) if key.endswith(".gz") else content)
    with pytest.raises(InputError, match="a line of more than"):
        load(workplace, uri)


@pytest.mark.parametrize(
    ("key", "content", "reason"),
    [
        ("d.parquet", b"no parquet", "UnreadableData"),
        ("d.json", b"{", "UnreadableData"),
        ("d.json", b"5", "UnreadableData"),
        ("d.yaml", b"a: [", "UnreadableData"),
        ("d.yaml", b"!!python/object/apply:os.system ['true']", "UnreadableData"),
        ("d.csv", b"caf\xe9\nx\n", "UnreadableData"),
        ("d.jsonl.gz", b"no gzip", "UnreadableData"),
        ("d.xlsx", b"", "UnknownFormat"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_an_input_error(
    key: str, content: bytes, reason: str, workplace: Workplace
) -> None:
    with pytest.raises(InputError) as caught:
        load(workplace, workplace.configmap("c", key, content))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("configmap://nothing/here.jsonl", "NotFound"),
        ("pvc://claim/../../etc/passwd", "InvalidUri"),
        ("configmap://a/../../b.jsonl", "InvalidUri"),
        (f"pvc://claim/{'x' * 300}.jsonl", "InvalidUri"),
        ("pvc://claim/a%00b.jsonl", "NotFound"),
        ("file:///does/not/exist.jsonl", "NotFound"),
        ("package://no_such_package/x.jsonl", "MissingPackage"),
        ("package://os.path/x.jsonl", "MissingPackage"),
        ("ftp://host/x.jsonl", "UnknownScheme"),
        ("hf://justaname", "InvalidUri"),
        ("ftp://bucket/x.jsonl", "UnknownScheme"),
    ],
)
def test_a_uri_that_names_nothing_is_an_input_error(uri: str, reason: str, workplace: Workplace) -> None:
    with pytest.raises(InputError) as caught:
        load(workplace, uri)
    assert caught.value.reason == reason


def test_a_folder_is_read_file_by_file_in_the_order_of_names(workplace: Workplace) -> None:
    folder = workplace.inputs / "pvc/claim/data"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.jsonl").write_text('{"prompt": "second"}\n')
    (folder / "a.csv").write_text("prompt\nfirst\n")
    (folder / "deep/c.json").write_text('[{"prompt": "third"}, {"prompt": "fourth"}]')
    (folder / ".hidden.jsonl").write_text("broken")
    (folder / "README.md").write_text("ignored")
    data = load(workplace, "pvc://claim/data")
    assert [row.prompt for row in data.rows] == ["first", "second", "third", "fourth"]
    assert data.rows[3].origin.file == "deep/c.json"


def test_a_bucket_is_read_by_fsspec(workplace: Workplace) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/data/d.jsonl", b'{"prompt": "from a bucket"}\n')
    assert load(workplace, "memory://bucket/data").rows[0].prompt == "from a bucket"
    assert load(workplace, "memory://bucket/data/d.jsonl").rows[0].prompt == "from a bucket"


def test_a_data_set_has_a_preset_or_a_uri(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="name a preset or a uri"):
        load_dataset("data", Dataset(), workplace.context)


def test_an_unknown_preset_is_said_with_the_known_ones(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="gretel-safety-alignment, harmbench"):
        load_dataset("data", Dataset(preset="none-such"), workplace.context)


def content_of(ending: str, folder: Path) -> bytes:
    """A good file of a format."""
    table = pa.Table.from_pylist([{"prompt": f"text {n}", "n": n} for n in range(50)])
    path = folder / f"good{ending}"
    if ending == ".parquet":
        pq.write_table(table, path)
    elif ending in {".arrow", ".feather"}:
        with pa.ipc.new_file(path, table.schema) as stream:
            stream.write_table(table)
    else:
        lines = [json.dumps(row) for row in table.to_pylist()]
        texts = {".csv": "prompt,n\n" + "".join(f"text {n},{n}\n" for n in range(50))}
        path.write_text(texts.get(ending, f"[{','.join(lines)}]" if ending == ".json" else "\n".join(lines)))
    return path.read_bytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", sorted(READERS))
def test_damaged_files_are_said_and_never_crash(tmp_path: Path, ending: str, packed: bool) -> None:
    random = Random(ending)
    good = content_of(ending, tmp_path)
    packed = packed and ending not in {".parquet", ".arrow", ".feather"}
    good = gzip.compress(good) if packed else good
    for turn in range(60):
        damaged = bytearray(good)
        for _ in range(random.randint(1, 8)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        content = bytes(damaged[: random.randrange(len(damaged))] if turn % 3 == 0 else damaged)
        path = tmp_path / f"bad{ending}{'.gz' if packed else ''}"
        path.write_bytes(content)
        said = ""
        try:
            for record in read_file(path):
                assert record.problem or isinstance(record.value, dict)
        except InputError as error:
            said = str(error)
        assert not said or path.name in said
        assert len(said) < 500


BOMB = b"a%d: &a%d [" + b", ".join([b"*a%d"] * 9) + b"]\n"
"""A level of lists that stand for nine times as many texts as the level before."""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.json", b"[" * 200_000),
        ("deep.yaml", b"[" * 20_000),
        ("date.yaml", b"- !!timestamp 2024-99-99"),
        ("none.arrow", b""),
        ("none.parquet", b""),
        ("magic.arrow", b"ARROW1"),
        ("bomb.yaml", b"a0: &a0 [x]\n" + b"".join(BOMB % (n, n, *[n - 1] * 9) for n in range(1, 12))),
        ("loop.yaml", b"&a [*a]"),
    ],
)
def test_what_only_an_attacker_writes_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=name):
        list(read_file(path))


def test_an_error_of_the_disk_is_no_error_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        list(read_file(tmp_path / "d.jsonl"))
