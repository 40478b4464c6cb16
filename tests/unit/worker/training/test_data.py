"""Training rows: what is read, what is refused, what is learnt from."""

import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safety_worker.errors import InputError
from safety_worker.models.row_tokens import RowTokens
from safety_worker.training import data
from safety_worker.training.data import Learnt, arrange, has_generation_marks


def read_messages(path, notes=None):
    return data.read_messages(path, [] if notes is None else notes)


TALK = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


def write(path, *values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_jsonl_and_parquet_give_the_same_rows(tmp_path):
    lines = write(tmp_path / "train.jsonl", {"messages": TALK}, {"messages": TALK})
    pq.write_table(pa.Table.from_pylist([{"messages": TALK}] * 2), tmp_path / "train.parquet")
    assert read_messages(lines) == read_messages(tmp_path / "train.parquet") == [TALK, TALK]


def test_line_separators_inside_texts_do_not_cut_rows(tmp_path):
    talk = [TALK[0], {"role": "assistant", "content": "one\u2028two\x85three"}]
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"messages": talk}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_messages(path) == [talk]


@pytest.mark.parametrize(
    "value",
    [
        {"text": "x"},
        {"messages": TALK[:1]},
        {"messages": [TALK[1], TALK[0]]},
        {"messages": [TALK[0], {"role": "assistant", "content": None}]},
        ["messages"],
    ],
)
def test_rows_of_another_form_are_refused_by_line(tmp_path, value):
    path = write(tmp_path / "train.jsonl", {"messages": TALK}, value)
    with pytest.raises(InputError, match=r"^InvalidTrainingData: .*line 2"):
        read_messages(path)


def test_broken_json_is_refused_by_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"messages": TALK}) + "\n{\n")
    with pytest.raises(InputError, match="line 2"):
        read_messages(path)


def test_a_missing_file_names_the_field(tmp_path):
    with pytest.raises(InputError, match=r"^NoTrainingData: .*blendRef"):
        read_messages(tmp_path / "train.jsonl")


LINE = json.dumps({"messages": TALK}) + "\n"
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.jsonl", b"\xef\xbb\xbf" + LINE.encode()),
        ("t.jsonl", LINE.encode("utf-16")),
        ("t.jsonl", gzip.compress(LINE.encode(), mtime=0)),
        ("t.jsonl.gz", gzip.compress(LINE.encode(), mtime=0)),
        ("t.jsonl.xz", lzma.compress(LINE.encode())),
        ("t.json", json.dumps([{"messages": TALK}]).encode()),
        ("t.json", LINE.encode() + b"\n\n" + LINE.encode()[:-1]),
        ("t.jsonl", json.dumps({"messages": json.dumps(TALK)}).encode()),
        ("t.yaml", json.dumps([{"messages": TALK}]).encode()),
    ],
)
def test_training_files_go_through_the_reader_of_all_data(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_messages(tmp_path / name)[0] == TALK


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", LINE.encode() + LINE.replace("Hi", "caf\xe9").encode("cp1252"), "line 2: .*not UTF-8"),
        ("t.parquet", b"no parquet", "does not begin as Parquet"),
        ("t.parquet", b"PAR1 cut off", "t.parquet"),
        ("t.parquet", b"", "empty"),
        ("t.jsonl.gz", gzip.compress(LINE.encode(), mtime=0)[:-4], "t.jsonl.gz"),
        ("t.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 7\n", "Git LFS"),
        ("t.jsonl", b"<!doctype html>", "web page"),
        ("t.txt", b"just words\n", "needs messages"),
        ("t.csv", b"prompt,response\na,b\n", "it has prompt, response"),
        ("t.bin", b"x", "UnknownFormat"),
        ("t.jsonl", b'{"messages": "no list"}', "needs messages"),
    ],
)
def test_a_file_that_cannot_be_learnt_from_is_an_error_of_the_data(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_messages(tmp_path / name)


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        ([TALK[0], CALL], "calls a tool"),
        ([TALK[0], CALL, {"role": "tool", "content": "rain"}, TALK[1]], "calls a tool"),
        ([TALK[0], {"role": "tool", "content": "rain"}, TALK[1]], "calls a tool"),
        ([TALK[0], {"role": "assistant", "content": None, "function_call": {"name": "f"}}], "calls a tool"),
        ([TALK[0], {"role": "assistant", "content": " \n"}], "assistant is empty"),
        ([TALK[0], {"role": "assistant", "content": []}], "parts of type text"),
        ([TALK[0], {"role": "assistant", "content": [{"type": "text", "text": ""}]}], "assistant is empty"),
        ([TALK[0], {"role": "assistant", "content": ""}, *TALK], "assistant is empty"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, TALK[1]], "parts"),
        ([{"role": "developer", "content": "x"}, *TALK], "another role"),
        ([{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}], "role and content"),
        ([TALK[0], {"role": "assistant", "content": "\ud800"}], "surrogates"),
        ([TALK[0], TALK[1], TALK[0]], "must be the assistant's"),
        (["a", "b"], "role and content"),
        ([TALK[0], {"role": "assistant", "content": "\u200b"}], "assistant is empty"),
        ([TALK[0], {"role": "assistant", "content": "<|im_end|>"}], "assistant is empty"),
        ([TALK[0], {"role": "assistant", "content": "<think>Hm.</think>\n"}], "assistant is empty"),
        ([TALK[0], {**TALK[1], "reasoning_content": "Hm."}], r"own \(reasoning_content\)"),
        ([TALK[0], {**TALK[1], "thinking": "Hm."}], r"own \(thinking\)"),
        ([TALK[0], {**TALK[1], "weight": 0}, *TALK], "weight 0"),
    ],
)
def test_a_row_that_would_be_learnt_as_something_else_is_refused_by_line(tmp_path, talk, said):
    with pytest.raises(InputError, match=rf"1 of 2 rows .*train\.jsonl, line 2: .*{said}"):
        read_messages(write(tmp_path / "train.jsonl", {"messages": TALK}, {"messages": talk}))


