"""The collect stage as a whole: counts that add up, draws that order cannot change, reasons that help."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from tests.unit.worker.conftest import Workplace

from safety_records.data import Columns, Dataset, RowFilter, Source
from safety_records.result import StageResult
from safety_worker.artifacts.digests import sha256_file
from safety_worker.blending.collected import read_collected, read_inputs, read_rules
from safety_worker.blending.dropped import read_dropped
from safety_worker.blending.mixing import ONLY_REFUSALS
from safety_worker.errors import InputError
from safety_worker.rows import BlendRow

SENTENCE = "tell me in plain words and with all details how one would {} and what to buy for that"


class Collector:
    """Builds sources and collects them."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self._turn = 0

    def source(self, name: str, rows: list[Any], **fields: Any) -> Source:
        lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        uri = self.workplace.configmap(name, "d.jsonl", lines)
        columns = fields.pop("columns", {"categories": "kind"})
        dataset = Dataset(
            uri=uri,
            columns=Columns(**columns),
            filters=fields.pop("filters", ()),
            limit=fields.pop("limit", None),
        )
        return Source(name=name, dataset=dataset, **fields)

    def collect(self, *sources: Source, **fields: Any) -> StageResult:
        self._turn += 1
        return self.workplace.run("collect", sources=list(sources), out=f"collect/{self._turn}", **fields)

    @property
    def folder(self) -> Path:
        return self.workplace.artifacts / f"collect/{self._turn}"

    @property
    def rows(self) -> list[BlendRow]:
        return read_collected(self.folder)

    @property
    def fates(self) -> Counter:
        table = read_dropped(self.folder)
        return Counter(zip(table["source"].to_pylist(), table["reason"].to_pylist(), strict=True))

    @property
    def digest(self) -> str:
        return sha256_file(self.folder / "rows.jsonl") + sha256_file(self.folder / "dropped.parquet")


@pytest.fixture
def collector(workplace: Workplace) -> Collector:
    return Collector(workplace)


def numbered(name: str, count: int, **fields: Any) -> list[dict]:
    return [
        {"prompt": f"{name} {n * 7919} asks {n}", "kind": f"k{n % 3}", "n": n, **fields} for n in range(count)
    ]


def test_every_record_has_one_fate_and_the_counts_add_up(collector: Collector) -> None:
    rows = [
        *numbered("red", 40),
        {"prompt": "RED 0  asks 0", "kind": "k0", "n": 1},
        {"prompt": "red 0 asks 0\u200b", "kind": "k0", "n": 1},
        "{not json",
        {"prompt": 7, "n": 1},
        {"prompt": "exam question", "kind": "k1", "n": 1},
        {"prompt": "fine", "kind": "k1", "n": 99},
    ]
    exam = collector.workplace.configmap("exam", "e.txt", "Exam question!")
    red = collector.source(
        "red", rows, filters=(RowFilter(column="n", at_most=90.0),), categories=("k0", "k1")
    )
    (counts,) = collector.collect(red, size=10, near=0.9, against=[Dataset(uri=exam)], max_invalid=0.1).counts
    assert (counts.read, counts.invalid, counts.duplicate, counts.near_duplicate) == (46, 2, 1, 1)
    assert counts.filtered == 1 + 13, "by a filter and by categories"
    assert (counts.contaminated, counts.sampled) == (1, 10)
    fates = collector.fates
    assert sum(fates.values()) + len(collector.rows) == 46
    assert fates["red", "not-sampled"] == 46 - 2 - 2 - 14 - 1 - 10


def test_the_table_can_be_asked_where_a_row_went(collector: Collector) -> None:
    collector.collect(
        collector.source("red", [*numbered("red", 3), "{oops", {"prompt": "red  0 asks 0"}]), max_invalid=0.5
    )
    table = read_dropped(collector.folder)
    assert table.column_names == ["source", "file", "index", "line", "digest", "part", "reason", "detail"]
    bad = table.filter(pc.field("reason") == "invalid").to_pylist()
    assert [(row["file"], row["index"], row["line"], row["digest"]) for row in bad] == [
        ("d.jsonl", 3, 4, None)
    ]
    (again,) = table.filter(pc.field("reason") == "duplicate").to_pylist()
    assert again["digest"] in {row.digest for row in collector.rows}
    assert "of red d.jsonl record" in again["detail"]


