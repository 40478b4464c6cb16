"""The grammar of URIs: what schemas let through, what planning says of it, and what a hub URI may name."""

import re
from typing import Any

import pytest

from safety_records.uris import DATA_URI, MODEL_URI, HubName, find_problem, parse_hub


def names(uri: str) -> list[tuple[str, str]]:
    return [(name.revision, name.path) for name in parse_hub(uri)]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://org/name", [("main", "")]),
        ("hf://org/name/", [("main", "")]),
        ("hf://org/name//data//x.csv", [("main", "data/x.csv")]),
        ("hf://datasets/org/name@v1", [("v1", "")]),
        ("hf://org/name@v1/", [("v1", "")]),
        ("hf://org/name@refs/convert/parquet", [("refs/convert/parquet", "")]),
        ("hf://org/name@refs/convert/parquet/", [("refs/convert/parquet", "")]),
        ("hf://org/name@refs/convert/duckdb.v1/a/b", [("refs/convert/duckdb.v1", "a/b")]),
        ("hf://org/name@refs/pr/12/a.csv", [("refs/pr/12", "a.csv")]),
        ("hf://org/name@refs%2Fpr%2F12", [("refs/pr/12", "")]),
        ("hf://org/name@fix/x", [("fix", "x"), ("fix/x", "")]),
        ("hf://org/name@fix%2Fx/d.csv", [("fix/x", "d.csv"), ("fix/x/d.csv", "")]),
        ("hf://org/name/data@v2/x@y.csv", [("main", "data@v2/x@y.csv")]),
        (
            "hf://org/name@v1/data@v2/x.csv",
            [("v1", "data@v2/x.csv"), ("v1/data@v2", "x.csv"), ("v1/data@v2/x.csv", "")],
        ),
        ("hf://Org-1/na.me_2@1a2b3c4", [("1a2b3c4", "")]),
        ("hf://org/name@refs/prx", [("refs", "prx"), ("refs/prx", "")]),
    ],
)
def test_slashes_behind_the_at_may_belong_to_the_revision(uri: str, expected: list[Any]) -> None:
    assert names(uri) == expected


def test_a_uri_says_whether_it_names_a_model_or_a_data_set() -> None:
    kinds = [parse_hub(f"hf://{text}org/name")[0].kind for text in ("", "datasets/", "models/")]
    assert kinds == ["", "dataset", "model"]
    assert HubName("org/name", "fix/x", "a b.csv", "dataset").uri == "hf://datasets/org/name@fix%2Fx/a b.csv"


WRONG = [
    ("https://[::1/x.jsonl", "this is no address"),
    ("https://host:70000/x.jsonl", "this is no address"),
    ("http://:80/x.jsonl", "this is no address"),
    ("hf://name", "organisation/name"),
    ("hf://datasets/name", "organisation/name"),
    ("hf://org/na me", "organisation/name"),
    ("hf://org/-name", "organisation/name"),
    ("hf://org/name?revision=x", "organisation/name"),
    ("hf://spaces/org/name", "a Space"),
    ("hf://buckets/org/name", "a bucket"),
    ("hf://huggingface.co/datasets/org/name", "write hf://datasets/org/name"),
    ("hf://https://huggingface.co/datasets/org/name/tree/v1/data", "write hf://datasets/org/name@v1/data"),
    ("hf://org/name/tree/main/data", "write hf://org/name@main/data"),
    ("hf://org/name/resolve/main/x.csv", "write hf://org/name@main/x.csv"),
    ("hf://org/name/*.csv", "patterns are not read"),
    ("pvc://claim/data/*.jsonl", "patterns are not read"),
    ("s3://bucket/data/**/x.parquet", "patterns are not read"),
    ("pvc://claim/../other/x.jsonl", "leads out"),
    ("pvc://claim/a/%2e%2e/%2E%2E/x.jsonl", "leads out"),
    ("file:///data/..", "leads out"),
    ("https://huggingface.co/datasets/org/name", "write hf://datasets/org/name"),
    (
        "https://huggingface.co/datasets/org/name/blob/main/a/b.csv",
        "write hf://datasets/org/name@main/a/b.csv",
    ),
    (
        "https://huggingface.co/org/name/tree/refs/convert/parquet/x",
        "hf://org/name@refs%2Fconvert%2Fparquet/x",
    ),
    ("https://hf.co/spaces/org/name", "organisation/name"),
    ("https://github.com/o/r/blob/main/a/p.txt", "https://raw.githubusercontent.com/o/r/main/a/p.txt"),
    ("https://gitlab.com/g/p/-/blob/main/p.txt", "https://gitlab.com/g/p/-/raw/main/p.txt"),
]


@pytest.mark.parametrize(("uri", "said"), WRONG)
def test_what_names_nothing_that_could_be_read_is_said_with_what_to_write(uri: str, said: str) -> None:
    assert said in find_problem(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "hf://org/name@main/raw/main/x.csv",
        "hf://org/name/tree/oak/x.csv",
        "hf://org/name/data/[a]/x..csv",
        "https://huggingface.co/datasets/org/name/resolve/main/x.csv",
        "https://github.com/o/r/blob/main/p.txt?raw=true",
        "https://raw.githubusercontent.com/o/r/main/p.txt",
        "https://example.org/a*b.csv?sig=*",
        "pvc://claim/data",
        "configmap://name/key",
    ],
)
def test_what_may_be_read_is_let_through(uri: str) -> None:
    assert find_problem(uri) == ""
    assert re.search(DATA_URI, uri)


def test_a_model_is_no_data_set() -> None:
    assert "a model is wanted" in find_problem("hf://datasets/org/name", "model")
    assert find_problem("hf://datasets/org/name") == find_problem("hf://models/org/name", "model") == ""


@pytest.mark.parametrize(
    "uri",
    ["hf://org/name@fix/x", "hf://models/org/name@v1/", "hf://org/name/sub", "pvc://claim/path", "file:///m"],
)
def test_the_schema_of_models_takes_what_is_parsed(uri: str) -> None:
    assert re.search(MODEL_URI, uri)


@pytest.mark.parametrize(
    "uri", ["hf://name", "hf://org/name@", "hf://org/na me", "hf://org/name?x", "ftp://a/b"]
)
def test_the_schemas_refuse_what_names_no_repository(uri: str) -> None:
    assert not re.search(MODEL_URI, uri)
    assert not re.search(DATA_URI, uri)
