"""Numbers, verdicts and hostile text in words: what the page, Markdown, JUnit and SARIF share."""

import re
from collections.abc import Sequence

import yaml

from safety_records.eval_stages import ThresholdVerdict

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control, zero-width, tag and direction characters: they could hide text or turn it round."""

_MARKDOWN = re.compile(r"([\\`*_\[\]#|~@:$])")

SECTIONS = (
    ("Content safety", "contentSafety"),
    ("Security", "security"),
    ("Accuracy", "accuracy"),
)
"""Parts of the score table, by the first part of the metric."""


def verdict_sentence(verdict: str, thresholds: Sequence[ThresholdVerdict]) -> str:
    """The verdict in words."""
    unknown = sum(item.missing or item.passed is None for item in thresholds)
    failed = sum(item.passed is False and not item.missing for item in thresholds)
    if not thresholds:
        return "No threshold was set, so there is no verdict: this report only measures."
    match verdict:
        case "True":
            return f"Every threshold is met ({len(thresholds)} of {len(thresholds)})."
        case "False":
            rest = f", {unknown} without a number" if unknown else ""
            return f"{failed} of {len(thresholds)} thresholds not met{rest}."
        case _:
            missing = "a verdict never rests on missing numbers"
            return f"{unknown} of {len(thresholds)} thresholds have no number: {missing}."


def percent(value: float | None, digits: int = 1) -> str:
    """A share for people; an en dash for none."""
    return "\u2013" if value is None else f"{100 * value:.{digits}f}\u202f%"


def signed(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{abs(100 * value):.1f}"
    sign = "\u2212" if value < 0 else "+"
    return f"{sign if float(text) else '±'}{text}"


def p_value(value: float) -> str:
    """A p-value for people."""
    return "p\u202f<\u202f0.001" if value < 0.001 else f"p\u202f=\u202f{value:.3f}"  # noqa: PLR2004 - the usual cut


def short_digest(digest: str) -> str:
    """The beginning of a digest."""
    return digest.removeprefix("sha256:")[:12]


def to_yaml(value: object) -> str:
    """A manifest as people write it."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def visible(text: str) -> str:
    """The text with invisible characters shown by their numbers."""
    return _INVISIBLE.sub(lambda found: f"\u27e8U+{ord(found.group()):04X}\u27e9", text.replace("\r\n", "\n"))


def markdown_text(text: str) -> str:
    """Text that stays text in a cell of a Markdown table: no markup, HTML, link or mention, on one line."""
    text = " ".join(visible(text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)
