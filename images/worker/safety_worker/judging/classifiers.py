"""Small local text classifiers, by name: what a machine without a GPU has in place of guard models.

Used by the judge ``classifier`` and by the classifier server behind the rails. They are weak; ``docs/
experiments.md`` has their measured precision and recall, and reports say so wherever their scores are shown.

``prompt-harm-minilm``
    Whether a prompt asks for something harmful: logistic regression on sentence embeddings. See the module
    ``prompt_harm``.
"""

from collections.abc import Callable
from typing import Protocol

from safety_worker.errors import InputError


class TextClassifier(Protocol):
    """What every classifier offers."""

    def predict_unsafe(self, texts: list[str]) -> list[float]:
        """Probability of being unsafe, 0..1, of each text; no texts give no numbers."""


def load_classifier(name: str) -> TextClassifier:
    """Load a classifier by name.

    Raises
    ------
    InputError
        If there is none of that name, or this image lacks its package.
    """
    if name not in CLASSIFIERS:
        raise InputError(
            "UnknownClassifier", f"classifier {name!r}: known are {', '.join(sorted(CLASSIFIERS))}"
        )
    return CLASSIFIERS[name]()


def _prompt_harm() -> TextClassifier:
    from safety_worker.judging.prompt_harm import PromptHarm  # noqa: PLC0415 - imports torch

    return PromptHarm()


CLASSIFIERS: dict[str, Callable[[], TextClassifier]] = {
    "prompt-harm-minilm": _prompt_harm,
}
"""Every classifier."""
