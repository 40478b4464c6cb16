"""The beginning of data sets: the records that a whole read gives first, and no byte more than they need."""

import gzip
import io
import json
import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.conftest import Workplace, resolve_files

from safety_worker.artifacts.digests import sha256_file
from safety_worker.datasets import first_records, readers
from safety_worker.datasets.first_records import take_records
from safety_worker.datasets.readers import RawRecord, read_file
from safety_worker.datasets.resolve import DataFile
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport.places import FolderPlace


def take(workplace: Workplace, content: bytes | dict[str, bytes], name: str, records: int) -> list[DataFile]:
    """The beginning of files of a claim."""
    files = content if isinstance(content, dict) else {name: content}
    folder = workplace.inputs / "pvc/claim"
    for key, value in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(value)
    uri = "pvc://claim/" + ("" if isinstance(content, dict) else name)
    return resolve_files(uri, workplace.context, max_records=records)


def records_of(files: list[DataFile]) -> list[RawRecord]:
    """What a stage reads of them."""
    return [record for file in files for record in islice(read_file(file.path), file.records)]


def rows(count: int) -> bytes:
    return b"".join(b'{"prompt": "number %d"}\n' % number for number in range(count))


JSONL = b'\xef\xbb\xbf{"prompt": "a"}\n\n  \nnot json\n"c"\n{"prompt": "d"}'
CSV = b'\xef\xbb\xbf"prompt",label\r\n"one\r\nline",x\r\n\r\n"two ""quoted"" \xff",y\rthree,z,more\nfour,w'
TEXT = "one\n\u00a0\n  two \n\nthree".encode()


AWKWARD = {
    "quotes.csv": 'prompt,n\n"a\nb",1\n"c ""d"" e",2\n"bad "q" x",3\n"two\r\nlines",4\n\n,5\np "in" it,6\n',
    "behind.csv": 'prompt,n\n"x"y\n,1\n"a" "b\nc",2\nd,"x" "y\nz",3\ne,4\n',
    "mac.csv": "prompt,n\ra,1\rb,2\rc,3\r",
    "ragged.csv": "prompt,n\na,1,2\nb\n   \nd\0,3\ne,4",
    "list.jsonl": '[{"prompt":"a"},{"prompt":"b"},{"prompt":"c"}]',
    "lines.json": '{"prompt":"a"}\n\n{"prompt":1}\nnot\n{"prompt":"b"}\r\n   \n{"prompt":"c"}',
    "list.json": '[{"prompt":"a"},\n{"prompt":"b"}]',
    "lines.txt": "a\n\nb\r\n \u200b\nc\x0bd\ne\0f\ng\u2028h\n",
    "list.yaml": "- prompt: a\n- prompt: b\n- c\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_files_have_the_same_first_records_read_whole_or_not(
    name: str, packed: bool, encoding: str, workplace: Workplace
) -> None:
    content = AWKWARD[name].encode(encoding)
    content, called = (gzip.compress(content), f"{name}.gz") if packed else (content, name)
    path = workplace.inputs / "whole" / called
    path.parent.mkdir()
    path.write_bytes(content)
    whole = [record.value or record.problem for record in read_file(path)]
    assert len(whole) > 1
    for wanted in range(1, len(whole) + 2):
        files = take(workplace, content, called, wanted)
        assert [record.value or record.problem for record in records_of(files)] == whole[:wanted]
        assert files[-1].cut == (wanted < len(whole))


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.txt", "x.jsonl.gz", "x.csv.gz", "x.txt.gz"])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 5])
def test_the_first_records_are_those_that_a_whole_read_gives_first(
    name: str, wanted: int, workplace: Workplace, tmp_path: Path
) -> None:
    compressed = name.endswith(".gz")
    plain = {"x.jsonl": JSONL, "x.csv": CSV, "x.txt": TEXT}[name.removesuffix(".gz")]
    content = gzip.compress(plain) if compressed else plain
    (tmp_path / name).write_bytes(content)
    everything = list(read_file(tmp_path / name))
    (file,) = take(workplace, content, name, wanted)
    assert (file.name, file.cut) == (name, wanted < len(everything))
    assert list(read_file(file.path)) == everything[:wanted], "the file ends with the last record"
    if wanted >= len(everything) and not compressed:
        assert file.path.read_bytes() == content