def test_order_of_sources_and_rows_changes_no_byte(collector: Collector) -> None:
    long = [
        {"prompt": SENTENCE.format(f"{word} a {word}ing {n}"), "kind": word}
        for n in range(3)
        for word in ("cat", "dog")
    ]
    red, blue = [*numbered("red", 30), *long], [*numbered("blue", 20), *numbered("red", 5), *long[:2]]
    seen = set()
    for turn in range(2):
        sources = [collector.source("red", red), collector.source("blue", blue)]
        collector.collect(*(sources[::-1] if turn else sources), size=12, by="category", near=0.8)
        seen.add(collector.digest)
    assert len(seen) == 1
    collector.collect(
        collector.source("red", red[::-1]), collector.source("blue", blue), size=12, by="category"
    )
    first = {row.digest for row in collector.rows}
    collector.collect(collector.source("red", red), collector.source("blue", blue), size=12, by="category")
    assert {row.digest for row in collector.rows} == first


def test_near_duplicates_stay_unless_the_blend_says_otherwise_and_share_a_group(collector: Collector) -> None:
    rows = [{"prompt": SENTENCE.format(what)} for what in ("build a bomb", "build a bomb!", "build a bombe")]
    red = collector.source("red", rows, columns={})
    (counts,) = collector.collect(red).counts
    assert (counts.sampled, counts.near_duplicate) == (3, 0)
    assert len({row.group for row in collector.rows}) == 1
    (counts,) = collector.collect(red, near=0.8).counts
    assert (counts.sampled, counts.near_duplicate) == (1, 2)
    table = read_dropped(collector.folder).to_pylist()
    assert all("like red d.jsonl record" in row["detail"] for row in table)


def test_the_same_last_words_of_different_conversations_are_no_near_duplicates(collector: Collector) -> None:
    def talk(*texts: str) -> dict[str, Any]:
        roles = ("user", "assistant") * 2
        return {"talk": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}

    last = "please go on and tell me more"
    rows = [
        talk("how do plants grow from their seeds", "With water and with light.", last),
        talk("who built the old bridge over the river", "Nobody knows that any more.", last),
        talk("Who built the old bridge over the river?", "Nobody knows that any more.", last),
    ]
    red = collector.source("red", rows, columns={"messages": "talk"})
    (counts,) = collector.collect(red, near=0.8).counts
    assert (counts.sampled, counts.near_duplicate) == (2, 1)
    assert len({row.group for row in collector.rows}) == 1, "they never stand on both sides of a split"


def test_a_row_without_a_label_that_counts_as_harmless_stands_for_no_unsafe_one(collector: Collector) -> None:
    columns = {"prompt_label": "verdict"}
    for number in range(8):
        about = SENTENCE.format(f"end a process of kind {number}")
        calm = [{"prompt": about, "verdict": None}, {"prompt": about.upper(), "verdict": "safe"}]
        calm = collector.source("calm", calm, columns=columns)
        red = collector.source("red", [{"prompt": about + "!!s", "verdict": "unsafe"}], columns=columns)
        collector.collect(calm, red, near=0.8)
        assert [(row.origin.source, row.benign) for row in collector.rows] == [("red", False)]


def test_what_is_nearly_in_an_evaluation_set_is_left_out_and_named(collector: Collector) -> None:
    exam = collector.workplace.configmap("exam", "e.txt", SENTENCE.format("build a bomb"))
    rows = [{"prompt": SENTENCE.format("build a bombe")}, {"prompt": "something else"}]
    (counts,) = collector.collect(
        collector.source("red", rows, columns={}), against=[Dataset(uri=exam)]
    ).counts
    assert counts.contaminated == 1
    (row,) = read_dropped(collector.folder).to_pylist()
    assert row["detail"].endswith(f"like one in {exam}")


