"""Runs a Hugging Face sequence classifier: safetensors only, and no code of the model's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from safety_worker.errors import InputError
from safety_worker.judging.model_classifier import FEEDS, LONGEST, Settings


class TorchEngine:
    """The model of a folder, on the CPU.

    Raises
    ------
    InputError
        If the folder holds no such model.
    """

    shape = (None, None)

    def __init__(self, folder: Path) -> None:
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self.tokenizer = tokenizer.backend_tokenizer
            self._model = AutoModelForSequenceClassification.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                "NoClassifier",
                f"judges[].model is no text classifier that transformers can read: {type(error).__name__}",
            ) from error
        self._model.eval()
        config: Any = self._model.config
        longest = getattr(config, "max_position_embeddings", None) or LONGEST
        self.inputs = [name for name in FEEDS if name in tokenizer.model_input_names]
        self.settings = Settings(
            labels=config.id2label,
            problem=config.problem_type,
            longest=min(longest, tokenizer.model_max_length),
            pad=tokenizer.pad_token_id or 0,
        )

    def run(self, feeds: Mapping[str, NDArray[np.int64]], _num_labels: int) -> NDArray[np.floating]:
        """Logits WK; transformers itself gives one for each label."""
        with torch.inference_mode():
            logits_WK = self._model(**{name: torch.from_numpy(ids) for name, ids in feeds.items()}).logits  # noqa: N806
        return np.asarray(logits_WK.float())