@given(
    content=st.lists(
        st.sampled_from(
            [b"a", b'"', b",", b"\n", b"\r", b"\r\n", b" ", b'{"prompt": "x"}\n', b"b,c\n", b"\xff"]
        )
    ).map(b"".join),
    suffix=st.sampled_from(["jsonl", "csv", "txt"]),
    wanted=st.integers(1, 4),
    size=st.integers(1, 7),
)
def test_any_content_in_any_pieces_ends_where_its_records_end(
    content: bytes, suffix: str, wanted: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("x")
    (folder / f"x.{suffix}").write_bytes(content)

    class InPieces(FolderPlace):
        def _read(self, file: object, offset: int) -> Iterator[bytes]:
            return (content[start : start + size] for start in range(offset, len(content), size))

    place = InPieces(folder)
    (folder / "out").mkdir()
    try:
        everything = list(read_file(folder / f"x.{suffix}"))
    except InputError:
        return
    taken = take_records("x", place, place.files(), folder / "out", wanted)
    assert list(read_file(taken[0].path)) == everything[:wanted]
    assert (taken[0].records, taken[0].more) == (min(wanted, len(everything)), len(everything) > wanted)


def test_a_beginning_has_the_digest_of_what_was_read(workplace: Workplace, tmp_path: Path) -> None:
    (file,) = take(workplace, rows(1000), "x.jsonl", 10)
    (tmp_path / "head").write_bytes(rows(10))
    assert sha256_file(file.path) == sha256_file(tmp_path / "head")
    (packed,) = take(workplace, gzip.compress(rows(400)) + gzip.compress(rows(400)), "x.jsonl.gz", 10)
    assert sha256_file(packed.path) == sha256_file(tmp_path / "head"), (
        "of the content, not of its compression"
    )


def test_files_are_read_one_after_the_other(workplace: Workplace) -> None:
    files = {"a/1.jsonl": rows(3), "a/2.csv": b"prompt\nx\ny\n", "b.jsonl": rows(5), "c.jsonl": b"\xff" * 9}
    found = take(workplace, files, "", 7)
    assert [(file.name, file.records, file.cut) for file in found] == [
        ("a/1.jsonl", 3, False),
        ("a/2.csv", 2, False),
        ("b.jsonl", 2, True),
    ]
    found = take(workplace, files, "", 5)
    assert [(file.name, file.cut) for file in found] == [("a/1.jsonl", False), ("a/2.csv", True)]
    assert not take(workplace, files, "", 11)[-1].cut


def parquet(groups: int, size: int) -> bytes:
    table = pa.table(
        {"prompt": [f"number {number}" for number in range(groups * size)], "n": [[1]] * groups * size}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=size)
    return buffer.getvalue()


@pytest.mark.parametrize("wanted", [1, 100, 101, 250, 999, 1000, 1001])
def test_of_parquet_only_the_row_groups_that_are_needed_are_there(wanted: int, workplace: Workplace) -> None:
    content = parquet(10, 100)
    (file,) = take(workplace, content, "x.parquet", wanted)
    found = records_of([file])
    assert [record.value["prompt"] for record in found] == [f"number {n}" for n in range(min(wanted, 1000))]
    assert (file.records, file.cut) == (min(wanted, 1000), wanted < 1000)
    needed = -(-wanted // 100)
    if needed >= 10:
        assert file.path.read_bytes() == content
    else:
        footer = int.from_bytes(content[-8:-4], "little") + 8
        size = file.path.stat().st_size - footer
        assert abs(size / (len(content) - footer) - needed / 10) < 0.02, "so much of its row groups, no more"


def test_a_footer_that_is_larger_than_the_first_look(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_records, "TAIL_BYTES", 16)
    assert len(records_of(take(workplace, parquet(10, 100), "x.parquet", 5))) == 5


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no footer of Parquet"),
        (b"PAR1", "no footer of Parquet"),
        (parquet(2, 10)[:-1], "no footer of Parquet"),
        (b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1", "no footer of Parquet"),
        (b"PAR1" + bytes(100) + b"\x20\0\0\0" + b"PAR1", "UnreadableData: x.parquet: "),
        (parquet(4, 500)[:4] + parquet(4, 500)[2000:], "UnreadableData: x.parquet: "),
    ],
)
def test_damaged_parquet_is_said(content: bytes, expected: str, workplace: Workplace) -> None:
    with pytest.raises(InputError, match=expected):
        records_of(take(workplace, content, "x.parquet", 1500))


@pytest.mark.parametrize("name", ["x.json", "x.yaml", "x.arrow"])
def test_formats_without_a_beginning_are_read_whole_and_counted(name: str, workplace: Workplace) -> None:
    texts = [f"number {number}" for number in range(9)]
    content = json.dumps(texts).encode()
    if name == "x.arrow":
        buffer = io.BytesIO()
        with pa.ipc.new_stream(buffer, pa.schema([("prompt", pa.string())])) as writer:
            writer.write_table(pa.table({"prompt": texts}))
        content = buffer.getvalue()
    (file,) = take(workplace, content, name, 4)
    assert [record.value["prompt"] for record in records_of([file])] == texts[:4]
    assert file.cut
    assert not take(workplace, content, name, 9)[0].cut


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_json_lines_that_are_called_json_have_a_beginning(
    suffix: str, wanted: int, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_records, "MAX_WHOLE_BYTES", 0)
    lines = [b'{"prompt": "%s"}\n\n' % (b"long %d " % number * 500) for number in range(5)]
    content = b"\xef\xbb\xbf" + b"".join(lines)
    packed = gzip.compress(content) if suffix == "json.gz" else content
    (file,) = take(workplace, packed, f"x.{suffix}", wanted)
    found = [record.value["prompt"][:6] for record in records_of([file])]
    assert found == [f"long {number}" for number in range(wanted)]
    assert file.cut == (wanted < 5)


@pytest.mark.parametrize(
    "content",
    [b'{"data": ["a", "b"]}', b'{"data":\n["a", "b"]}\n', b'[\n"a",\n"b"]', b'["a", "b"]'],
)
def test_other_json_is_not_taken_for_lines(content: bytes, workplace: Workplace) -> None:
    (file,) = take(workplace, content, "x.json", 1)
    assert [record.value for record in records_of([file])] == [{"prompt": "a"}]
    assert file.cut


def test_files_whose_names_differ_in_their_compression(workplace: Workplace) -> None:
    files = {"x.json": rows(3), "x.jsonl": rows(2), "x.ndjson.gz": gzip.compress(b'{"prompt": "z"}')}
    found = take(workplace, files, "", 6)
    assert [len(records_of([file])) for file in found] == [3, 2, 1]


def test_a_file_that_can_only_be_read_whole_and_is_too_large(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_records, "MAX_WHOLE_BYTES", 10)
    with pytest.raises(InputError, match=r"SourceTooLarge: .*x\.json can only be read whole; convert it"):
        take(workplace, json.dumps(["x"] * 9).encode(), "x.json", 4)
    monkeypatch.setattr(first_records, "MAX_WHOLE_BYTES", 2000)
    with pytest.raises(InputError, match=r"SourceTooLarge: .*lower maxRecords, or write smaller row groups"):
        take(workplace, parquet(1, 5000), "x.parquet", 4)


def test_a_line_without_an_end_is_no_record(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 1024**2)
    with pytest.raises(InputError, match=r"UnreadableData: x\.jsonl: it has a line of more than 1 MiB"):
        take(workplace, rows(2) + b"x" * 2**21, "x.jsonl", 3)
    with pytest.raises(InputError, match=r"UnreadableData: x\.csv: field larger than"):
        take(workplace, b'prompt\n"' + b"x\n" * 10_000_000, "x.csv", 3)


PACKED = gzip.compress(rows(50), mtime=0)


@pytest.mark.parametrize("content", [b"no gzip", PACKED[:-30], PACKED[:-3] + b"abc"])
def test_damaged_compression_is_said(content: bytes, workplace: Workplace) -> None:
    with pytest.raises(InputError, match=r"UnreadableData: x\.jsonl\.gz: "):
        take(workplace, content, "x.jsonl.gz", 50)


def test_a_full_disk_is_said_before_it_is_full(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    full = type("Usage", (), {"free": 100 * 1024**2})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with pytest.raises(InfrastructureError, match="ArtifactStoreFull"):
        take(workplace, rows(50), "x.jsonl", 5)
    monkeypatch.setattr(first_records, "SMALL_BYTES", 0)
    with pytest.raises(InputError, match=r"SourceTooLarge: .*lower maxRecords"):
        take(workplace, rows(50), "x.jsonl", 5)


def test_what_a_killed_pod_left_is_overwritten(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: str, written: int, __: Path) -> None:
        if written > 100_000:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(first_records, "ROOM_BYTES", 10_000)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        first_records._check_room = killed
        take(workplace, rows(9000), "x.jsonl", 8000)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = (path for path in (workplace.context.scratch / "data").rglob("x.jsonl*") if path.is_file())
    assert 0 < left.stat().st_size < len(rows(8000))
    (file,) = take(workplace, rows(9000), "x.jsonl", 8000)
    assert (file.path, file.path.read_bytes()) == (left, rows(8000))
