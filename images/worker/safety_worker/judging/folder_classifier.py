"""A text classifier of the user's own: a Hugging Face sequence-classification model in the artifact store.

Weights are safetensors only and no code of the model's is run. Texts longer than the model's longest sequence
are read in overlapping windows; the worst window counts. Shapes: W windows, K labels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from safety_worker.errors import InputError
from safety_worker.judging.own_classifier import BATCH, LONGEST, Labels, overlap, worse


class FolderClassifier:
    """Probability of the labels that mean unsafe.

    How the model's outputs become one probability, ``own_classifier.Labels`` says.

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

    def __init__(self, folder: Path, unsafe_labels: Sequence[str]) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self._model = AutoModelForSequenceClassification.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                "NoClassifier",
                f"judges[].model is no text classifier that transformers can read: {type(error).__name__}",
            ) from error
        self._model.eval()
        config = self._model.config
        self._labels = Labels.of(config.id2label, config.problem_type, unsafe_labels)
        longest = getattr(config, "max_position_embeddings", None) or LONGEST
        self._length = min(LONGEST, longest, self._tokenizer.model_max_length)

    def predict_unsafe(self, texts: list[str]) -> list[float]:
        """Probability, 0..1, of each text; no texts give no numbers."""
        if not texts:
            return []
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._length,
            stride=overlap(self._length),
            return_overflowing_tokens=True,
        )
        owners = encoded.pop("overflow_to_sample_mapping")
        highest = [0.0] * len(texts)
        # A text of which no token is left, such as an empty one, has no window, and nothing unsafe in it.
        windows = [index for index, ids in enumerate(encoded["input_ids"]) if ids]
        for start in range(0, len(windows), BATCH):
            batch = windows[start : start + BATCH]
            part = {name: [values[index] for index in batch] for name, values in encoded.items()}
            window = self._tokenizer.pad(part, return_tensors="pt")
            with torch.inference_mode():
                logits_WK = self._model(**window).logits  # noqa: N806
            found = self._labels.probabilities(logits_WK.float().numpy())
            for index, probability in zip(batch, found, strict=True):
                highest[owners[index]] = worse(highest[owners[index]], probability)
        return highest