def test_an_answer_of_marks_only_is_learnt_as_it_is(tmp_path):
    talk = [TALK[0], {"role": "assistant", "content": "..."}]
    assert read_messages(write(tmp_path / "t.jsonl", {"messages": talk})) == [talk]


def test_no_more_than_three_rows_are_named_and_all_are_counted(tmp_path):
    path = write(tmp_path / "train.jsonl", *[{"messages": [TALK[0], CALL]}] * 5)
    with pytest.raises(InputError, match=r"5 of 5 rows .*line 3: [^;]*$"):
        read_messages(path)


def test_a_call_that_is_not_made_and_fields_besides_are_no_hindrance(tmp_path):
    talk = [{**TALK[0], "name": "x"}, {**TALK[1], "tool_calls": [], "function_call": None, "thinking": ""}]
    assert read_messages(write(tmp_path / "t.jsonl", {"messages": talk, "tools": []})) == [TALK]


def test_contents_in_parts_are_their_texts(tmp_path):
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "again"}]
    path = write(tmp_path / "t.jsonl", {"messages": [{"role": "user", "content": parts}, TALK[1]]})
    assert read_messages(path)[0][0]["content"] == "Hello\nagain"


def test_a_name_with_spaces_is_written_with_percent_signs(tmp_path):
    write(tmp_path / "my rows.jsonl", {"messages": TALK})
    assert read_messages(tmp_path / "my%20rows.jsonl") == [TALK]


def test_a_folder_is_read_by_its_data_files(tmp_path):
    write(tmp_path / "a.jsonl", {"messages": TALK})
    write(tmp_path / "b.jsonl", {"messages": TALK}, {"messages": TALK})
    (tmp_path / "LICENSE.txt").write_text("You may.\n")
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache/c.jsonl", {"messages": TALK})
    said: list[str] = []
    assert len(read_messages(tmp_path, said)) == 3
    assert "LICENSE.txt not read" in " ".join(said)
    assert ".cache/c.jsonl not read: hidden or temporary" in " ".join(said)


def row(start, end=None):
    """A row whose answer begins at ``start``."""
    return RowTokens(list(range(start + 1 if end is None else end)), start)


def test_only_the_answer_is_learnt():
    rows = arrange([row(2, 4)], max_length=10)
    assert rows.rows == [{"input_ids": [0, 1, 2, 3], "labels": [-100, -100, 2, 3]}]


def test_what_a_template_marks_is_learnt_wherever_it_is():
    marked = Learnt([0, 1, 2, 3], [-100, 1, -100, 3])
    rows = arrange([row(3, 4)], [marked], max_length=10).rows
    assert rows == [{"input_ids": marked.ids, "labels": marked.labels}]


def test_rows_whose_prompt_fills_the_sequence_are_counted_and_left_out():
    assert arrange([row(10), row(10)], max_length=10) == ([], 2, 0)


def test_rows_whose_answer_does_not_fit_are_counted_and_cut():
    rows = arrange([row(3, 11), row(3, 11)], max_length=10)
    assert (len(rows.rows), rows.too_long, rows.cut) == (2, 0, 2)


def test_rows_that_are_longer_than_a_sequence_can_be_refused():
    with pytest.raises(
        InputError,
        match=r"^RowsTooLong: train.jsonl: 1 of 1 rows have .* 10 tokens \(first: row 1;",
    ):
        arrange([row(3, 11)], max_length=10, refuse_from="train.jsonl")


def test_rows_that_fill_a_sequence_are_not_refused():
    assert len(arrange([row(3, 10)], max_length=10, refuse_from="x").rows) == 1


@pytest.mark.parametrize(
    "mark", ["{%- generation %}", "{% generation %}", "{%-generation-%}", "{% generation -%}"]
)
def test_marks_are_found_in_every_spelling(mark):
    assert has_generation_marks(f"{mark}x{{% endgeneration %}}")


def test_a_template_without_marks_or_with_their_end_only_has_none():
    assert not has_generation_marks("{{ messages }} generation {% endgeneration %}")
