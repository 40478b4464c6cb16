"""How a SafetyBlend looks for rows that quietly break safety: anchors, method, which rows are taken."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import (
    NO_COLUMNS_OF_PRESET,
    NO_TOKEN_IN_CLEAR,
    ApiModel,
    OwnData,
    OwnedModel,
    PromptData,
    Resources,
    gpu_rules,
)
from safety_records.schema import config, over_numbers
from safety_records.screening import GradientSettings, ScreenCompute, ScreenSettings, SelectionSettings
from safety_records.training import Device

ONE_SOURCE = (
    "has(self.preset) != has(self.uri)",
    "name exactly one of preset and uri",
)


HarmfulPreset = Literal["illegal-activities", "hate-speech"]
"""Beginnings of answers that comply, to prompts of Do-Not-Answer."""

SafePreset = Literal[
    "illegal-activities-refused",
    "illegal-activities-explained",
    "hate-speech-refused",
    "hate-speech-explained",
]
"""Two different refusals of the prompts of each harmful preset."""

WITH_RESPONSES = (
    (
        "!has(self.columns) || has(self.columns.response) && self.columns.response != '' || "
        "has(self.columns.messages) && self.columns.messages != ''"
    ),
    (
        "an anchor is a prompt with its answer: name the column of the answers in columns.response, or that "
        "of whole conversations in columns.messages"
    ),
)


TOKEN_OF_URI = (
    "!has(self.tokenSecretRef) || has(self.uri)",
    "presets of anchors are part of the image: name a uri, or leave tokenSecretRef out",
)


_ANCHOR_RULES = (ONE_SOURCE, NO_COLUMNS_OF_PRESET, WITH_RESPONSES, TOKEN_OF_URI, NO_TOKEN_IN_CLEAR)


class AnchorData(OwnData):
    """What the sets of anchors share."""

    limit: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="The first so many examples are taken; 10 for gradient and 100 for other methods where "
        "absent, as in the papers.",
    )


class HarmfulAnchors(AnchorData):
    """Examples of what must not be learnt: exactly one of preset and uri.

    Files of your own have columns prompt and response, unless columns names others.
    """

    model_config = config(*_ANCHOR_RULES)
    preset: HarmfulPreset | None = Field(
        default=None, description="A published set of examples, part of the worker image."
    )


class SafeAnchors(AnchorData):
    """Examples of the safe answer to the same prompts: exactly one of preset and uri.

    Files of your own have columns prompt and response, unless columns names others.
    """

    model_config = config(*_ANCHOR_RULES)
    preset: SafePreset | None = Field(
        default=None, description="A published set of examples, part of the worker image."
    )


class Anchors(ApiModel):
    """What rows are compared with."""

    harmful: HarmfulAnchors = Field(
        default=HarmfulAnchors(preset="illegal-activities"),
        description="Examples of what must not be learnt. Whole harmful answers of your own are closer to "
        "what the methods look for than the presets, which hold beginnings only.",
    )
    safe: Annotated[list[SafeAnchors], Field(min_length=1, max_length=8)] = Field(
        default=[
            SafeAnchors(preset="illegal-activities-refused"),
            SafeAnchors(preset="illegal-activities-explained"),
        ],
        description="Sets of safe examples; gradient and larf move away from them, representation does not "
        "look at them.",
    )


class ScreeningCompute(ScreenCompute, ApiModel):
    """Where rows are scored."""

    model_config = config(*gpu_rules("1", "the one of a pod (shards are pods)"))

    device: Device | None = Field(default=None, description="The chart's default where absent.")
    batch_tokens: Annotated[int, Field(ge=128, le=4194304)] | None = Field(
        default=None,
        description="Tokens of a batch, padding included; gradient takes a quarter. 16384 on gpu and 4096 "
        "on cpu where absent.",
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of a pod, name by name over the role's and the defaults by device; one GPU.",
    )


ScreenMethodName = Literal["representation", "gradient", "larf"]

_USES_LARF = "self.method == 'larf' || has(self.compareWith) && self.compareWith.exists(m, m == 'larf')"


class Screening(ScreenSettings, SelectionSettings, ApiModel):
    """Rows that quietly break safety when a model is trained on them; none says that nothing is screened."""

    model_config = config(
        (
            "!has(self.method) || self.method == 'none' || has(self.topFraction) != has(self.threshold)",
            "say how many rows are taken: name exactly one of topFraction and threshold",
        ),
        (
            (
                "has(self.method) && self.method != 'none' || !has(self.topFraction) && "
                "!has(self.threshold) && (!has(self.compareWith) || self.compareWith.size() == 0)"
            ),
            (
                "nothing is screened with method none: name a method, or remove topFraction, threshold and "
                "compareWith"
            ),
        ),
        (
            over_numbers(
                "double(self.topFraction) > 0.0 && double(self.topFraction) < 1.0", "self.topFraction"
            ),
            "topFraction is a share between 0 and 1",
        ),
        (
            "!has(self.compareWith) || !has(self.method) || !self.compareWith.exists(m, m == self.method)",
            "compareWith names further methods: leave out the one that decides",
        ),
        (
            f"!has(self.layer) && !has(self.layerPrompts) || {_USES_LARF}",
            "layer and layerPrompts belong to method larf: remove them",
        ),
        (
            "!has(self.layer) || !has(self.layerPrompts)",
            "layerPrompts are for finding the layer: leave them out where layer is named",
        ),
    )
    method: Literal["none", "representation", "gradient", "larf"] = Field(
        default="none",
        description="representation: a row's last hidden state against harmful examples; gradient: its loss "
        "gradient against harmful and safe ones; larf: the hidden state of the layer that refusing depends "
        "on; none.",
    )
    compare_with: Annotated[list[ScreenMethodName], Field(max_length=2)] = Field(
        default=[], description="Further methods that are scored and reported, and decide nothing."
    )
    rows: Literal["retain", "all"] = Field(
        default="retain",
        description="retain: benign data only; all: safety rows as well, whose prompts are harmful.",
    )
    model: OwnedModel | None = Field(
        default=None, description="The model to screen with; that of onPolicy where absent."
    )
    anchors: Anchors = Field(default=Anchors(), description="What rows are compared with.")
    layer_prompts: PromptData | None = Field(
        default=None,
        description="larf: prompts that the model sometimes refuses, to find the layer; those of the harmful "
        "anchors where absent.",
    )
    gradient: GradientSettings = Field(
        default=GradientSettings(), description="What the method gradient differentiates."
    )
    compute: ScreeningCompute = Field(
        default=ScreeningCompute(), description="Device, shards and resources of the pods that score rows."
    )
