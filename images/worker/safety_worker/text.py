"""Text hygiene: prompts and answers are hostile input and must survive JSON, files and comparison.

Holds for every script: letters are not what regular expressions call a word, which has no vowel signs of
Hindi, Thai or Tamil. Sentences are cut in ``sentences.py``.
"""

import re
import unicodedata

_IGNORABLE = (
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFF9),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE1000),
)
"""Unicode's Default_Ignorable_Code_Point: joiners, direction marks, fillers, variation selectors."""

_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}
"""Invisible twins of ASCII, which models read: a hidden text is part of what is compared."""

_INVISIBLE = dict.fromkeys(_IGNORABLE) | _TAGS

_CHILLU = {
    f"{letter}\u0d4d\u200d": final
    for letter, final in zip(
        "\u0d23\u0d28\u0d30\u0d32\u0d33\u0d15", "\u0d7a\u0d7b\u0d7c\u0d7d\u0d7e\u0d7f", strict=True
    )
}
"""Malayalam's final consonants as they were written before Unicode 5.1: the only letters with a joiner."""

_OLD_CHILLU = re.compile("|".join(_CHILLU))
_SPACE = re.compile(r"\s+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_OTHER_ASCII = bytes(code for code in range(128) if not chr(code).isalnum())

_NO_LETTERS = frozenset(
    ("Cc", "Cf", "Cs", "Me", "Sc", "Sk", "Sm", "Zl", "Zp", "Zs", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps")
)
"""Categories of what is between letters. Code points that this Python does not know yet are letters."""

_NO_PICTURE = frozenset((*range(0x00A0, 0x0100), *range(0x2500, 0x2600), 0xFFFC, 0xFFFD))
"""Symbols that mean nothing by themselves: frames, bullets, signs of copyright. Others, as emoji, do."""

_OPTIONAL = frozenset(
    (
        *(0x0640, 0x0670, *range(0x0610, 0x061B), *range(0x064B, 0x0653)),  # Arabic: tatweel, harakat
        *(*range(0x06D6, 0x06DD), *range(0x06DF, 0x06E5), 0x06E7, 0x06E8, *range(0x06EA, 0x06EE)),  # Quran
        *(*range(0x0591, 0x05BE), 0x05BF, 0x05C1, 0x05C2, 0x05C4, 0x05C5, 0x05C7),  # Hebrew: niqqud, accents
        *range(0x0730, 0x074B),  # Syriac points
        *(0x0305, *range(0x0332, 0x0339), 0x033F),  # lines through, above and below letters
        *(*range(0x02B9, 0x02C0), 0xA78C),  # letters that people type as an apostrophe
    )
)
"""Marks and letters that most writers leave out: the same text is written with and without them."""

_STACKED = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff]{3,}|(?<=[\u0400-\u04ff])[\u0300\u0301]")
"""More marks on one letter than any language has; stress in Russian, as dictionaries have it."""


def has_lone_surrogates(text: str) -> bool:
    """Whether the text holds code points that no UTF-8 file can hold."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def clean(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD and without NUL; everything else stays as it is."""
    whole = text if text.isascii() else _SURROGATE.sub("\ufffd", text)
    return whole.replace("\0", "\ufffd")


def normal_form(text: str) -> str:
    """The form in which texts are compared: NFKC, no invisible characters, single spaces, no ends.

    Only for comparing: models are asked, and trained on, the text as the source has it. Idempotent.
    """
    if text.isascii():  # has no other form, and no character without width
        return " ".join(text.split())
    previous = None
    while text != previous:
        previous = text
        if "\u200d" in text:
            text = _OLD_CHILLU.sub(lambda found: _CHILLU[found[0]], text)
        text = unicodedata.normalize("NFKC", text.translate(_INVISIBLE))
        text = _SPACE.sub(" ", text).strip()
    return text


def fold(text: str) -> str:
    """The normal form without case: how names of labels and categories are compared."""
    normal = normal_form(text)
    folded = normal.casefold()
    return folded if folded.isascii() else normal_form(folded)


def group_form(text: str) -> str:
    """A coarser form: letters, their marks, digits and pictures only, without case.

    Prompts that share it belong to one group. Without what writers of a script leave out as they like:
    Arabic harakat and tatweel, Hebrew niqqud, Greek accents, the dots of a Turkish i and a Russian e. Digits
    of every script are those of ASCII. Falls back to the normal form where nothing is left.
    """
    return form_of_normal(normal_form(text))


def form_of_normal(normal: str) -> str:
    """The group form of a text whose normal form is known."""
    folded = normal.casefold()
    if folded.isascii():
        return folded.encode().translate(None, _OTHER_ASCII).decode() or folded
    folded = unicodedata.normalize("NFKC", folded).replace("i\u0307", "i")  # which a Turkish capital leaves
    return _STACKED.sub("", folded.translate(_COARSE)) or folded


class _Coarse(dict[int, str]):
    """What the group form has for a code point, found when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _coarse_letter(chr(code))
        return found


_COARSE = _Coarse({0x0131: "i", 0x0451: "\u0435", 0x06A9: "\u0643", 0x06CC: "\u064a"})
"""A Turkish i; a Russian letter whose dots most leave out; Persian letters that Arabic keyboards lack."""


def _coarse_letter(letter: str) -> str:
    code, category = ord(letter), unicodedata.category(letter)
    if category in _NO_LETTERS or code in _OPTIONAL or (category == "So" and code in _NO_PICTURE):
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(letter))
    if 0x0370 <= code < 0x0400 or 0x1F00 <= code < 0x2000:  # noqa: PLR2004 - Greek has no accents in capitals
        return unicodedata.normalize("NFD", letter)[0]
    return letter
