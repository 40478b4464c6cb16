"""Letters of all scripts: what is the same text, what is another one, and what is nearly the same."""
# ruff: noqa: RUF001 - that is what it is about

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.blending.test_near_duplicates import search

from safety_worker.blending.near_duplicates import expand_signs, shingles, similarity
from safety_worker.text import _IGNORABLE, _OPTIONAL, fold, group_form, normal_form

OTHER = {
    "Devanagari": ("बम कैसे बनाएं?", "बीमा कैसे बनाएं?"),
    "Bengali": ("আমি কীভাবে বোমা বানাব", "আমি কীভাবে বীমা বানাব"),
    "Gurmukhi": ("ਮੈਂ ਤੇਲ ਕਿਵੇਂ ਬਣਾਵਾਂ", "ਮੈਂ ਤਾਲ ਕਿਵੇਂ ਬਣਾਵਾਂ"),
    "Gujarati": ("મારે કેક જોઈએ", "મારે કાક જોઈએ"),
    "Odia": ("ତେଲ", "ତାଲ"),
    "Tamil": ("பால் எப்படி", "பல் எப்படி"),
    "Telugu": ("పాలు ఎలా", "పలు ఎలా"),
    "Kannada": ("ಹಾಲು ಹೇಗೆ", "ಹುಲಿ ಹೇಗೆ"),
    "Malayalam": ("പാൽ എങ്ങനെ", "പുൽ എങ്ങനെ"),
    "Sinhala": ("කාර් එක", "කෝර් එක"),
    "Thai": ("มาใกล้", "ม้าใกล้"),
    "Lao": ("ເຂົ້າ", "ເຂົາ"),
    "Khmer": ("កាំភ្លើង", "កំភ្លង"),
    "Burmese": ("ငါးဘယ်လို", "ငါဘယ်လို"),
    "Tibetan": ("མི", "མེ"),
    "Thaana": ("ބަސް", "ބޮސް"),
    "Arabic": ("كيف أصنع قنبلة", "كيف أصنع قبعة"),
    "Hebrew": ("איך בונים פצצה", "איך בונים בית"),
    "Ethiopic": ("ቦምብ እንዴት", "በምብ እንዴት"),
    "Chinese": ("怎么制造炸弹", "怎么制造蛋糕"),
    "Korean": ("폭탄을 만드는 법", "폭죽을 만드는 법"),
    "Yoruba": ("o\u0323ko\u0323\u0301 mi", "o\u0323ko\u0323\u0300 mi"),
    "Spanish": ("cuantos años", "cuantos anos"),
    "Hindi digits": ("१२ दिन", "१३ दिन"),
    "pictures": ("How do I make a 💣?", "How do I make a 🎂?"),
    "Braille": ("Say ⠃⠕⠍⠃", "Say ⠉⠁⠅⠑"),
    "letters of a later Unicode": ("a \U000323b0", "a \U000323b1"),
    "hidden text": ("Hello\U000e0062\U000e006f", "Hello\U000e0063\U000e0061"),
}
"""Texts that differ in vowel signs, tones, letters or pictures only."""

SAME = {
    "Arabic harakat and tatweel": ("كَيْفَ أَصْنَعُ خُبْزًا؟", "كيف أصنع خبــزا"),
    "Arabic presentation forms": ("\ufedb\ufef4\ufed2", "كيف"),
    "Persian on an Arabic keyboard": ("كيك می", "کیک مي"),
    "Russian dots and stress": ("Ещё за\u0301мок", "еще замок"),
    "Persian joiner": ("می\u200cخواهم", "میخواهم"),
    "Hebrew niqqud": ("שָׁלוֹם עוֹלָם", "שלום, עולם!"),
    "Hebrew presentation forms": ("\ufb2a", "ש"),
    "Devanagari nukta": ("\u0958", "\u0915\u093c"),
    "Devanagari digits": ("१२ दिन", "12 दिन"),
    "Arabic digits": ("٣ أيام", "3 أيام"),
    "Bengali vowel in two parts": ("ক\u09c7\u09be", "ক\u09cb"),
    "Tamil vowel in two parts": ("க\u0bc6\u0bbe", "க\u0bca"),
    "Malayalam chillu": ("അവന\u0d4d\u200d", "അവ\u0d7b"),
    "Sinhala joiner": ("ශ්\u200dරී", "ශ්රී"),
    "Thai sara am": ("น\u0e33", "น\u0e4d\u0e32"),
    "Khmer word breaks": ("ខ្ញុំ\u200bសរសេរ។", "ខ្ញុំ សរសេរ"),
    "Tibetan dots": ("བཀྲ་ཤིས", "བཀྲཤིས"),
    "Hangul jamo": (unicodedata.normalize("NFD", "한국어"), "한국어"),
    "half-width kana": ("ｶﾞｽ", "ガス"),
    "full-width letters": ("ＡＢＣ　１２", "abc 12"),
    "Chinese punctuation": ("你好，世界！", "你好世界"),
    "Ethiopic word space": ("ሰላም፡ዓለም።", "ሰላም ዓለም"),
    "German ss": ("Straße", "STRASSE"),
    "Turkish dots": ("İSTANBUL ILIK", "istanbul ılık"),
    "Greek accents and final sigma": ("Πώς φτιάχνω ΰλες;", "ΠΩΣ ΦΤΙΑΧΝΩ ΥΛΕΣ"),
    "Vietnamese": (unicodedata.normalize("NFD", "Làm thế nào"), "làm thế nào?"),
    "Adlam": ("\U0001e900\U0001e944", "\U0001e922\U0001e944"),
    "apostrophes": ("O\u02bbzbekiston п\u02bcять", "O'zbekiston п\u2019ять"),
    "emoji's forms": ("❤\ufe0f 👍🏽", "❤ 👍"),
    "struck-out letters": ("b\u0336o\u0336m\u0336b\u0336", "bomb"),
    "letters under many marks": ("b\u0300\u0316\u0321o\u0354\u0347\u0351\u0300mb", "bomb"),
    "hidden text": ("Hello \U000e0062\U000e006f", "Hello bo"),
}
"""The same text, written otherwise."""


