"""The chain collect -> answer -> judge -> assemble of a SafetyBlend, against a fake model server."""

import json
from collections import Counter
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from tests.unit.worker.conftest import PHRASES, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.support.blend_runs import (
    REFUSAL,
    THINKING,
    WARM,
    Blend,
    jsonl,
    refuses_when_told,
    with_thoughts,
)

from safety_records.data import Dataset, Source
from safety_worker.blending.lengths import Rendered
from safety_worker.errors import InputError


def test_training_rows_have_the_original_prompt_and_the_models_own_refusal(blend: Blend) -> None:
    blend.collect()
    result = blend.rest(refuses_when_told, validation=0.1, lineage={"model": "sha256:abc"})
    rows = blend.training_rows() + blend.training_rows("validation")
    answers = {messages[0]["content"]: messages[1]["content"] for messages in rows}
    assert answers["harm number 1"] == REFUSAL
    assert answers["question 1"] == "given 1.", "a response of the source is kept"
    assert answers["question 9"] == "An answer to question 9."
    assert "harm number 7" not in answers
    assert not any("Write a polite refusal" in prompt for prompt in answers)
    assert any('"harm number 1"' in prompt and "fraud" in prompt for prompt in blend.asked)
    assert any("drugs and arms" in prompt for prompt in blend.asked), "categories are named in words"
    assert result.train_rows + result.validation_rows == result.rows == len(answers)
    assert result.validation_rows == round(0.1 * result.rows)
    card = (blend.workplace.folder("assemble") / "README.md").read_text()
    assert "| `red` |" in card
    assert (
        json.loads((blend.workplace.folder("assemble") / "lineage.json").read_text())["model"] == "sha256:abc"
    )


def test_a_blend_says_that_a_source_was_read_in_part(blend: Blend) -> None:
    dataset = blend.red.dataset.model_copy(update={"max_records": 12})
    blend.red = blend.red.model_copy(update={"dataset": dataset})
    assert {item.source: item.read for item in blend.collect().counts}["red"] == 12
    blend.rest(refuses_when_told)
    folder = blend.workplace.folder("assemble")
    for name in ("README.md", "blend.html"):
        assert (folder / name).read_text().count("only the first 12 records") == 2, (
            "at the source, and a warning"
        )
    (red,) = (
        item for item in json.loads((folder / "blend.json").read_text())["sources"] if item["name"] == "red"
    )
    assert red["maxRecords"] == 12
    assert json.loads((folder / "lineage.json").read_text())["source red, first 12 records"] == red["digest"]


def test_the_first_safe_candidate_is_kept(blend: Blend) -> None:
    blend.collect(retain=[])

    def second_time(prompt: str, nth: int) -> Reply:
        return Reply(REFUSAL if nth == 1 or "number 1" in prompt else "Sure, here is how.")

    result = blend.rest(second_time, candidates=2)
    assert result.rows == 38
    assert {f["candidate"] for f in blend.fates() if f["fate"] == "kept"} == {0, 1}


def test_candidates_have_different_seeds(blend: Blend) -> None:
    blend.collect(retain=[], size=4)
    bodies: list[dict] = []
    with FakeModelServer(lambda *_: Reply(REFUSAL)) as server:
        blend.workplace.run(
            "answer",
            collected="demo/safetyeval/base/run/collect",
            target=served(server.base_url),
            sampling=WARM,
            candidates=3,
        )
        bodies = server.bodies
    assert len({body["seed"] for body in bodies}) == 12


def test_a_refused_benign_prompt_is_not_trained_on(blend: Blend) -> None:
    blend.collect()
    result = blend.rest(lambda *_: Reply(REFUSAL))
    counts = {c.source: c for c in result.counts}
    assert counts["benign"].unsafe == 10, "the ten that the model had to answer itself"
    assert counts["benign"].kept == 4


def test_nothing_left_is_said_with_the_reasons(blend: Blend) -> None:
    blend.collect(retain=[])
    with pytest.raises(InputError, match="no row is left: 38 unsafe"):
        blend.rest(lambda *_: Reply("Sure!"))


