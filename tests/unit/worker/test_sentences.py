"""Where sentences end: a text of each script, cut by hand."""
# ruff: noqa: RUF001 - that is what it is about

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from safety_worker.sentences import _WITH_SPACE, _WITHOUT_SPACE, split_sentences, whole_sentences

TEXTS = {
    "English": [
        'He said "No." ',
        "Then he paid 3.5 dollars! ",
        "Why?! ",
        "Well\u2026 ",
        "(So it was.) ",
        "End",
    ],
    "emphasis": ["**I can't help with that.** ", "Ask a doctor."],
    "lines": ["First line\n", "\n", "second line\r\n", "third\u2028", "fourth"],
    "invisible": ["One.\u200b ", "Two."],
    "Chinese": ["今天很热。", "你好吗？", "“走吧！”", "价格是３．５元。", "结束"],
    "Japanese": ["手伝えません。", "「いいえ。」", "なぜ？！", "はい。"],
    "Korean": ["도와드릴 수 없습니다. ", "왜요? ", "네"],
    "Hindi": ["मैं मदद नहीं कर सकता। ", "क्यों? ", "दाम ३.५ है।", "ठीक"],
    "Bengali": ["আমি পারব না।", "কেন? ", "হ্যাঁ"],
    "Tamil": ["என்னால் முடியாது. ", "ஏன்? ", "சரி"],
    "Arabic": ["لا أستطيع المساعدة. ", "لماذا؟ ", "نعم"],
    "Urdu": ["میں مدد نہیں کر سکتا۔ ", "کیوں؟ ", "جی"],
    "Hebrew": ["אני לא יכול לעזור. ", "למה? ", "כן"],
    "Greek": ["Δεν μπορώ. ", "Γιατί; ", "Ναι· όχι"],
    "Russian": ["Не могу помочь. ", "Почему? ", "Да"],
    "Armenian": ["Չեմ կարող օգնել։ ", "Այո"],
    "Amharic": ["ልረዳዎት አልችልም። ", "አይ፡፡", "ለምን፧ ", "አዎ"],
    "Burmese": ["ကျွန်တော် မကူညီနိုင်ပါ။ ", "ဟုတ်ကဲ့"],
    "Khmer": ["ខ្ញុំមិនអាចជួយបានទេ។ ", "បាទ"],
    "Thai": ["ขอโทษครับ ", "ผมช่วยไม่ได้ ", "มันอันตรายมาก ๆ"],
    "Lao": ["ຂໍໂທດ ", "ຂ້ອຍຊ່ວຍບໍ່ໄດ້"],
    "Tibetan": ["ངས་རོགས་བྱེད་ཐུབ་མི་འདུག།", " ", "ཨིན།"],
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_cut_where_its_readers_see_an_end(name: str) -> None:
    sentences = TEXTS[name]
    assert list(split_sentences("".join(sentences))) == [text.strip() for text in sentences if text.strip()]


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"lines", "Lao", "Thai"}))
def test_what_follows_the_last_end_is_cut_off(name: str) -> None:
    *whole, _ = TEXTS[name]
    text = "".join(whole).rstrip()
    assert whole_sentences(f"{text} \u00e9") == text


def test_a_text_without_an_end_has_no_whole_sentence() -> None:
    assert whole_sentences("") == ""
    assert whole_sentences("3.5 percent\nof www.example.org") == ""
    assert whole_sentences("Done!") == "Done!"
    assert whole_sentences("お手伝いできません。代わ") == "お手伝いできません。"


@given(st.text())
def test_cutting_loses_white_space_only(text: str) -> None:
    assert re.sub(r"\s", "", "".join(split_sentences(text))) == re.sub(r"\s", "", text)


def test_every_end_that_unicode_knows_is_one() -> None:
    mine = {code for code in range(0x110000) if re.match(f"[{_WITHOUT_SPACE}{_WITH_SPACE}]", chr(code))}
    theirs = {code for code in range(0x110000) if regex.match(r"\p{Sentence_Terminal}", chr(code))}
    assert theirs <= mine
