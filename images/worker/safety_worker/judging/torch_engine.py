"""Runs a Hugging Face sequence classifier: safetensors only, and no code of the model's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.judging.model_classifier import FEEDS, LONGEST, Settings

MEMORY_WORDS = "can't allocate memory"
"""In torch's error about memory, which has no class of its own on a CPU."""


class TorchEngine:
    """The model of a folder, on the CPU.

    Raises
    ------
    InputError
        If the folder holds no such model, or one whose classifying layer was never trained.
    """

    shape = (None, None)

    def __init__(self, folder: Path) -> None:
        with _model_errors("no text classifier that transformers can read"):
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self.tokenizer = tokenizer.backend_tokenizer
            self._model, loading = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        if loading["missing_keys"]:  # transformers makes up what is missing
            raise InputError(
                "NoClassifier",
                f"judges[].model has no weights for {', '.join(sorted(loading['missing_keys'])[:3])}: name a "
                "model that was trained as a text classifier",
            )
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
        tensors = {name: torch.from_numpy(ids) for name, ids in feeds.items()}
        with _model_errors("no text classifier that runs"), torch.inference_mode():
            logits_WK = self._model(**tensors).logits  # noqa: N806
        return np.asarray(logits_WK.float())


@contextmanager
def _model_errors(what: str) -> Iterator[None]:
    """Turn what transformers and torch say of a model into our error, but for memory and the disk."""
    try:
        yield
    except (
        *(AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError),
        SafetensorError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; transformers' own have no number
        if MEMORY_WORDS in str(error):
            raise InfrastructureError(
                "OutOfMemory", "judges[].model needs more memory than the stage has: raise its limit"
            ) from error
        raise InputError("NoClassifier", f"judges[].model is {what}: {type(error).__name__}") from error
