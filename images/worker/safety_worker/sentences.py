"""Where sentences end, in every script."""

import re
from collections.abc import Iterator

_WITHOUT_SPACE = (
    "\u037e\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u0f0d-\u0f12\u104a"
    "\u104b\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f"
    "\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047-\u2049\u2cf9-\u2cfb\u2e2e"
    "\u2e3c\u2e53\u2e54\u2e60\u2e61\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-"
    "\uaa5f\uaaf0\uaaf1\uabeb\ufe12\ufe15\ufe16\ufe56\ufe57\uff01\uff1f\uff61"
    "\U00010a56\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047\U00011048\U000110be-\U000110c1"
    "\U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b"
    "\U0001123c\U000112a9\U000113d4\U000113d5\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9-\U000115d7"
    "\U00011641\U00011642\U0001173c-\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c"
    "\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37"
    "\U00016b38\U00016b44\U00016d6e\U00016d6f\U00016e98\U0001bc9f\U0001da88"
)
"""Unicode's Sentence_Terminal without those that also stand inside numbers and names, and Tibetan's shad."""

_WITH_SPACE = ".!?\u2024\u2026\ufe52\uff0e"
"""These end a sentence where a space, a line's end or the text's end follows."""

_AROUND = "\"'*_)\\]}\u00bb\u203a\u2019\u201d\u300b\u300d\u300f\u3011\uff09\u200b-\u200f\u2060\ufeff"
"""What may stand between the mark and the space: quotation marks, brackets, emphasis, what is invisible."""

_THAI, _AGAIN = "\u0e00-\u0eff", "\u0e46\u0ec6"
"""Letters of Thai and Lao, and their signs for a repeated word, which stand behind a space."""

_END = re.compile(
    rf"[{_WITH_SPACE}]+[{_AROUND}]*(?=\s|$)"
    rf"|[{_WITHOUT_SPACE}][{_WITHOUT_SPACE}{_WITH_SPACE}]*[{_AROUND}]*"
    r"|\uff0e(?!\d)"
    r"|(?<=[\u0370-\u03ff\u1f00-\u1fff]);(?=\s|$)"  # the Greek question mark, as keyboards have it
    "|\u1361\u1361"  # an Ethiopic full stop, as keyboards have it
    rf"|(?<=[{_THAI}])[ \t]+(?=[{_THAI}])(?![{_AGAIN}])"
)


def split_sentences(text: str) -> Iterator[str]:
    """The sentences of a text, without white space around them; none of them is empty.

    A line's end is a sentence's end. In Thai and Lao, which have no marks for it, a space is. Abbreviations
    such as ``e.g. this`` end a sentence as well.
    """
    for line in _END.sub(r"\g<0>\n", text).splitlines():
        if found := line.strip():
            yield found


def whole_sentences(text: str) -> str:
    """The text up to its last sentence's end; empty if it has none. A line's end is none."""
    end = max((found.end() for found in _END.finditer(text)), default=0)
    return text[:end].rstrip()
