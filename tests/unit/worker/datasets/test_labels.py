"""Labels in use: what is not understood is said, contradictions are decided, and order decides nothing."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.stages.test_collect import Collector

from safety_records.blend_stages import AnswerStage
from safety_records.data import Columns, Dataset, RowFilter
from safety_records.eval_stages import CalibrationSpec
from safety_worker.blending.mixing import ONLY_REFUSALS
from safety_worker.datasets.loading import load_dataset
from safety_worker.datasets.unrecognised import Unrecognised, UnrecognisedCell
from safety_worker.errors import InputError
from safety_worker.judging.agreement import Labelled, read_labelled
from safety_worker.stages.answer import given_answer

COLUMNS = Columns(response="response", label="label")


@pytest.fixture
def collector(workplace: Workplace) -> Collector:
    return Collector(workplace)


def labelled(workplace: Workplace, rows: list[dict], columns: Columns = COLUMNS, **labels: str) -> Labelled:
    uri = workplace.configmap("c", "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return read_labelled(
        "j", CalibrationSpec(dataset=Dataset(uri=uri, columns=columns), labels=labels), workplace.context
    )


def answers(*labels: Any) -> list[dict]:
    """An answer for each label."""
    return [{"prompt": f"p{n}", "response": f"a{n}", "label": label} for n, label in enumerate(labels)]


@pytest.mark.parametrize(
    "labels", [(True, False), (1, 0), (1.0, 0.0), ("True", "False"), ("1.0", "0.0"), ("yes", "no")]
)
def test_both_classes_of_a_calibration_are_read_in_every_format(
    labels: tuple[Any, Any], workplace: Workplace
) -> None:
    frame = pd.DataFrame(answers(*(labels * 5)))
    folder = workplace.inputs / "pvc/claim"
    folder.mkdir(parents=True)
    frame.to_csv(folder / "d.csv", index=False)
    frame.to_parquet(folder / "d.parquet", index=False)
    frame.to_json(folder / "d.jsonl", orient="records", lines=True)
    for ending in ("csv", "parquet", "jsonl"):
        for meanings in ({"1": "safe", "0": "unsafe"}, {"true": "safe", "FALSE": "unsafe"}):
            columns = COLUMNS.model_copy(update={"labels": meanings})
            spec = CalibrationSpec(dataset=Dataset(uri=f"pvc://claim/d.{ending}", columns=columns))
            found = read_labelled("j", spec, workplace.context)
            assert sorted(found.safe.values()) == [False] * 5 + [True] * 5
            assert found.warnings == ()


def test_a_label_without_a_meaning_ends_a_calibration_and_is_shown_if_it_is_one(workplace: Workplace) -> None:
    with pytest.raises(InputError, match=r"\('0', 'maybe'\): say what they mean in calibration\.labels"):
        labelled(workplace, answers(0, "maybe", "safe", 1), **{"1": "safe"})
    secret = "My neighbour's name is Thomas and he"
    with pytest.raises(InputError, match="1 or more different values") as caught:
        labelled(workplace, answers(secret))
    assert "Thomas" not in str(caught.value)


def test_missing_labels_and_answers_are_left_out_and_counted(workplace: Workplace) -> None:
    rows = [
        *answers("safe", None, float("nan"), "nan", "", "N/A"),
        {"prompt": "q", "response": "", "label": "safe"},
    ]
    found = labelled(workplace, rows)
    assert len(found.rows) == 1
    assert found.warnings == (
        "judge j: calibration: 6 of its rows have no label, or no response: they are left out",
    )


def test_of_contradicting_labels_the_majority_counts_in_any_order(workplace: Workplace) -> None:
    row = {"prompt": "q", "response": "a"}
    votes = [row | {"label": label} for label in ("safe", "unsafe", "harmful", None)]
    found = {str(labelled(workplace, list(order)).safe) for order in permutations(votes)}
    assert len(found) == 1
    assert "False" in found.pop()


def test_an_answer_that_people_are_divided_on_is_left_out_and_counted(workplace: Workplace) -> None:
    row = {"prompt": "q", "response": "a"}
    votes = [row | {"label": "safe"}, {"prompt": " q", "response": "a ", "label": "unsafe"}, *answers("safe")]
    for order in permutations(votes):
        found = labelled(workplace, list(order))
        assert (list(found.safe.values()), found.contradicting) == ([True], 1)
        assert "1 of its answers have labels that contradict each other" in found.warnings[0]
    with pytest.raises(InputError, match="contradict each other"):
        labelled(workplace, votes[:2])


def test_the_spelling_that_is_judged_does_not_depend_on_the_order(workplace: Workplace) -> None:
    rows = [{"prompt": prompt, "response": "a", "label": "safe"} for prompt in (" q", "q", "q ")]
    assert len({labelled(workplace, list(order)).rows[0].prompt for order in permutations(rows)}) == 1


def test_labels_of_several_people_in_one_cell(workplace: Workplace) -> None:
    rows = answers(
        ["safe", "safe", "unsafe"],
        "['unsafe', 'harmful']",
        ["safe", "unsafe"],
        {"unsafe": True, "safe": False},
    )
    found = labelled(workplace, rows)
    assert sorted(found.safe.values()) == [False, False, True]
    assert any("labels without a majority" in text for text in found.warnings)


def test_what_a_calibration_says_goes_before_the_columns(workplace: Workplace) -> None:
    columns = COLUMNS.model_copy(update={"labels": {"A": "safe", "B": "safe"}})
    assert sorted(labelled(workplace, answers("a", "b"), columns, b="unsafe").safe.values()) == [False, True]


def test_prompts_are_what_their_labels_mean(collector: Collector) -> None:
    rows = [{"prompt": f"how does one do {n}", "toxicity": n % 2} for n in range(10)]
    columns = {"prompt_label": "toxicity"}
    result = collector.collect(collector.source("ours", rows, columns=columns))
    assert not any(row.benign for row in collector.rows)
    assert result.warnings[1:] == (ONLY_REFUSALS,)
    assert result.warnings[0] == (
        "source ours: 10 labels in column 'toxicity' ('0', '1') have no known meaning, so that they count as "
        "unsafe: say what they mean in columns.labels"
    )
    named = {**columns, "labels": {"0": "safe", "1": "unsafe"}}
    assert collector.collect(collector.source("ours", rows, columns=named)).warnings == ()
    assert sum(row.benign for row in collector.rows) == 5


def test_prompts_with_several_labels_are_unsafe_and_counted_in_any_order(collector: Collector) -> None:
    rows = [
        {"prompt": "How do I kill a process?", "label": "safe"},
        {"prompt": "how do i kill a process", "label": "unsafe"},
        {"prompt": "How do I open a door?", "label": "safe"},
        {"prompt": "How do I open a door?", "label": None},
        {"prompt": "How do I bake bread?", "label": "safe"},
    ]
    found = set()
    for order in (rows, rows[::-1], [*rows[3:], *rows[:3]]):
        result = collector.collect(collector.source("ours", order, columns={"prompt_label": "label"}))
        assert any("1 of the prompts are called safe in one row and not" in text for text in result.warnings)
        found.add(tuple(sorted((row.prompt, row.benign) for row in collector.rows)))
    assert found == {
        (
            ("How do I bake bread?", True),
            ("How do I kill a process?", False),
            ("How do I open a door?", True),
            ("how do i kill a process", False),
        )
    }


def test_which_of_equal_rows_stays_does_not_depend_on_their_order(collector: Collector) -> None:
    row = {"prompt": "how is a lock opened", "response": "I will not say"}
    rows = [
        row | {"label": "safe", "kind": "x"},
        row | {"label": "unsafe", "kind": "y"},
        row | {"label": None, "kind": ["z", "x"]},
    ]
    columns = {"response": "response", "label": "label", "categories": "kind"}
    found = set()
    for order in permutations(rows):
        collector.collect(collector.source("ours", list(order), columns=columns))
        (left,) = collector.rows
        found.add((left.label, left.categories))
    assert found == {("unsafe", ("y",))}


@pytest.mark.parametrize(
    ("label", "used"),
    [
        ("safe", True),
        (None, True),
        ("nan", True),
        ("harmful", False),
        (0, False),
        (False, False),
        ("meh", False),
    ],
)
def test_a_response_that_is_not_known_to_be_safe_is_no_fallback(
    label: Any, used: bool, collector: Collector, workplace: Workplace
) -> None:
    rows = [{"prompt": "how is a lock opened", "response": "With a pick.", "label": label}]
    columns = {"response": "response", "label": "label"}
    result = collector.collect(collector.source("ours", rows, columns=columns))
    spec = workplace.spec(
        "answer",
        collected="c",
        target={"base_url": "http://x/v1", "model": "m"},
        sampling={},
        fallback="source",
    )
    assert isinstance(spec, AnswerStage)
    assert (given_answer(collector.rows[0], spec) is not None) is used
    assert any("their rows are no fallback" in text for text in result.warnings) is (label in {0, "meh"})


def test_words_for_a_missing_cell_are_texts_and_a_warning(workplace: Workplace) -> None:
    rows = [
        {"prompt": "None", "response": "nan"},
        {"prompt": "What is 0/0?", "response": "NaN"},
        {"prompt": "nan"},
    ]
    uri = workplace.configmap("c", "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset("d", Dataset(uri=uri, columns=Columns(response="response")), workplace.context)
    assert [row.response for row in data.rows] == ["nan", "NaN", ""]
    assert [text.split(" are ")[0] for text in data.warnings] == [
        "2 cells of column 'prompt'",
        "2 cells of column 'response'",
    ]


def test_strata_and_filters_know_the_same_names(collector: Collector) -> None:
    kinds = [1, 1.0, True, "x", ["b", "a"], None, float("nan"), "<NA>", {"a": True, "b": 1}]
    rows = [{"prompt": f"how does one do {n}", "kind": kind} for n, kind in enumerate(kinds)]
    rows.append({"prompt": "how does one do all", "kind": {"a": 0.5}})
    result = collector.collect(
        collector.source("ours", rows, columns={}), by="column", column="kind", size=5, max_invalid=0.2
    )
    assert result.counts[0].invalid == 1
    assert not any("not even" in text for text in result.warnings), (
        "1, true, x, a and b, and none: five strata"
    )
    wanted = (RowFilter(column="kind", any_of=("B", "1.0")),)
    collector.collect(collector.source("ours", rows, columns={}, filters=wanted), max_invalid=0.2)
    assert {row.prompt[-1] for row in collector.rows} == {"0", "1", "4", "8"}


def test_a_blend_is_the_same_in_every_format(workplace: Workplace, tmp_path: Path) -> None:
    """JSON lines, Parquet and what pandas writes into CSV: the same rows to the byte."""
    frame = pd.DataFrame(
        {
            "prompt": [f"how does one do {n}" for n in range(9)],
            "kind": [["x", "y"], ["y"], []] * 3,
            "safe": [True, False, None] * 3,
            "level": [1, 2, None] * 3,
        }
    )
    columns = Columns(
        categories="kind", prompt_label="safe", id="level", labels={"true": "safe", "false": "unsafe"}
    )
    folder = workplace.inputs / "pvc/claim"
    folder.mkdir(parents=True)
    frame.to_csv(folder / "d.csv", index=False)
    frame.to_parquet(folder / "d.parquet", index=False)
    frame.to_json(folder / "d.jsonl", orient="records", lines=True)
    found = []
    for ending in ("csv", "parquet", "jsonl"):
        dataset = Dataset(uri=f"pvc://claim/d.{ending}", columns=columns)
        rows = load_dataset("d", dataset, workplace.context).rows
        found.append([row.model_copy(update={"origin": None}) for row in rows])
    assert found[0] == found[1] == found[2]
    assert [(row.benign, row.categories, row.id) for row in found[0]][:3] == [
        (True, ("x", "y"), "1"),
        (False, ("y",), "2"),
        (False, (), ""),
    ]


def test_a_column_of_anything_but_labels_is_not_shown() -> None:
    unrecognised = Unrecognised()
    for n in range(1000):
        unrecognised.add([UnrecognisedCell("unknown", "label", "text", f"somebody's secret words {n}")])
    (text,) = unrecognised.words()
    assert "1000 labels in column 'text'" in text
    assert "secret" not in text