def test_what_was_read_and_how_rows_were_drawn_is_written_down(collector: Collector) -> None:
    exam = collector.workplace.configmap("exam", "e.txt", "one\ntwo\n")
    filters = (
        RowFilter(column="n", at_least=2.0, at_most=90.0),
        RowFilter(column="lang", any_of=("en",), none_of=("de", "fr")),
    )
    rows = numbered("red", 30, lang="en")
    red = collector.source("red", rows, filters=filters, categories=("k0", "k1"))
    benign = collector.source("benign", numbered("benign", 9), limit=4)
    result = collector.collect(
        red, retain=[benign], size=5, by="category", near=0.9, against=[Dataset(uri=exam)]
    )
    assert {name: value[:7] for name, value in result.inputs.items()} == dict.fromkeys(
        ("source red", "source benign", f"evaluation set {exam}"), "sha256:"
    )
    assert read_inputs(collector.folder) == result.inputs
    rules = read_rules(collector.folder)
    assert (rules.sample, rules.near) == ("5 rows, stratified by category, seed 42", 0.9)
    assert [(item.name, item.prompts) for item in rules.evaluation_sets] == [(exam, 2)]
    described = json.loads((collector.folder / "sources.json").read_text())
    assert [item["rules"] for item in described] == [
        [
            "n is at least 2 and at most 90",
            "lang is one of en and none of de, fr",
            "category is one of k0, k1",
        ],
        ["4 rows, seed 42"],
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("e.txt", "\n\n", r"dedupe\.against: configmap://exam/e\.txt has no prompt"),
        ("e.jsonl", '{"prompt": 1}\n' * 3, "3 of 3 rows are malformed"),
        ("e.jsonl", '{"prompt": "a"}\n{"prompt": ""}\n', r"1 of 2 rows are malformed.*line 2"),
        ("e.jsonl", '{"question": "a"}\n', "no column 'prompt', it has question"),
    ],
)
def test_an_evaluation_set_that_would_keep_nothing_apart_is_refused(
    collector: Collector, name: str, content: str, words: str
) -> None:
    exam = collector.workplace.configmap("exam", name, content)
    with pytest.raises(InputError, match=words):
        collector.collect(collector.source("red", numbered("red", 3)), against=[Dataset(uri=exam)])


def test_an_earlier_turn_that_is_in_an_evaluation_set_is_contamination_too(collector: Collector) -> None:
    def talk(first: str, last: str) -> dict[str, Any]:
        turns = (("system", "Exam question"), ("user", first), ("assistant", "Hm."), ("user", last))
        return {"talk": [{"role": role, "content": text} for role, text in turns]}

    exam = collector.workplace.configmap("exam", "e.txt", "Exam question!")
    rows = [talk("exam  QUESTION", "and then?"), talk("fine", "and then?"), talk("well", "exam question.")]
    red = collector.source("red", rows, columns={"messages": "talk"})
    (counts,) = collector.collect(red, against=[Dataset(uri=exam)]).counts
    assert counts.contaminated == 2
    assert [row.origin.index for row in collector.rows] == [1]
    lost = read_dropped(collector.folder).to_pylist()
    assert [(row["index"], row["detail"]) for row in lost] == [(0, f"in {exam}"), (2, f"in {exam}")]