def test_unparsed_verdicts_drop_the_row_or_fail_the_run(blend: Blend) -> None:
    blend.collect()

    def sometimes_silent(prompt: str, nth: int) -> Reply:
        return Reply("") if "number 1" in prompt else refuses_when_told(prompt, nth)

    result = blend.rest(sometimes_silent)
    assert sum(c.unparsed for c in result.counts) == 0, "no text is no answer"
    assert not any("number 1" in messages[0]["content"] for messages in blend.training_rows())
    with pytest.raises(InputError, match="onUnparsed"):
        blend.rest(sometimes_silent, on_unparsed="fail", out="demo/other/fail")


def test_the_blend_is_the_same_twice(blend: Blend) -> None:
    blend.collect()
    one = blend.rest(refuses_when_told)
    two = blend.rest(refuses_when_told, out="demo/second/assemble")
    assert one.output.digest == two.output.digest


def test_what_the_collect_stage_warns_of_stands_on_the_card(blend: Blend) -> None:
    warned = blend.collect(retain=[]).warnings
    assert warned
    blend.rest(refuses_when_told)
    card = (blend.workplace.folder("assemble") / "README.md").read_text()
    assert card.count("- Warning: nothing is retained") == len(warned)
    assert json.loads((blend.workplace.folder("assemble") / "blend.json").read_text())["warnings"] == list(
        warned
    )


def test_a_resource_that_is_made_anew_gives_the_same_digest(blend: Blend) -> None:
    blend.collect()
    first = blend.rest(refuses_when_told)
    run, other = blend.workplace.run, "demo/safetyblend/again/f00d"
    collected = {"sources": [blend.red, blend.blue], "retain": [blend.retain], "against": [blend.exam]}
    run("collect", out=f"{other}/collect", inputs_hash="1", max_invalid=0.1, **collected)
    with FakeModelServer(refuses_when_told) as server:
        target = served(server.base_url)
        fields = {"collected": f"{other}/collect", "target": target, "sampling": WARM}
        run("answer", out=f"{other}/answer", inputs_hash="2", **fields)
    run("judge", out=f"{other}/judge", inputs_hash="3", generated=f"{other}/answer", judges=[PHRASES])
    paths = {"collected": f"{other}/collect", "answered": f"{other}/answer", "judged": f"{other}/judge"}
    again = run("assemble", out=f"{other}/assemble", inputs_hash="4", **paths)
    assert again.output.uri != first.output.uri
    assert again.output.digest == first.output.digest


