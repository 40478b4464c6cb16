from hypothesis import assume, given
from hypothesis import strategies as st

from safety_gateway.reasoning import ReasoningFilter, without_reasoning

TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<thi", "<", "a", " b", "\n", "ünï"]), max_size=12)
CUTS = st.lists(st.integers(1, 5), min_size=1, max_size=20)


def shown(text: str, sizes: list[int], *, opened: bool = False) -> str:
    """What a reader has at the end, where all before a late mark can still be taken back."""
    filter_, seen, at = ReasoningFilter(opened=opened), "", 0
    for size in [*sizes, len(text)]:
        all_before, more = filter_.feed(text[at : at + size])
        seen = more if all_before else seen + more
        at += size
    return seen + filter_.end()


@given(TEXTS, CUTS)
def test_parts_are_shown_as_the_whole_would_be(pieces: list[str], sizes: list[int]):
    """Up to a beginning in the middle that has no end, which a whole answer shows, and blanks around it."""
    text = "".join(pieces)
    assume(text.count("</think>") <= 1)
    assume(text.count("<think>") <= text.count("</think>") or text.lstrip().startswith("<think>"))
    assume(text.find("<think>") <= text.find("</think>") or "</think>" not in text)
    assume(text.count("<think>") <= 1)
    assert shown(text, sizes).strip() == without_reasoning(text).strip()


@given(TEXTS, CUTS)
def test_parts_behind_a_template_that_opens_reasoning_are_shown_as_the_whole_would_be(
    pieces: list[str], sizes: list[int]
):
    text = "".join(pieces)
    assume(text.count("</think>") <= 1 and "<think>" not in text)
    assert shown(text, sizes, opened=True).strip() == without_reasoning(text, opened=True).strip()


@given(CUTS)
def test_reasoning_that_the_template_opened_is_not_shown(sizes: list[int]):
    assert shown("a plan</think>\n\nParis.", sizes, opened=True) == "Paris."
    assert shown("a plan without an end", sizes, opened=True) == ""


@given(CUTS)
def test_what_only_looks_like_a_mark_is_shown(sizes: list[int]):
    assert shown("if a <th and b<", sizes) == "if a <th and b<"
    assert shown("<think>x</think>1 < 2 <thin", sizes) == "1 < 2 <thin"


@given(CUTS)
def test_an_end_without_a_beginning_takes_back_what_came_before(sizes: list[int]):
    assert shown("a plan</think> Paris.", sizes) == "Paris."
