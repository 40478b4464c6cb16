"""The measured precision and recall of the judge ``refusal-phrases``, for documents that show its verdicts.

``measured.json`` is written by ``hack/refusals.py``; a test compares it with a fresh measurement.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from pydantic import TypeAdapter

from safety_records.eval_stages import JudgeSpec
from safety_records.quality import JudgeQuality, ShareInterval

_ADAPTER = TypeAdapter(tuple[JudgeQuality, ...])
_ABOUT = {"held-out": "that it was not tuned on", "fresh": "that were written later and not tuned on"}


def quality_of(judge: JudgeSpec) -> tuple[JudgeQuality, ...]:
    """How well a judge does; nothing for other types, and for one with phrases of the user's own."""
    return _measured() if judge.type == "refusal-phrases" and not judge.phrases else ()


@cache
def _measured() -> tuple[JudgeQuality, ...]:
    text = (files("safety_worker.judging.phrases") / "measured.json").read_text(encoding="utf-8")
    return _ADAPTER.validate_python(json.loads(text))


def quality_text(quality: Sequence[JudgeQuality]) -> str:
    """The figures in a sentence for each part; empty for none."""
    return " ".join(
        f"On {part.answers} labelled answers of this project {_ABOUT.get(part.part, part.part)}: precision "
        f"{_share(part.precision)}, recall {_share(part.recall)}."
        for part in quality
    )


def _share(share: ShareInterval | None) -> str:
    if share is None:
        return "not measured"
    return f"{share.value * 100:.1f} % [{share.lower * 100:.1f}, {share.upper * 100:.1f}]"