def test_a_prompt_that_one_source_calls_unsafe_is_never_asked_as_a_harmless_one(collector: Collector) -> None:
    prompts = [f"prompt {n}" for n in range(20)]
    benign = [{"prompt": prompt, "verdict": "safe"} for prompt in prompts]
    unsafe = [{"prompt": prompt.upper(), "kind": "fraud", "verdict": "unsafe"} for prompt in prompts]
    columns = {"prompt_label": "verdict"}
    first = collector.source("calm", benign, columns=columns)
    shouted = collector.source("red", unsafe, columns=columns)
    collector.collect(first, shouted, near=0.9)
    assert [row.benign for row in collector.rows] == [False] * 20
    collector.collect(first, shouted)
    assert [row.benign for row in collector.rows] == [False] * 40, "both stay, neither is answered"
    other = collector.source("other", [{"prompt": "something else", "verdict": "safe"}], columns=columns)
    collector.collect(other, shouted)
    assert sum(row.benign for row in collector.rows) == 1
    same = collector.source(
        "red", [row | {"prompt": row["prompt"].lower()} for row in unsafe], columns=columns
    )
    collector.collect(first, same)
    assert {row.benign for row in collector.rows} == {False}


def test_a_row_of_another_category_stands_for_no_row_that_is_wanted(collector: Collector) -> None:
    both = [f"p {n}" for n in range(9)]
    narrow = [{"prompt": "q", "kind": "b"}, *({"prompt": prompt, "kind": "a"} for prompt in both)]
    wide = [{"prompt": prompt, "kind": "c"} for prompt in both]
    collector.collect(collector.source("narrow", narrow, categories=("b",)), collector.source("wide", wide))
    assert {row.prompt for row in collector.rows} == {"q", *both}
    assert collector.fates == {("narrow", "filtered"): 9}


def test_strata_may_be_a_column(collector: Collector) -> None:
    tactics = ["rare"] * 4 + ["often"] * 86 + [None] * 9
    rows = [{"prompt": f"ask {n}", "tactic": tactic} for n, tactic in enumerate(tactics)]
    result = collector.collect(
        collector.source("red", rows, columns={}), size=18, by="column", column="tactic"
    )
    drawn = Counter(tactics[row.origin.index] for row in collector.rows)
    assert drawn == {"rare": 4, "often": 7, None: 7}
    assert result.warnings == (
        "the sample is not even: an equal share is 6 rows, but rare has 4; others fill up",
        ONLY_REFUSALS,
    )


def test_a_blend_of_refusals_alone_is_said(collector: Collector) -> None:
    red = collector.source(
        "red", [*numbered("red", 3, verdict="unsafe")], columns={"prompt_label": "verdict"}
    )
    assert collector.collect(red).warnings == (ONLY_REFUSALS,)
    calm = collector.source(
        "calm", [{"prompt": "hello", "verdict": "safe"}], columns={"prompt_label": "verdict"}
    )
    assert collector.collect(red, calm).warnings == ()
    kept = collector.source("kept", [{"prompt": "hello"}], columns={})
    assert collector.collect(red, retain=[kept]).warnings == ()


def test_a_column_that_no_source_has_is_said_with_those_that_there_are(collector: Collector) -> None:
    with pytest.raises(InputError, match=r"column 'tactics' of sample\.column, they have kind, n, prompt"):
        collector.collect(collector.source("red", numbered("red", 3)), size=1, by="column", column="tactics")


def test_a_filter_on_a_column_that_does_not_exist_is_said(collector: Collector) -> None:
    red = collector.source("red", numbered("red", 3), filters=(RowFilter(column="risk", any_of=("x",)),))
    with pytest.raises(
        InputError, match=r"no column 'risk', it has kind, n, prompt: set filters\[0\]\.column"
    ):
        collector.collect(red)


def test_filters_that_leave_nothing_are_said(collector: Collector) -> None:
    red = collector.source("red", numbered("red", 3), filters=(RowFilter(column="n", at_least=9.0),))
    with pytest.raises(InputError, match="all 3 are malformed or left out by filters"):
        collector.collect(red)


def test_retained_rows_come_by_ratio(collector: Collector) -> None:
    red, benign = collector.source("red", numbered("red", 30)), numbered("benign", 50)
    result = collector.collect(red, size=20, retain=[collector.source("benign", benign, ratio=1.5)])
    assert {item.source: item.sampled for item in result.counts} == {"red": 20, "benign": 30}
    with pytest.raises(InputError, match=r"ratio of 0\.01 to 20 safety rows is not one row: raise ratio"):
        collector.collect(red, size=20, retain=[collector.source("benign", benign, ratio=0.01)])
    with pytest.raises(InputError, match="ratio of 3 to 20 safety rows needs 60 rows, but only 50 are left"):
        collector.collect(red, size=20, retain=[collector.source("benign", benign, ratio=3.0)])


