"""Text hygiene: prompts and answers are hostile input and must survive JSON, files and comparison."""

import re
import unicodedata

_ZERO_WIDTH = dict.fromkeys(
    [
        0x00AD,
        0x034F,
        0x061C,
        0x180E,
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2065),
        0xFEFF,
    ]
)
"""Code points without width: joiners, direction marks, soft hyphen, byte-order mark."""

_SPACE = re.compile(r"\s+")
_NO_LETTER_OR_DIGIT = re.compile(r"[\W_]+")
_OTHER_ASCII = bytes(code for code in range(128) if not chr(code).isalnum())
_SURROGATE = re.compile("[\ud800-\udfff]")


def has_lone_surrogates(text: str) -> bool:
    """Whether the text holds code points that no UTF-8 file can hold."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def clean(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD and without NUL; everything else stays as it is."""
    whole = text if text.isascii() else _SURROGATE.sub("\ufffd", text)
    return whole.replace("\0", "\ufffd")


def normal_form(text: str) -> str:
    """The form in which texts are compared: NFKC, no zero-width characters, single spaces, no ends.

    Only for comparing: models are asked, and trained on, the text as the source has it. Idempotent.
    """
    if text.isascii():  # has no other form, and no character without width
        return " ".join(text.split())
    previous = None
    while text != previous:
        previous = text
        text = unicodedata.normalize("NFKC", text.translate(_ZERO_WIDTH))
        text = _SPACE.sub(" ", text).strip()
    return text


def group_form(text: str) -> str:
    """A coarser form: lower-case letters and digits only. Prompts that share it belong to one group.

    Falls back to the normal form where a prompt has no letters or digits at all.
    """
    return form_of_normal(normal_form(text))


def form_of_normal(normal: str) -> str:
    """The group form of a text whose normal form is known."""
    folded = normal.casefold()
    if folded.isascii():
        return folded.encode().translate(None, _OTHER_ASCII).decode() or folded
    return _NO_LETTER_OR_DIGIT.sub("", folded) or folded
