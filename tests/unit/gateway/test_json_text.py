"""JSON as the rails read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_gateway.json_text import as_read, unescaped, with_letters

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])))
def test_a_text_stands_in_its_document_as_it_is(text: str):
    assert unescaped(json.dumps([text], ensure_ascii=False)) == f'["{text}"]'
    assert as_read(json.dumps([text])) == f'["{text}"]'


@given(DOCUMENTS)
def test_letters_change_nothing_of_a_document(document: object):
    assert json.loads(with_letters(json.dumps(document))) == document


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r'{"a": "x\ny\tz\r\u0001\/\b\f"}', '{"a": "x\ny\tz\n /  "}'),
        (r"\bomb", r"\bomb"),
        (r'{"a": "\u0062omb', r'{"a": "\u0062omb'),
        ("plain", "plain"),
        ('{"a":1}', '{"a":1}'),
    ],
)
def test_what_is_no_json_stays_as_it_is(text: str, read: str):
    assert as_read(text) == read