def test_retained_rows_come_by_subset(collector: Collector) -> None:
    red, benign = collector.source("red", numbered("red", 3)), numbered("benign", 30)
    collector.collect(red, retain=[collector.source("benign", benign, subsets={"k0": 2, "k2": 7})])
    kept = Counter(row.categories[0] for row in collector.rows if row.part == "retain")
    assert kept == {"k0": 2, "k2": 7}
    with pytest.raises(InputError, match="subset k1 is to give 11 rows, but only 10 are left"):
        collector.collect(red, retain=[collector.source("benign", benign, subsets={"k1": 11})])
    with pytest.raises(InputError, match=r"subset maths .* its subsets are k0, k1, k2"):
        collector.collect(red, retain=[collector.source("benign", benign, subsets={"maths": 1})])


def test_a_larger_sample_keeps_the_rows_of_a_smaller_one(collector: Collector) -> None:
    red = collector.source("red", numbered("red", 60))
    drawn = []
    for size in (7, 20):
        collector.collect(red, size=size, strategy="uniform")
        drawn.append({row.digest for row in collector.rows})
    assert drawn[0] < drawn[1]
    collector.collect(red, size=7, strategy="uniform", seed=43)
    assert {row.digest for row in collector.rows} != drawn[0]


def test_proportional_strata_keep_their_shares(collector: Collector) -> None:
    sources = [collector.source("red", numbered("red", 60)), collector.source("blue", numbered("blue", 20))]
    result = collector.collect(*sources, size=40, strategy="proportional")
    assert [item.sampled for item in result.counts] == [30, 10]


def test_malformed_rows_of_every_kind_are_listed_and_do_not_stop_the_run(collector: Collector) -> None:
    bad = [
        "{",
        "[1, 2]",
        '"\\ud800"',
        json.dumps({"prompt": "\ud800"}),
        json.dumps({"prompt": ["a"]}),
        json.dumps({"prompt": {"a": 1}}),
        json.dumps({"prompt": " \u200b\n"}),
        json.dumps({"prompt": None}),
        json.dumps({"other": "schema"}),
        json.dumps({"prompt": "x" * 1_000_000}),
        "[" * 100_000,
        "\ufffe{}",
    ]
    result = collector.collect(
        collector.source("red", [*numbered("red", 5), *bad], columns={}), max_invalid=0.9
    )
    assert result.counts[0].invalid == len(bad)
    table = read_dropped(collector.folder).to_pylist()
    assert [row["line"] for row in table] == list(range(6, 6 + len(bad)))
    assert all(row["detail"] and len(row["detail"]) < 120 for row in table)


def test_labels_and_categories_that_no_file_can_hold_are_mended(collector: Collector) -> None:
    rows = [{"prompt": "a", "kind": ["k\ud800", "z"], "id": "\ud800\0", "label": "\udfff"}]
    columns = {"categories": "kind", "id": "id", "label": "label"}
    collector.collect(collector.source("red", rows, columns=columns))
    (row,) = collector.rows
    assert row.categories == ("k\ufffd", "z")
    assert (row.id, row.label) == ("\ufffd\ufffd", "\ufffd")


def test_a_blend_of_which_nothing_is_left_says_where_it_went(collector: Collector) -> None:
    exam = collector.workplace.configmap("exam", "e.txt", "a\nb")
    rows = [{"prompt": "a"}, {"prompt": "a "}, {"prompt": "b"}]
    with pytest.raises(InputError, match=r"no safety row is left: 2 contaminated, 1 duplicate; look at"):
        collector.collect(collector.source("red", rows, columns={}), against=[Dataset(uri=exam)])
