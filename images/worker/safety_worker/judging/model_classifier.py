"""A text classifier of the user's own: a model in the artifact store, and its labels that mean unsafe.

A folder with safetensors is run by transformers (``torch_engine``), one with an ONNX graph by ONNX Runtime
(``onnx_engine``). Both get the same windows of a long text, the worst of which counts, and their outputs
become one probability in the same way. Shapes: W windows, T tokens, K labels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from safety_worker.errors import InputError
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

FEEDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""By input of a model: the attribute of an encoding that fills it."""


class Settings(NamedTuple):
    """What a model's folder says about it."""

    labels: Mapping[int, str]
    """``id2label``, with whole numbers as keys."""
    problem: str | None
    """``problem_type``; None is taken for labels that exclude each other."""
    longest: int
    """Tokens that the model reads at most."""
    pad: int
    """Token that fills up the shorter windows of a batch."""


class Engine(Protocol):
    """What runs a model."""

    settings: Settings
    tokenizer: Tokenizer
    inputs: Sequence[str]
    """Keys of ``FEEDS`` that the model wants."""
    shape: tuple[int | None, int | None]
    """Windows and tokens of every batch, where the model takes no others."""

    def run(self, feeds: Mapping[str, NDArray[np.int64]], num_labels: int) -> NDArray[np.floating]:
        """Outputs WK of inputs WT.

        Raises
        ------
        InputError
            If the model does not run, or has another number of labels.
        """


def load_model_classifier(folder: Path, unsafe_labels: Sequence[str]) -> "ModelClassifier":
    """The classifier of a folder.

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
    form = "onnx_engine:OnnxEngine" if any(folder.glob(ONNX_PATTERN)) else "torch_engine:TorchEngine"
    engine: Any = load(f"safety_worker.judging.{form}")(folder)
    return ModelClassifier(engine, unsafe_labels)


class ModelClassifier:
    """Probability that a text has one of the labels that mean unsafe.

    Raises
    ------
    InputError
        If the model has no such label.
    """

    def __init__(self, engine: Engine, unsafe_labels: Sequence[str]) -> None:
        settings = engine.settings
        self._engine = engine
        self._labels = Labels.of(settings.labels, settings.problem, unsafe_labels)
        length = engine.shape[1] or min(LONGEST, settings.longest)
        engine.tokenizer.no_padding()
        engine.tokenizer.enable_truncation(length, stride=min(STRIDE, length // 4))

    def __call__(self, texts: list[str]) -> list[float]:
        """Probability, 0..1, of each text; no texts give no numbers.

        NaN where the model gives no number, or its tokenizer leaves nothing of the text for it to read.
        """
        # Lone surrogates, which a model can write into JSON, are no text for the tokenizer.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        windows = [
            (owner, window)
            for owner, encoding in enumerate(self._engine.tokenizer.encode_batch(clean))
            for window in (encoding, *encoding.overflowing)
            if window.ids
        ]
        found: list[list[float]] = [[] for _ in texts]
        probabilities = self._probabilities([window for _, window in windows])
        for (owner, _), probability in zip(windows, probabilities, strict=True):
            found[owner].append(probability)
        return [highest(of_text) for of_text in found]

    def _probabilities(self, windows: Sequence[Encoding]) -> Iterator[float]:
        size = self._engine.shape[0] or BATCH
        for start in range(0, len(windows), size):
            batch = windows[start : start + size]
            outputs_WK = self._engine.run(self._feeds(batch), self._labels.num_labels)  # noqa: N806
            yield from self._labels.probabilities(outputs_WK[: len(batch)])

    def _feeds(self, windows: Sequence[Encoding]) -> dict[str, NDArray[np.int64]]:
        rows, tokens = self._engine.shape
        shape = (rows or len(windows), tokens or max(len(window.ids) for window in windows))
        feeds = {}
        for name in self._engine.inputs:
            values_WT = np.zeros(shape, np.int64)  # noqa: N806
            if name == "input_ids":
                values_WT.fill(self._engine.settings.pad)
            for row, window in zip(values_WT, windows, strict=False):
                values = getattr(window, FEEDS[name])
                row[: len(values)] = values
            feeds[name] = values_WT
        return feeds


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
        """Labels of :class:`Settings`, and the names of those that mean unsafe, whatever their case.

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

    def probabilities(self, outputs_WK: NDArray[np.floating]) -> list[float]:  # noqa: N803
        """Probability of being unsafe, 0..1, of each window; NaN where the outputs are no numbers.

        Of labels that exclude each other the probabilities are added up, of independent ones the highest
        counts.
        """
        values_WK = outputs_WK.astype(np.float64)  # noqa: N806
        with np.errstate(invalid="ignore", over="ignore"):
            if self.independent:
                chosen = 1 / (1 + np.exp(-values_WK[:, self.unsafe]))
                return [float(value) for value in chosen.max(axis=1)]
            parts_WK = np.exp(values_WK - values_WK.max(axis=1, keepdims=True))  # noqa: N806
            shares = parts_WK[:, self.unsafe].sum(axis=1) / parts_WK.sum(axis=1)
        return [float(min(value, 1.0)) if math.isfinite(value) else math.nan for value in shares]


def highest(probabilities: Sequence[float]) -> float:
    """The highest of some probabilities; NaN, which is never safe, for none or if one of them is."""
    return math.nan if any(map(math.isnan, probabilities)) else max(probabilities, default=math.nan)
