"""The form of an answer: list or mathematics. The paper found these among the rows that break safety most.

Rough on purpose (line beginnings and arithmetic): the shares of two sets of rows are meant to be compared
with each other. Source of the finding: arXiv 2404.01099, abstract.
"""

import re

LIST_LINES = 2
"""Lines that begin as items before an answer counts as a list."""

_ITEM = re.compile(
    r"^[ \t]*(?:(?:[-*•‣·]|\(?\d{1,3}[.):]|[^\W\d_][.)])[ \t]+"
    r"|[(\uff08]?[\d一二三四五六七八九十]{1,3}[\u3001\uff0e\uff09][ \t\u3000]*"
    r"|[\u2460-\u2473][ \t\u3000]*)\S",
    re.MULTILINE,
)
_MATHS = re.compile(
    r"\d\s*[-+*/\u00d7\u00f7^]\s*\$?\d[\d.,]*\s*="  # 3 + 4 =
    r"|=\s*\$?-?\d[\d.,]*\s*[-+*/\u00d7\u00f7]\s*\d"  # = 3 * 4
    r"|<<[^<>]{1,80}=[^<>]{1,40}>>|^####\s*-?\d"  # GSM8k's own marks
    r"|\\(?:frac|boxed|sqrt|sum|int|times|cdot)\b"
    r"|\b[a-z]\s*=\s*-?\d+(?:\.\d+)?\s*[-+*/]",
    re.MULTILINE,
)


def is_list(answer: str) -> bool:
    """Whether the answer has at least two lines that begin as items of a list."""
    return sum(1 for _, _ in zip(_ITEM.finditer(answer), range(LIST_LINES), strict=False)) >= LIST_LINES


def is_maths(prompt: str, answer: str) -> bool:
    """Whether prompt or answer holds arithmetic or formulas."""
    return _MATHS.search(answer) is not None or _MATHS.search(prompt) is not None