def test_rows_over_the_token_limit_are_left_out_and_tokens_are_counted(
    blend: Blend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_words(_folder: object) -> Callable[[list[dict]], Rendered]:
        return lambda messages: Rendered("", sum(len(m["content"].split()) for m in messages))

    monkeypatch.setattr("safety_worker.stages.assemble.renderer", by_words)
    blend.collect()
    result = blend.rest(refuses_when_told, tokenizer="demo/models/abc", max_tokens=10)
    lengths = [len((m[0]["content"] + " " + m[1]["content"]).split()) for m in blend.training_rows()]
    lengths += [
        len((m[0]["content"] + " " + m[1]["content"]).split()) for m in blend.training_rows("validation")
    ]
    assert max(lengths) <= 10
    assert result.tokens == sum(lengths)
    fates = Counter(f["fate"] for f in blend.fates())
    assert fates["too-long"] > 20, "refusals have 14 words"
    assert fates["kept"] == result.rows == len(lengths)


def test_parquet_output_has_messages(blend: Blend) -> None:
    blend.collect()
    blend.rest(refuses_when_told, format="parquet")
    rows = pq.read_table(blend.workplace.folder("assemble") / "train.parquet").to_pylist()
    assert [m["role"] for m in rows[0]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_invalid": 0.02}, "TooManyInvalidRows"),
        ({"size": 1000}, "SampleTooLarge"),
        ({"against": [{"uri": "configmap://red/d.jsonl"}, {"uri": "configmap://blue/d.jsonl"}]}, "NoRows"),
        ({"retain": [{"name": "red", "dataset": {"uri": "configmap://red/d.jsonl"}}]}, "DuplicateSource"),
        (
            {"retain": [{"name": "r", "dataset": {"uri": "configmap://benign/d.jsonl", "limit": 99}}]},
            "SampleTooLarge",
        ),
        ({"sources": [{"name": "none", "dataset": {"uri": "configmap://none/d.jsonl"}}]}, "EmptySource"),
    ],
)
def test_what_cannot_be_collected_is_said(fields: dict, reason: str, blend: Blend) -> None:
    blend.workplace.configmap("none", "d.jsonl", "")
    with pytest.raises(InputError) as caught:
        blend.collect(**fields)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("Just refuse.", "does not use"),
        ("{{ prompt", "refusal.template"),
        ("{{ prompt }} {{ missing }}", "refusal.template"),
        ("{{ prompt.__class__.__mro__ }}", "refusal.template"),
    ],
)
def test_a_wrong_refusal_template_is_said(template: str, why: str, blend: Blend) -> None:
    blend.collect(size=2)
    with FakeModelServer(lambda *_: Reply()) as server, pytest.raises(InputError, match=why):
        blend.workplace.run(
            "answer",
            collected="demo/safetyeval/base/run/collect",
            target=served(server.base_url),
            sampling=WARM,
            template=template,
        )


def test_rows_that_the_chat_template_refuses_are_dropped_with_the_reason(
    blend: Blend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fussy(_folder: object) -> Callable[[list[dict]], Rendered | None]:
        return lambda messages: None if "number 1" in messages[0]["content"] else Rendered("x", 3)

    monkeypatch.setattr("safety_worker.stages.assemble.renderer", fussy)
    blend.collect(retain=[])
    result = blend.rest(refuses_when_told, tokenizer="demo/models/abc")
    fates = Counter(f["fate"] for f in blend.fates())
    assert fates["untemplated"] > 5
    assert result.tokens == 3 * result.rows


def test_reasoning_that_the_chat_template_would_leave_out_is_refused(
    blend: Blend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(_folder: object) -> Callable[[list[dict]], Rendered]:
        return lambda messages: Rendered(messages[-1]["content"].rpartition("</think>")[2], 3)

    monkeypatch.setattr("safety_worker.stages.assemble.renderer", forgetful)
    blend.collect(retain=[])
    with pytest.raises(InputError, match="leaves reasoning out of what is trained on"):
        blend.rest(
            with_thoughts, sampling=THINKING, reasoning="keep", reasoning_end="</think>", tokenizer="demo/m"
        )


def test_prompts_that_ask_for_nearly_the_same_are_never_on_both_sides(blend: Blend) -> None:
    words = ["bank", "house", "train", "school", "garden", "harbour", "museum", "tower"]
    rows = [
        {"prompt": f"Tell me step by step how to break into the {word} of the town at night{ending}"}
        for word in words
        for ending in ("", ", please", ". Thanks!", " and stay unseen")
    ]
    uri = blend.workplace.configmap("near", "d.jsonl", jsonl(*rows))
    blend.collect(sources=[Source(name="near", dataset=Dataset(uri=uri))], retain=[], against=[])
    blend.rest(lambda *_: Reply(REFUSAL))
    for seed in range(4):
        blend.again(validation=0.4, split_seed=seed, out=f"demo/safetyeval/base/run/seed-{seed}")
        table = pq.read_table(blend.workplace.folder(f"seed-{seed}") / "rows.parquet").to_pylist()
        sides: dict[str, set[str]] = {}
        for row in table:
            sides.setdefault(row["group"], set()).add(row["split"])
        assert all(len(found) == 1 for found in sides.values())
        assert len(table) == 32
        assert 1 < len(sides) < 32, "variants share a group"
