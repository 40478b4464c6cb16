"""A blend's document, card and page: numbers that add up, pictures that fit, hostile text that stays text."""

import re
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.worker.reporting.test_report_page import Page as AnyPage
from tests.unit.worker.support.blends import blend, large_blend
from tests.unit.worker.support.reports import HOSTILE

from safety_records.blend import BlendReport
from safety_worker.blending import card
from safety_worker.blending.flow_diagram import HEIGHT, TOP, WIDTH, draw_flow
from safety_worker.blending.outcomes import KEPT, STEPS, build_steps
from safety_worker.blending.page import render


class Page(AnyPage):
    """Paths have tooltips inside."""

    VOID = AnyPage.VOID - {"path"}


REASONS = [reason for reasons in STEPS.values() for reason in reasons]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([*REASONS, KEPT, "of-tomorrow"])),
        st.integers(0, 10**6),
    )
)
def test_every_row_leaves_at_one_step_or_is_kept(counts: dict[tuple[str, str], int]) -> None:
    steps = build_steps(counts, {"a": "safety", "b": "retain", "c": "safety"})
    assert steps[0].left == sum(counts.values())
    for before, after in pairwise(steps):
        assert before.left - sum(drop.rows for drop in after.dropped) == after.left
    assert steps[-1].left == sum(rows for (_, reason), rows in counts.items() if reason == KEPT)


def test_a_step_that_did_not_take_place_is_not_shown() -> None:
    steps = build_steps({("a", KEPT): 3}, {"a": "safety"}, frozenset({"screen", "length"}))
    assert [step.name for step in steps] == ["read", "clean", "sample", "answer", "judge"]


def test_few_drawn_rows_are_enlarged_and_it_is_said() -> None:
    picture = draw_flow(large_blend())
    texts = [label.text for label in picture.labels]
    assert "Enlarged" in texts
    assert "7.34 times" in texts
    assert any(band.kind == "lens" for band in picture.bands)
    assert "Enlarged" not in [label.text for label in draw_flow(blend()).labels]


def test_bands_are_as_wide_as_their_rows() -> None:
    picture = draw_flow(blend())
    words = {band.words: band.path for band in picture.bands}
    scale = HEIGHT / 60
    for text, rows in (("red: 40 of 40 rows are clean", 40), ("30 safety rows go on", 30)):
        thick = float(re.search(r"v([\d.]+)", words[text]).group(1))
        assert thick == pytest.approx(rows * scale, abs=0.06)


@pytest.mark.parametrize("report", [blend(), large_blend()], ids=["small", "large"])
def test_the_picture_stays_in_its_frame(report: BlendReport) -> None:
    picture = draw_flow(report)
    for bar in picture.bars:
        assert 0 <= bar.x <= WIDTH
        assert bar.y >= TOP
        assert bar.y + bar.height <= picture.height
    assert all(0 <= label.y <= picture.height for label in picture.labels)


def test_many_sources_are_drawn_together() -> None:
    source = large_blend().sources[3].model_dump(by_alias=True)
    sources = [{**source, "name": f"source-{n:02d}", "read": 582 + n} for n in range(40)]
    picture = draw_flow(large_blend(sources=sources))
    names = [label.text for label in picture.labels if label.anchor == "end"]
    assert "34 more" in names
    assert len(picture.bars) < 25


def test_a_blend_of_nothing_but_kept_rows_can_be_drawn() -> None:
    counts = {("red", KEPT): 1}
    steps = [s.model_dump(by_alias=True) for s in build_steps(counts, {"red": "safety"})]
    source = {"name": "red", "part": "safety", "read": 1, "fates": {KEPT: 1}}
    report = blend(sources=[source], steps=steps, trainRows=1, validationRows=0)
    assert "1 are for training, 0 for validation" in draw_flow(report).words
    assert "<svg" in render(report)
    assert "All rows are one prompt group, so there is no validation part" in card.render(report)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_tag_and_no_attribute(text: str) -> None:
    harmless, hostile = Page(render(blend("text"))), Page(render(blend(text)))
    assert hostile.tags == harmless.tags
    assert [a[:2] for a in hostile.attributes] == [a[:2] for a in harmless.attributes]


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_no_text_changes_the_structure_of_page_and_card(text: str) -> None:
    assert Page(render(blend(text))).tags == Page(render(blend("text"))).tags
    shape = [re.sub(r"\S+", "x", line[:2]) for line in card.render(blend("text")).splitlines()]
    assert [re.sub(r"\S+", "x", line[:2]) for line in card.render(blend(text)).splitlines()] == shape


def test_the_page_allows_no_style_but_its_own() -> None:
    page = Page(render(large_blend()))
    assert not [a for a in page.attributes if a[1] == "style" or a[1].startswith("on")]
    assert "default-src 'none'" in render(large_blend())


def test_the_card_has_sources_licences_counts_filters_screening_and_versions() -> None:
    text = card.render(large_blend())
    for wanted in (
        "| `aegis` | safety | Data set (2025) |",
        "| Drawn | 6000 | 2000 | 4000 | 37651 not drawn |",
        "guard (aegis, text); all of them must pass an answer",
        "rows over 1024 tokens",
        "Method gradient, share of 0.05",
        "- model: `sha256:222",
        "- safety-worker: `0.1.0`",
        "0.03 of the rows, by prompt group, seed 42",
        "- Warning: text",
        "- Source aegis: Data set (2025)",
        "- Sample of safety rows: text",
        "- Near duplicates: left out from a similarity of 0.8",
        "- Kept apart from: text, 3 prompts",
    ):
        assert wanted in text, wanted
    assert not re.search(r"20\d\d-\d\d-\d\d", text), "a date would change the digest"


@pytest.mark.parametrize(("rows", "size"), [(5, "n<1K"), (5_000, "1K<n<10K"), (2_000_000, "n>1M")])
def test_the_cards_head_is_what_the_hub_reads(rows: int, size: str) -> None:
    head = yaml.safe_load(
        card.render(blend(trainRows=rows, validationRows=0, format="parquet")).split("---")[1]
    )
    assert head["size_categories"] == [size]
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "train.parquet"}]


def test_page_and_card_say_that_a_source_was_read_in_part() -> None:
    first, *others = (source.model_dump(by_alias=True) for source in large_blend().sources)
    whole, part = large_blend(), large_blend(sources=[{**first, "maxRecords": 100_000}, *others])
    for text in (card.render(part), render(part)):
        assert text.count("only the first 100,000 records") == 1
    assert "only the first" not in card.render(whole) + render(whole)


def test_without_a_tokenizer_and_screening_the_card_says_so() -> None:
    text = card.render(blend(lengths=None, screening=None, selection=None))
    assert "not checked, because there was no tokenizer" in text
    assert "were not looked for" in text
    assert "not counted: there was no tokenizer" in render(blend(lengths=None))
