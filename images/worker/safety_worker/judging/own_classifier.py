"""A text classifier of the user's own, in whichever of the two forms it lies in the artifact store.

A folder with safetensors is read by transformers, one with an ONNX graph by ONNX Runtime. What both need lies
here: windows of a long text, and one probability from the model's outputs. Shapes: W windows, K labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safety_worker.errors import InputError
from safety_worker.judging.classifier import Classifier
from safety_worker.lazy import load
from safety_worker.models.model_folder import ONNX_PATTERN

LONGEST = 512
"""Tokens of a window at most: attention costs grow with its square, and classifiers are trained on little."""

STRIDE = 64
"""Tokens that two windows share."""

BATCH = 16
"""Windows at once."""

SHOWN_LABELS = 20
"""Labels of a model that a message lists."""


def load_own(folder: Path, unsafe_labels: Sequence[str]) -> Classifier:
    """Load the classifier of a folder.

    Parameters
    ----------
    folder
        The model.
    unsafe_labels
        Names of its labels that mean unsafe, whatever their case.

    Raises
    ------
    InputError
        If the folder holds no such model, or the model has no such label.
    """
    is_onnx = any(folder.glob(ONNX_PATTERN))
    form = "onnx_classifier:OnnxClassifier" if is_onnx else "folder_classifier:FolderClassifier"
    return load(f"safety_worker.judging.{form}")(folder, unsafe_labels)  # type: ignore[return-value]


@dataclass(frozen=True)
class Labels:
    """What a classifier's outputs say about a text being unsafe."""

    num_labels: int
    unsafe: tuple[int, ...]
    """Places of the labels that mean unsafe."""
    independent: bool
    """Whether each label is true or not by itself (sigmoid), or exactly one of them is (softmax)."""

    @classmethod
    def of(cls, names: Mapping[int, str], problem: str | None, unsafe: Sequence[str]) -> "Labels":
        """Labels of a Hugging Face configuration.

        Parameters
        ----------
        names
            ``id2label``, with whole numbers as keys.
        problem
            ``problem_type``; None is taken for labels that exclude each other.
        unsafe
            Names of the labels that mean unsafe, whatever their case.

        Raises
        ------
        InputError
            If a label is not one of the model's, or all of them mean unsafe, or the model gives no classes. A
            single label, true or not, may mean unsafe.
        """
        if problem == "regression":
            raise InputError(
                "NoClassifier", "judges[].model gives a number (problem_type regression), not probabilities"
            )
        known = {name.casefold(): index for index, name in names.items()}
        wanted = {name.casefold() for name in unsafe}
        unknown = [name for name in unsafe if name.casefold() not in known]
        all_of_several = len(wanted) == len(known) > 1
        if unknown or not wanted or all_of_several or sorted(known.values()) != list(range(len(known))):
            have = ", ".join(sorted(names.values())[:SHOWN_LABELS])
            raise InputError(
                "UnknownLabel",
                f"judges[].unsafeLabels: {', '.join(unknown) or 'they'} cannot be told apart; the model has "
                f"{have}",
            )
        independent = problem == "multi_label_classification" or len(known) == 1
        return cls(len(known), tuple(sorted(known[name] for name in wanted)), independent)

    def probabilities(self, logits_WK: NDArray[np.floating]) -> list[float]:  # noqa: N803
        """Probability of being unsafe, 0..1, of each window; NaN where the outputs are no numbers.

        Of labels that exclude each other the probabilities are added up, of independent ones the highest
        counts.
        """
        values_WK = logits_WK.astype(np.float64)  # noqa: N806
        with np.errstate(invalid="ignore", over="ignore"):
            if self.independent:
                chosen = 1 / (1 + np.exp(-values_WK[:, self.unsafe]))
                return [float(value) for value in chosen.max(axis=1)]
            parts_WK = np.exp(values_WK - values_WK.max(axis=1, keepdims=True))  # noqa: N806
            shares = parts_WK[:, self.unsafe].sum(axis=1) / parts_WK.sum(axis=1)
        return [float(min(value, 1.0)) if math.isfinite(value) else math.nan for value in shares]


def overlap(length: int) -> int:
    """Tokens that two windows of a length share."""
    return min(STRIDE, length // 4)


def worse(one: float, other: float) -> float:
    """The higher of two probabilities; NaN, which nobody may take for safe, where one of them is."""
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)