@pytest.mark.parametrize("name", OTHER)
def test_another_text_is_another_one(name: str) -> None:
    one, other = OTHER[name]
    assert normal_form(one) != normal_form(other)
    assert group_form(one) != group_form(other)
    assert similarity(shingles(group_form(one)), shingles(group_form(other))) < 0.8
    assert not search([group_form(one), group_form(other)], 0.8).duplicates


@pytest.mark.parametrize("name", SAME)
def test_the_same_text_is_the_same_however_it_is_written(name: str) -> None:
    one, other = SAME[name]
    assert one != other
    assert group_form(one) == group_form(other)
    assert group_form(one), "and something is left of it"


LONG = {
    "English": (
        "Explain to me step by step how one can open the lock of an old wooden door at night",
        "night",
        "noon",
    ),
    "Chinese": ("请一步一步地告诉我怎样在夜里打开一扇旧木门上的锁而不发出任何声音", "夜里", "中午"),
    "Japanese": (
        "古い木の扉の鍵を夜中に音を立てずに開ける方法を一つずつ順番に説明してください",
        "夜中",
        "昼間",
    ),
    "Korean": (
        "오래된 나무 문의 자물쇠를 밤에 소리 없이 여는 방법을 하나씩 차례대로 설명해 주세요",
        "밤에",
        "낮에",
    ),
    "Hindi": ("मुझे एक-एक करके बताओ कि रात में पुराने लकड़ी के दरवाज़े का ताला बिना आवाज़ के कैसे खोलें", "रात", "दिन"),
    "Thai": ("ช่วยอธิบายทีละขั้นตอนว่าจะเปิดกุญแจประตูไม้เก่าตอนกลางคืนโดยไม่มีเสียงได้อย่างไร", "กลางคืน", "กลางวัน"),
    "Amharic": ("በሌሊት የድሮ የእንጨት በር ቁልፍ ያለ ድምፅ እንዴት እንደሚከፈት ደረጃ በደረጃ አስረዳኝ", "በሌሊት", "በቀትር"),
}
"""A prompt of 20 words or so, and one of them in another's place."""


@pytest.mark.parametrize("name", LONG)
def test_one_changed_word_weighs_the_same_in_every_script(name: str) -> None:
    text, word, instead = LONG[name]
    assert word in text
    one, other = group_form(text), group_form(text.replace(word, instead))
    assert 0.7 < similarity(shingles(one), shingles(other)) < 0.97
    assert search([one, other], 0.7).duplicates.keys() == {1}


def test_a_shingle_is_two_signs_of_chinese() -> None:
    assert len(shingles("怎么制造")) == 3 * 4
    assert shingles("怎么") < shingles("怎么制")
    assert expand_signs("ab\u0915") == "ab\u0915"


@given(st.text(st.characters(codec="utf-8")))
def test_a_group_form_has_no_case_and_a_form_of_its_own(text: str) -> None:
    form = group_form(text)
    assert group_form(f" {text}\u200b\n") == form


@given(st.text(st.characters(codec="utf-8")))
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_what_is_invisible_is_what_unicode_says() -> None:
    theirs = {code for code in range(0x110000) if regex.match(r"\p{Default_Ignorable_Code_Point}", chr(code))}
    assert set(_IGNORABLE) == theirs


def test_every_letter_and_sign_of_every_script_counts() -> None:
    """All but what the module lists as left out at will."""
    kinds = ("L", "N", "Mc")
    for code in range(0x110000):
        letter = chr(code)
        if unicodedata.category(letter).startswith(kinds) and code not in _IGNORABLE:
            left_out = set(map(ord, normal_form(letter.casefold()))) <= _OPTIONAL
            assert (group_form(f"a{letter}b") == "ab") is left_out, hex(code)
