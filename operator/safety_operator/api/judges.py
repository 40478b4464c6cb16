"""Judges as a spec names them: their settings, and where their model and their labelled rows are."""

from typing import Annotated

from pydantic import Field
from pydantic.alias_generators import to_camel

from safety_operator.api.common import EvaluatedModel, PromptData, Serving
from safety_records.judges import JUDGE_TYPES, CalibrationSettings, JudgeSettings
from safety_records.schema import Rule, config


class Calibration(CalibrationSettings):
    """Labelled rows on which a judge is measured before it judges."""

    model_config = config(
        (
            (
                "has(self.dataset.preset) ? self.dataset.preset in ['aegis-v2-test', 'wildguard-test'] : "
                "has(self.dataset.columns) && has(self.dataset.columns.label) && "
                "self.dataset.columns.label != '' && "
                "(has(self.dataset.columns.response) && self.dataset.columns.response != '' || "
                "has(self.dataset.columns.messages) && self.dataset.columns.messages != '')"
            ),
            (
                "a calibration needs labelled responses: the preset aegis-v2-test or wildguard-test, or a "
                "uri with columns.label and columns.response (or messages that end with the response)"
            ),
        )
    )
    dataset: PromptData
    """Rows with a prompt, a response and a label; those without one of them are left out."""
    limit: Annotated[int, Field(ge=1, le=1000000)] | None = None
    """Rows drawn at random with seed 42; all where absent."""


SERVED, LOADED, WITHOUT_MODEL = (
    [name for name, kind in JUDGE_TYPES.items() if kind.model == model]
    for model in ("served", "loaded", "none")
)
"""Types of judges by how they use a model."""


def _listed(names: list[str], word: str) -> str:
    """``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


def _model_rules() -> tuple[Rule, ...]:
    served, loaded, without = _listed(SERVED, "or"), _listed(LOADED, "or"), _listed(WITHOUT_MODEL, "and")
    return (
        (
            f"self.type in {LOADED} || has(self.model) == (self.type in {SERVED})",
            f"a judge of type {served} needs a model; {without} has none",
        ),
        (
            f"!has(self.serving) || has(self.model) && !has(self.model.endpoint) && self.type in {SERVED}",
            "serving belongs to a judge whose model is served here: remove it",
        ),
        (
            (
                f"self.type in {LOADED} ? has(self.classifier) != has(self.model) && "
                "(!has(self.model) || !has(self.model.endpoint)) : !has(self.classifier)"
            ),
            (
                f"a judge of type {loaded} names a classifier of the worker image, or a model that is no "
                "endpoint; no other judge names a classifier"
            ),
        ),
        (
            f"has(self.unsafeLabels) == (self.type in {LOADED} && has(self.model))",
            f"unsafeLabels belong to a judge of type {loaded} with a model, which needs them",
        ),
    )


def _variant_rule() -> Rule:
    variants = {name: list(kind.variants) for name, kind in JUDGE_TYPES.items() if kind.variants}
    fits = [f"self.type == '{name}' && self.variant in {found}" for name, found in variants.items()]
    named = [f"{_listed(found, 'or')} for type {name}" for name, found in variants.items()]
    return f"!has(self.variant) || {' || '.join(fits)}", f"variant is {', '.join(named)}; others have none"


def _field_rules() -> tuple[Rule, ...]:
    """Fields that belong to one type."""
    return (
        *(
            (
                f"(self.type == '{name}') == has(self.{to_camel(field)})",
                f"a judge of type {name} has {to_camel(field)}, and no other judge does",
            )
            for name, kind in JUDGE_TYPES.items()
            for field in kind.needs
        ),
        *(
            (
                f"self.type == '{name}' || !has(self.{to_camel(field)})",
                f"{to_camel(field)} belongs to type {name}: remove it",
            )
            for name, kind in JUDGE_TYPES.items()
            for field in kind.takes
        ),
    )


class Judge(JudgeSettings):
    """Who decides whether an answer is safe."""

    model_config = config(*_model_rules(), _variant_rule(), *_field_rules())

    model: EvaluatedModel | None = None
    """The model that judges: a source, the product of a SafetyFinetune, or an endpoint."""
    serving: Serving | None = None
    """How the model is served, unless it is an endpoint."""
    calibration: Calibration | None = None
    """Labelled rows on which the judge is measured first."""


def refusals_are_seen(judge: str) -> str:
    """:attr:`JudgeSettings.sees_refusals` of a CEL variable."""
    types = [name for name, kind in JUDGE_TYPES.items() if kind.sees_refusals]
    return (
        f"({judge}.type in {types} || has({judge}.custom) && "
        f"{judge}.custom.labels.exists(l, {judge}.custom.labels[l] == 'refusal'))"
    )


SEEING_REFUSALS = (
    f"{_listed([name for name, kind in JUDGE_TYPES.items() if kind.sees_refusals], 'or')}, or a custom one "
    "with a label that means refusal"
)
"""Judges that see refusals, for messages."""
