"""Which files of a folder are its data: what tools and people put beside them is left out, and said."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.worker.conftest import Workplace

from safety_records.data import Dataset, Source
from safety_worker.datasets.loading import LoadedData, load_dataset
from safety_worker.errors import InputError

NOISE = {
    "README.md": "# card",
    ".gitattributes": "*.parquet filter=lfs",
    ".git/refs/x.json": '["main"]',
    ".cache/huggingface/download/d.jsonl.metadata": "x",
    ".cache/huggingface/x.jsonl": '{"prompt": "cached"}\n',
    "__MACOSX/._d.jsonl": '{"prompt": "mac"}\n',
    ".ipynb_checkpoints/d-checkpoint.jsonl": '{"prompt": "notebook"}\n',
    "_temporary/0/part-0.jsonl": '{"prompt": "spark"}\n',
    "_SUCCESS": "",
    "_committed_17.json": '["x"]',
    "d.jsonl.crc": "crc",
    "d.jsonl.tmp": '{"prompt": "tmp"}\n',
    "d.jsonl.lock": "",
    "d.jsonl.incomplete": "{",
    "d.jsonl.part": "{",
    "d.jsonl~": '{"prompt": "old"}\n',
    "checksums.txt": "ab  d.jsonl\n",
    "SHA256SUMS.txt": "ab  d.jsonl\n",
    "LICENSE.txt": "You may.\n",
    "requirements.txt": "pandas\n",
    "dataset_infos.json": '{"default": {"splits": ["train"]}}',
    "croissant.json": '{"recordSet": ["x"]}',
    "metadata.json": '{"authors": ["A. Person"]}',
    "notes.txt": "buy milk\n",
    "stats.json": '{"mean": 4, "labels": ["safe", "unsafe"]}',
    "labels.json": '["safe", "unsafe"]',
    "pipeline.yaml": "steps: [collect, judge]\n",
}
LINES = '{"prompt": "one"}\n{"prompt": "two"}\n'


def put(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def load(workplace: Workplace, uri: str) -> LoadedData:
    return load_dataset("data", Dataset(uri=uri), workplace.context)


def prompts(workplace: Workplace, uri: str) -> list[str]:
    data = load(workplace, uri)
    assert not data.invalid
    return [row.prompt for row in data.rows]


def test_links_are_followed_and_no_row_comes_twice(workplace: Workplace) -> None:
    folder = workplace.inputs / "pvc/claim/data"
    put(folder, {"a.jsonl": LINES, "part/b.jsonl": '{"prompt": "three"}\n'})
    put(workplace.inputs / "pvc/claim/elsewhere", {"c.jsonl": '{"prompt": "four"}\n'})
    (folder / "latest.jsonl").symlink_to("a.jsonl")
    (folder / "0-latest.jsonl").symlink_to("latest.jsonl")
    (folder / "again").symlink_to("part")
    (folder / "more").symlink_to("../elsewhere")
    (folder / "loop").symlink_to(".")
    data = load(workplace, "pvc://claim/data")
    assert [row.prompt for row in data.rows] == ["one", "two", "four", "three"]
    assert data.warnings == ("0-latest.jsonl, latest.jsonl not read: a link to another file of these",)


@pytest.mark.parametrize("name", [b"\xff.jsonl", b"a\nb.jsonl", b"a\x1b[31m.jsonl"])
def test_a_name_that_no_record_can_hold_is_wrong_input(name: bytes, workplace: Workplace) -> None:
    folder = workplace.inputs / "pvc/claim/data"
    put(folder, {"a.jsonl": LINES})
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text(LINES)
    with pytest.raises(InputError, match=r"UnsafePath: .* is not UTF-8: rename"):
        load(workplace, "pvc://claim/data")


def test_data_in_formats_that_are_not_read_are_left_out_and_said(workplace: Workplace) -> None:
    unread = {"b.tsv": "prompt\nx\n", "c.zip": "PK", "d.xlsx": "PK", "e.tar.gz": "x", "picture.png": "x"}
    put(workplace.inputs / "pvc/claim/data", {"a.jsonl": LINES, **unread})
    data = load(workplace, "pvc://claim/data")
    assert data.warnings == ("b.tsv, c.zip, d.xlsx and 1 more not read: convert or unpack what is data",)
    put(workplace.inputs / "pvc/claim/other", unread)
    with pytest.raises(InputError, match=r"or they are left out: .*c\.zip"):
        load(workplace, "pvc://claim/other")


@pytest.mark.parametrize("place", ["pvc", "memory"])
def test_of_a_crowded_folder_only_the_data_are_read(place: str, workplace: Workplace) -> None:
    more = {"more.json": '[{"prompt": "three"}]', "rows.json": '{"version": 1, "rows": [{"prompt": "four"}]}'}
    files = {**NOISE, **more, "d.jsonl": LINES}
    if place == "pvc":
        put(workplace.inputs / "pvc/claim/crowded", files)
    else:
        for name, content in files.items():
            fsspec.filesystem("memory").pipe_file(f"/claim/crowded/{name}", content.encode())
    data = load(workplace, f"{place}://claim/crowded")
    assert [row.prompt for row in data.rows] == ["one", "two", "three", "four"]
    said = "; ".join(data.warnings)
    for name in ("LICENSE.txt", "labels.json", "stats.json", "notes.txt", "pipeline.yaml"):
        assert name in said or " more not read" in said
    assert ".gitattributes" not in said, "what nobody takes for data is not mentioned"


def test_what_is_left_out_is_read_where_the_uri_names_it(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/d", {"notes.txt": "buy milk\n", "d.jsonl": LINES, "_x/e.jsonl": LINES})
    assert prompts(workplace, "pvc://claim/d/notes.txt") == ["buy milk"]
    assert prompts(workplace, "pvc://claim/d/_x") == ["one", "two"]
    put(workplace.inputs / "pvc/claim/states", {"state.json": '[{"prompt": "Ohio"}]'})
    with pytest.raises(InputError, match=r"left out: state\.json"):
        load(workplace, "pvc://claim/states")
    assert prompts(workplace, "pvc://claim/states/state.json") == ["Ohio"]


def test_a_folder_of_text_alone_is_read_without_its_licence(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"a.txt": "one\n", "b/c.txt": "two\n", "LICENSE.txt": "No.\n"})
    assert prompts(workplace, "pvc://claim/t") == ["one", "two"]


def test_text_beside_yaml_is_refused_because_either_may_be_data(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"a.txt": "one\n", "b.yaml": "- two\n"})
    with pytest.raises(InputError, match="name a file"):
        load(workplace, "pvc://claim/t")


def test_a_collected_source_says_what_was_left_out(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"d.jsonl": LINES, "notes.txt": "buy milk\n"})
    source = Source(name="red", dataset=Dataset(uri="pvc://claim/t"))
    result = workplace.run("collect", sources=[source])
    assert any("notes.txt" in warning for warning in result.warnings)


def arrow(*prompts: str) -> bytes:
    table = pa.Table.from_pylist([{"prompt": prompt} for prompt in prompts])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def saved(folder: str, *shards: bytes, **state: Any) -> dict[str, str | bytes]:
    """What ``Dataset.save_to_disk`` writes."""
    names = [f"data-{n:05d}-of-{len(shards):05d}.arrow" for n in range(len(shards))]
    listed = {"_data_files": [{"filename": name} for name in names], "_split": None, **state}
    return {
        f"{folder}/state.json": json.dumps(listed),
        f"{folder}/dataset_info.json": json.dumps({"features": {}, "homepage": "", "splits": ["x"]}),
        **{f"{folder}/{name}": shard for name, shard in zip(names, shards, strict=True)},
    }


BOTH = {
    **saved("ds/train", arrow("a", "b"), arrow("c")),
    **saved("ds/test", arrow("d")),
    "ds/dataset_dict.json": '{"splits": ["train", "test"]}',
}


def test_a_saved_dataset_is_read_as_such(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim", BOTH)
    assert prompts(workplace, "pvc://claim/ds/train") == ["a", "b", "c"]
    assert prompts(workplace, "pvc://claim/ds") == ["d", "a", "b", "c"]
    assert prompts(workplace, "pvc://claim/ds/train/data-00001-of-00002.arrow") == ["c"]


def test_shards_and_splits_of_an_earlier_save_and_caches_are_not_read(workplace: Workplace) -> None:
    old = {
        "ds/train/data-00002-of-00003.arrow": arrow("old"),
        "ds/train/cache-0123456789abcdef.arrow": arrow("mapped"),
        "ds/train/cache-0123456789abcdef_00000_of_00002.arrow": arrow("mapped"),
        **saved("ds/validation", arrow("older")),
    }
    put(workplace.inputs / "pvc/claim", {**BOTH, **old})
    data = load(workplace, "pvc://claim/ds")
    assert [row.prompt for row in data.rows] == ["d", "a", "b", "c"]
    assert "and 1 more" in "; ".join(data.warnings)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("ds/train/data-00001-of-00002.arrow", "ShardMissing"), ("ds/test/state.json", "SplitMissing")],
)
def test_a_saved_dataset_that_is_not_whole_is_refused(
    missing: str, reason: str, workplace: Workplace
) -> None:
    put(workplace.inputs / "pvc/claim", {name: text for name, text in BOTH.items() if name != missing})
    with pytest.raises(InputError, match="copy it as well") as caught:
        load(workplace, "pvc://claim/ds")
    assert caught.value.reason == reason


def test_rows_that_a_list_beside_them_chooses_are_refused(workplace: Workplace) -> None:
    files = saved("ds", arrow("a"), _indices_data_files=[{"filename": "indices.arrow"}])
    put(workplace.inputs / "pvc/claim", files)
    with pytest.raises(InputError, match=r"flatten_indices"):
        load(workplace, "pvc://claim/ds")


def test_of_a_hubs_cache_the_commit_of_main_is_read(workplace: Workplace) -> None:
    old, new, root = "1" * 40, "2" * 40, "datasets--org--name"
    put(
        workplace.inputs / "pvc/claim",
        {
            f"hub/{root}/refs/main": new,
            f"hub/{root}/snapshots/{old}/d.jsonl": '{"prompt": "old"}\n',
            f"hub/{root}/snapshots/{new}/README.md": "x",
            f"hub/{root}/blobs/abc": LINES,
        },
    )
    snapshot = workplace.inputs / f"pvc/claim/hub/{root}/snapshots/{new}"
    (snapshot / "d.jsonl").symlink_to("../../blobs/abc")
    for uri in ("pvc://claim/hub", f"pvc://claim/hub/{root}", f"pvc://claim/hub/{root}/snapshots/{new}"):
        assert prompts(workplace, uri) == ["one", "two"], uri
    (workplace.inputs / f"pvc/claim/hub/{root}/refs/main").write_text("3" * 40)
    with pytest.raises(InputError, match="snapshots/COMMIT"):
        load(workplace, "pvc://claim/hub")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_delta_log/00000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v2.metadata.json", "Iceberg"),
    ],
)
def test_tables_that_keep_deleted_rows_are_refused(name: str, kind: str, workplace: Workplace) -> None:
    folder = workplace.inputs / "pvc/claim/t"
    put(folder, {name: "{}"})
    pq.write_table(pa.Table.from_pylist([{"prompt": "deleted"}]), folder / "part-0.parquet")
    with pytest.raises(InputError, match=kind):
        load(workplace, "pvc://claim/t")


def test_a_cache_of_datasets_is_read_without_what_was_mapped_and_not_twice(workplace: Workplace) -> None:
    one, two, folder = "a1" * 20, "b2" * 20, "cache/org___name/default/0.0.0"
    files = {
        f"{folder}/{one}/name-train-00000-of-00002.arrow": arrow("a"),
        f"{folder}/{one}/name-train-00001-of-00002.arrow": arrow("b"),
        f"{folder}/{one}/dataset_info.json": json.dumps({"splits": ["train"]}),
        f"{folder}/{one}/cache-0011223344556677.arrow": arrow("mapped"),
        f"{folder}/{one}_builder.lock": "",
        f"{folder}/{two}.incomplete/name-train.arrow": arrow("half"),
    }
    put(workplace.inputs / "pvc/claim", files)
    assert prompts(workplace, "pvc://claim/cache") == ["a", "b"]
    put(
        workplace.inputs / "pvc/claim",
        {f"{folder}/{two}/dataset_info.json": "{}", f"{folder}/{two}/n.arrow": arrow("a")},
    )
    with pytest.raises(InputError, match=f"name one of the folders {one}, {two}"):
        load(workplace, "pvc://claim/cache")
    assert prompts(workplace, f"pvc://claim/{folder}/{one}") == ["a", "b"]


def test_a_link_to_what_is_not_there_is_said(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"a.jsonl": LINES})
    (workplace.inputs / "pvc/claim/t/b.jsonl").symlink_to("../.git/annex/objects/x")
    with pytest.raises(InputError, match=r"BrokenLink: b\.jsonl .*git annex get"):
        load(workplace, "pvc://claim/t")


def test_a_file_that_lies_there_compressed_as_well_is_read_once(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"a.jsonl": LINES, "a.jsonl.gz": gzip.compress(LINES.encode())})
    data = load(workplace, "pvc://claim/t")
    assert (data.read, data.warnings) == (2, ("a.jsonl.gz not read: it is there unpacked as well",))


def test_the_same_name_in_two_formats_is_said(workplace: Workplace) -> None:
    put(
        workplace.inputs / "pvc/claim/t",
        {"a.jsonl": LINES, "a.csv": "prompt\nthree\n", "b.csv": "prompt\nx\n"},
    )
    data = load(workplace, "pvc://claim/t")
    assert data.read == 4
    assert data.warnings == ("a.csv, a.jsonl are all read: name one if they hold the same rows",)


def test_an_empty_shard_among_others_is_said(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"a.jsonl": LINES, "b.jsonl": ""})
    data = load(workplace, "pvc://claim/t")
    assert (data.read, data.warnings) == (2, ("b.jsonl is empty (0 bytes)",))


def test_shards_that_are_missing_are_said(workplace: Workplace) -> None:
    put(
        workplace.inputs / "pvc/claim/t",
        {"train-00000-of-00003.jsonl": LINES, "train-00002-of-00003.jsonl": '{"prompt": "three"}\n'},
    )
    data = load(workplace, "pvc://claim/t")
    assert data.read == 3
    assert data.warnings == ("pvc://claim/t has 2 of 3 shards of train.jsonl",)


@pytest.mark.parametrize("copy", ["a (1).jsonl", "a - Copy.jsonl", "a copy 2.jsonl", "a_copy.jsonl"])
def test_a_copy_beside_its_original_is_said(copy: str, workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"a.jsonl": LINES, copy: LINES})
    (said,) = load(workplace, "pvc://claim/t").warnings
    assert copy in said
    assert "are all read: name one" in said


def test_numbered_parts_are_no_copies(workplace: Workplace) -> None:
    put(workplace.inputs / "pvc/claim/t", {"part (1).jsonl": LINES, "part (2).jsonl": LINES})
    assert load(workplace, "pvc://claim/t").warnings == ()
