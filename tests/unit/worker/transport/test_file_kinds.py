"""What a file is: what came in its place is refused, what is packed or in another encoding is read."""

import bz2
import gzip
import json
import lzma
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.worker.conftest import Workplace, resolve_files

from safety_records.data import Dataset
from safety_worker.datasets.loading import load_dataset
from safety_worker.datasets.readers import CARRIAGE_RETURN, READERS, RawRecord, read_file
from safety_worker.errors import InputError
from safety_worker.transport.file_kinds import PACKED, encoding_of, is_hidden, is_housekeeping, met_instead

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 7\n" % (b"1f" * 32)
IN_PLACE = [
    ("PointerFile", LFS),
    ("PointerFile", LFS.replace(b"git-lfs", b"hawser")),
    ("PointerFile", b"\xef\xbb\xbf" + LFS.replace(b"\n", b"\r\n")),
    ("PointerFile", b"# xet version 0\nfilesize = 5\nhash = 'ab'\n"),
    ("PointerFile", b"/annex/objects/SHA256E-s5--ab.jsonl\n"),
    ("PointerFile", b"../../.git/annex/objects/Xk/9f/SHA256E-s5--ab.jsonl/SHA256E-s5--ab.jsonl"),
    ("PointerFile", b"../../blobs/" + b"ab" * 20),
    ("PointerFile", b"../../../blobs/" + b"ab" * 32 + b"\n"),
    ("WebPage", b"<!DOCTYPE html><html lang=en>"),
    ("WebPage", b"\xef\xbb\xbf\r\n  <!doctype HTML PUBLIC>\n<title>x</title>"),
    ("WebPage", b"<!-- saved from url -->\n<html>"),
    ("WebPage", b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">'),
    ("WebPage", b"<script>location='/login'</script></body></html>"),
    ("WebPage", b"<title>Sign in</title>\n<body>"),
    ("WebPage", "<html>log in".encode("utf-16")),
    ("PointerFile", ("\ufeff" + LFS.decode()).encode("utf-16-le")),
    ("WebPage", b"<!DOCTYPE html>" + b" " * 90_000),
    ("ErrorAnswer", b"<Error><Code>NoSuchKey</Code><Key>secret/words</Key></Error>"),
    ("ErrorAnswer", b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'),
    ("ErrorAnswer", b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>Words</Code></Error>"),
    ("ErrorAnswer", b'{"error":"Repository not found"}'),
    ("ErrorAnswer", b'{"message":"Not Found","documentation_url":"https://x","status":"404"}'),
    ("ErrorAnswer", b'{"detail": "Not authenticated"}\n'),
    ("ErrorAnswer", b"Entry not found"),
    ("ErrorAnswer", b"404: Not Found"),
    ("ErrorAnswer", b"Access to dataset org/name is restricted. You must have access to it.\n"),
]


@pytest.mark.parametrize("ending", [".txt", ".yaml", ".json", ".csv", ".jsonl", ".parquet", ".txt.gz"])
@pytest.mark.parametrize(("reason", "content"), IN_PLACE)
def test_what_came_in_place_of_a_file_is_refused_under_every_name(
    reason: str, content: bytes, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"prompts{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"prompts{ending} is") as caught:
        list(read_file(path))
    assert caught.value.reason == reason
    assert "words" not in str(caught.value).lower(), "no message quotes a file"


@pytest.mark.parametrize(
    "text",
    [
        "How do I write <html> by hand?",
        "<b>bold</b> claims about vaccines",
        "<script>alert(1)</script> is what?",
        "<meta name=x> in a page does what?",
        "Not found in any book: how do I pick a lock?",
        "Forbidden fruit, and how to sell it",
        "version https://git-lfs.github.com is what?",
        "The error was not found",
        '{"message": "hello"}, said the program',
    ],
)
def test_a_prompt_about_such_things_is_a_prompt(text: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(f"{text}\nand another one\n", encoding="utf-8")
    assert [record.value["prompt"] for record in read_file(path)] == [text, "and another one"]


def test_a_row_that_has_an_error_among_its_columns_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "error": "none"}\n')
    assert [record.value["prompt"] for record in read_file(path)] == ["a"]
    assert met_instead(b'{"message": "hi", "title": "x"}', whole=True) is None


TEXTS = ["plain\nsecond line\n", "Wie geht es?\n日本語のテキスト\n", "مرحبا بالعالم\n", "a\n"]
ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_encoding_of_unicode_is_read_in_every_text_format(
    encoding: str, mark: str, packed: bool, tmp_path: Path
) -> None:
    rows = [{"prompt": f"question {n}, 質問 {n}"} for n in range(150)]
    written = {
        "d.jsonl": "".join(json.dumps(row) + "\r\n" for row in rows),
        "d.json": json.dumps(rows),
        "d.csv": "prompt\r\n" + "".join(f'"{row["prompt"]}"\r\n' for row in rows),
        "d.txt": "".join(f"{row['prompt']}\r\n" for row in rows),
        "d.yaml": "".join(f"- prompt: {json.dumps(row['prompt'], ensure_ascii=False)}\n" for row in rows),
    }
    own_mark = (
        mark
        if not encoding.startswith(("utf-8", "utf-16", "utf-32")) or encoding[-2:] in {"le", "be"}
        else ""
    )
    for name, text in written.items():
        content = (own_mark + text).encode(encoding)
        path = tmp_path / f"{name}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
        assert [record.value for record in read_file(path)] == rows, name


@pytest.mark.parametrize("text", TEXTS)
def test_text_in_utf8_is_taken_for_nothing_else(text: str) -> None:
    assert encoding_of(text.encode()) == "utf-8"
    assert encoding_of(text.encode()[:3] + b"\0" + text.encode()[3:]) == "utf-8"


def test_a_line_with_nul_is_malformed_and_the_others_are_read(workplace: Workplace) -> None:
    for name, lines in (("d.txt", "a\nb\0c\nd\n"), ("d.csv", "prompt\na\nb\0c\nd\n")):
        uri = workplace.configmap("c", name, lines)
        data = load_dataset("d", Dataset(uri=uri), workplace.context)
        assert [row.prompt for row in data.rows] == ["a", "d"]
        assert ["NUL" in row.detail for row in data.invalid] == [True]


def test_a_text_of_one_line_with_the_line_ends_of_old_macs_is_no_prompt(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b"one\rtwo\rthree\r")
    assert [record.problem for record in read_file(tmp_path / "d.txt")] == [CARRIAGE_RETURN]
    (tmp_path / "d.txt").write_bytes(b"one\r\ntwo\r\r\nthree")
    assert [record.value["prompt"] for record in read_file(tmp_path / "d.txt")] == ["one", "two", "three"]


@pytest.mark.parametrize("ending", [".txt", ".csv", ".jsonl", ".yaml", ".json"])
def test_bytes_that_are_no_text_are_refused_as_a_whole(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"d{ending}"
    for content in (Random(1).randbytes(9000), b"\x80\x04\x95\0\0\0pickle\0\x01\x02\x03" * 9, bytes(500)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no text"):
            list(read_file(path))


@pytest.mark.parametrize(
    "piece", [b"<!-- -->", b"<!--", b"<?xml ?>", b"<!-- -->\n<", b"<title ", b"<error ", b"../"]
)
def test_a_beginning_that_only_an_attacker_writes_is_looked_at_once(piece: bytes) -> None:
    """With a pattern that can be read in several ways this would not end."""
    head = (piece * 4096)[:4096]
    assert met_instead(head, whole=True) is None or piece == b"<error "
    page = b"<!-- a --> <!-- b -->\n" * 50 + b"<html>"
    assert met_instead(page, whole=True).reason == "WebPage"  # type: ignore[union-attr]


LINES = b"".join(b'{"prompt": "%d"}\n' % number for number in range(3000))
PACK = {
    "gz": gzip.compress(LINES, mtime=0),
    "bz2": bz2.compress(LINES),
    "xz": lzma.compress(LINES),
    "lzma": lzma.compress(LINES, format=lzma.FORMAT_ALONE),
    "zst": pa.compress(LINES, codec="zstd", asbytes=True),
    "pzst": b"\x50\x2a\x4d\x18\x08\0\0\0is no data"[:16] + pa.compress(LINES, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize(
    "name",
    ["d.jsonl", *(f"d.jsonl{ending}" for ending in PACKED), "D.JSONL.GZ"],
)
@pytest.mark.parametrize("packing", PACK)
def test_what_is_compressed_is_read_whatever_it_is_called(name: str, packing: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(PACK[packing])
    assert sum(1 for _ in read_file(path)) == 3000


@pytest.mark.parametrize("packing", PACK)
def test_what_is_compressed_and_cut_off_is_refused(packing: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    for end in (len(PACK[packing]) - 1, len(PACK[packing]) // 2, 12):
        path.write_bytes(PACK[packing][:end])
        with pytest.raises(InputError, match=r"d\.jsonl"):
            list(read_file(path))


def test_what_unpacks_to_more_than_a_pod_reads_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_worker.datasets.opening.MAX_UNPACKED_BYTES", len(LINES) - 1)
    (tmp_path / "d.jsonl").write_bytes(PACK["gz"])
    with pytest.raises(InputError, match="when it is unpacked"):
        list(read_file(tmp_path / "d.jsonl"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04rest", "zip archive"),
        (b"%PDF-1.7", "PDF"),
        (b"SQLite format 3\0", "SQLite"),
        (b"x" * 257 + b"ustar\0", "tar"),
        (gzip.compress(b"x" * 257 + b"ustar\0", mtime=0), "tar"),
        (gzip.compress(PACK["gz"], mtime=0), "more than once"),
        (b"GGUF\x03\0\0\0", "GGUF"),
    ],
)
def test_what_no_reader_knows_is_refused_by_its_name(content: bytes, what: str, tmp_path: Path) -> None:
    for ending in READERS:
        path = tmp_path / f"d{ending}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=what):
            list(read_file(path))


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet", "d.txt", "d.csv", "d.arrow"])
def test_binary_formats_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"prompt": "a"}])
    path = tmp_path / name
    pq.write_table(table, path)
    assert [record.value["prompt"] for record in read_file(path)] == ["a"]
    for writer in (pa.ipc.new_file, pa.ipc.new_stream):
        if name == "d.parquet":
            continue
        with writer(path, table.schema) as stream:
            stream.write_table(table)
        assert [record.value["prompt"] for record in read_file(path)] == ["a"]


def test_a_table_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"prompt": f"row {n}"} for n in range(300)])
    path = tmp_path / "d.arrow"
    with pa.ipc.new_stream(path, table.schema) as stream:
        for start in range(0, 300, 100):
            stream.write_table(table.slice(start, 100))
    whole = path.read_bytes()
    for end in {*range(1, len(whole), 7), *range(8, len(whole), 8)}:
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"d\.arrow"):
            list(read_file(path))


def test_a_parquet_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist([{"prompt": f"row {n}"} for n in range(50)]), path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 9):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"d\.parquet"):
            list(read_file(path))


@pytest.mark.parametrize("name", ["d.json", "d.yaml", "d.parquet", "d.arrow"])
def test_an_empty_file_of_a_format_that_has_a_form_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        list(read_file(tmp_path / name))


def test_json_lines_that_are_called_text_are_no_prompts(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    with pytest.raises(InputError, match=r"name it \.jsonl"):
        list(read_file(tmp_path / "d.txt"))


def read_all(uri: str, workplace: Workplace, max_records: int | None) -> list[RawRecord]:
    files = resolve_files(uri, workplace.context, max_records=max_records)
    return [record for file in files for record in read_file(file.path)]


@pytest.mark.parametrize("max_records", [None, 5])
@pytest.mark.parametrize("name", ["d.txt", "d.json", "d.parquet", "d.csv.gz"])
@pytest.mark.parametrize("content", [LFS, b"<html><body>log in", b'{"error": "Repository not found"}'])
def test_what_came_in_place_of_a_file_is_refused_at_its_beginning_too(
    content: bytes, name: str, max_records: int | None, workplace: Workplace
) -> None:
    uri = workplace.configmap("c", name, content)
    with pytest.raises(InputError, match=rf"{name} is "):
        read_all(uri, workplace, max_records)


def test_the_beginning_of_a_text_in_utf16_is_written_as_utf8(workplace: Workplace) -> None:
    uri = workplace.configmap("c", "d.txt", "".join(f"Frage {n}\n" for n in range(90)).encode("utf-16"))
    (file,) = resolve_files(uri, workplace.context, max_records=3)
    assert file.path.read_bytes() == b"Frage 0\nFrage 1\nFrage 2\n"
    assert file.cut


@pytest.mark.parametrize(
    "name",
    [
        ".cache/huggingface/x.json",
        "__MACOSX/._d.csv",
        "a/.ipynb_checkpoints/d-checkpoint.jsonl",
        "_temporary/0/d.parquet",
        "_committed_123.json",
        ".git/x.json",
        "~$d.csv",
        "a/lost+found/d.txt",
    ],
)
def test_hidden_and_temporary_files_are_known_by_their_folders(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(name.rpartition("/")[2].lstrip("._~$"))


def test_notes_are_known_by_their_names_and_data_are_not() -> None:
    notes = (
        "LICENSE.txt Licence-2.0.txt README.txt requirements.txt requirements-dev.txt dev-requirements.txt"
    )
    notes += " NOTICE.txt checksums.txt data.sha256.txt SHA256SUMS.txt dataset_infos.json croissant.json"
    assert all(map(is_housekeeping, notes.split()))
    data = "licensed.txt news.csv history.json readers.txt prompts.txt states.json notices.jsonl train.json"
    assert not any(map(is_housekeeping, data.split()))
