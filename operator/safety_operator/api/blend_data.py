"""What a SafetyBlend reads, and how its rows are compared and drawn."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from safety_operator.api.common import (
    NO_COLUMNS_OF_PRESET,
    NO_TOKEN_IN_CLEAR,
    ApiModel,
    Decimal,
    OwnData,
    PromptData,
)
from safety_records.data import ReadSettings, RetainSettings, Rows, SourceSettings
from safety_records.presets import PRESET_URIS
from safety_records.schema import Name, config, over_numbers

if TYPE_CHECKING:
    BlendPreset = str
else:
    BlendPreset = Literal[tuple(sorted(PRESET_URIS))]
"""Known data sets to train on, and the prompt sets of evaluations."""


_SOURCE_RULES = (
    ("has(self.preset) || has(self.uri)", "name a preset, a uri, or both for a copy of the preset"),
    NO_COLUMNS_OF_PRESET,
    NO_TOKEN_IN_CLEAR,
    (
        (
            "!has(self.maxRecords) || !has(self.preset) || "
            "!(self.preset in ['do-not-answer', 'harmbench', 'harmful-tasks', 'audit-trail'])"
        ),
        "this preset is small and read whole: leave maxRecords out",
    ),
    (
        "!has(self.preset) || self.preset != 'audit-trail' || has(self.uri)",
        "an audit trail is your own: give the uri of the log that you collected",
    ),
)

_SMALL_ENOUGH = (
    "!has(self.preset) || self.preset != 'llama-nemotron' || has(self.uri) || has(self.maxRecords)"
)
_TOO_LARGE = "is over 100 GB: set maxRecords, such as 100000, to read its first so many records and no more"


class BlendSource(OwnData, ReadSettings, SourceSettings):
    """A source of safety prompts: a preset, a uri, or both for your copy of a preset's published files."""

    model_config = config(*_SOURCE_RULES, (_SMALL_ENOUGH, f"llama-nemotron {_TOO_LARGE}"))
    name: Name = Field(description="Name of the source, kept with each of its rows.")
    preset: BlendPreset | None = Field(
        default=None, description="A published data set whose files and columns are known."
    )


class RetainSource(RetainSettings, BlendSource):
    """Data that keeps the model able; rows without a response are answered by the model itself."""

    model_config = config(
        *_SOURCE_RULES,
        (
            f"{_SMALL_ENOUGH} || has(self.subsets) && !('math' in self.subsets) && !('code' in self.subsets)",
            f"llama-nemotron with math or code {_TOO_LARGE}",
        ),
        (
            "!has(self.maxRecords) || !has(self.size) || self.size <= self.maxRecords",
            "size rows cannot be drawn from fewer records: raise maxRecords, or lower size",
        ),
        (
            (
                "!has(self.maxRecords) || !has(self.subsets) || "
                "self.subsets.all(name, self.subsets[name] <= self.maxRecords)"
            ),
            "no subset can give more rows than records are read: raise maxRecords, or lower subsets",
        ),
        (
            "(has(self.size) ? 1 : 0) + (has(self.ratio) ? 1 : 0) + (has(self.subsets) ? 1 : 0) <= 1",
            "say how many rows in one way: size, ratio or subsets",
        ),
        (
            over_numbers("double(self.ratio) > 0.0", "self.ratio"),
            "a ratio above 0 draws rows: leave the source out otherwise",
        ),
    )
    size: Rows | None = Field(
        default=None, description="Rows to draw; all where size, ratio and subsets are absent."
    )


class NearDuplicates(ApiModel):
    """Prompts in nearly the same words."""

    model_config = config(
        (
            over_numbers("double(self.threshold) >= 0.5 && double(self.threshold) <= 1.0", "self.threshold"),
            'threshold is a similarity from 0.5 to 1, such as "0.8"',
        )
    )
    threshold: Decimal = Field(
        default="0.8",
        description="Jaccard similarity of runs of five letters, from which the later prompt is dropped.",
    )


class Dedupe(ApiModel):
    """Rows that must not be there twice, or not at all."""

    exact: Literal[True] = Field(
        default=True, description="Equal prompts after Unicode and white-space normalisation are kept once."
    )
    near: NearDuplicates | None = Field(
        default=None,
        description="Nearly equal prompts are kept once; all of them stay where absent. Either way they "
        "are never on both sides of the validation split.",
    )
    against: Annotated[list[PromptData], Field(max_length=16)] = Field(
        default=[],
        description="Evaluation sets: their prompts, and what is nearly one of them, are never trained on.",
    )
