"""A text classifier of the user's own as an ONNX graph, with the tokenizer that lies beside it.

The folder holds one ``*.onnx`` file (weights beside it where the exporter put them there), ``config.json``
with ``id2label``, and ``tokenizer.json``: what optimum writes. The graph runs on the CPU with the operators
of ONNX Runtime alone: no library of custom operators is ever loaded, and weights come from inside the folder.
Windows and probabilities are those of ``own_classifier``. Shapes: W windows, T tokens, K labels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from safety_worker.errors import InputError
from safety_worker.judging.own_classifier import BATCH, LONGEST, Labels, overlap, worse
from safety_worker.models.model_folder import ONNX_PATTERN

INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of token numbers that are understood."""

FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
"""Types of outputs that are understood."""

FEEDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""By input of a graph: the attribute of an encoding that fills it."""

SHOWN = 300
"""Characters of ONNX Runtime's words in a message."""


class OnnxClassifier:
    """Probability of the labels that mean unsafe.

    Parameters
    ----------
    folder
        The model.
    unsafe_labels
        Names of its labels that mean unsafe, whatever their case.

    Raises
    ------
    InputError
        If the folder holds no such model, the model has no such label, or its inputs or outputs are not those
        of a text classifier.
    """

    def __init__(self, folder: Path, unsafe_labels: Sequence[str]) -> None:
        config = _read_json(folder / "config.json")
        self._labels = Labels.of(_label_names(config), config.get("problem_type"), unsafe_labels)
        self._session = _open(folder)
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._check_inputs()
        self._output = self._find_output()
        rows, tokens = self._inputs["input_ids"].shape
        self._rows = rows if isinstance(rows, int) else None
        self._tokens = tokens if isinstance(tokens, int) else None
        self._pad = int(config.get("pad_token_id") or 0)
        self._tokenizer = _tokenizer(folder, self._tokens or _longest(folder, config))

    def predict_unsafe(self, texts: list[str]) -> list[float]:
        """Probability, 0..1, of each text; no texts give no numbers."""
        # Lone surrogates, which a model can write into JSON, are no text for the tokenizer.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        windows = [
            (owner, window)
            for owner, encoding in enumerate(self._tokenizer.encode_batch(clean))
            for window in (encoding, *encoding.overflowing)
            if window.ids
        ]
        highest = [0.0] * len(texts)
        size = self._rows or BATCH
        for start in range(0, len(windows), size):
            batch = windows[start : start + size]
            logits_WK = self._run([window for _, window in batch])  # noqa: N806
            for (owner, _), found in zip(batch, self._labels.probabilities(logits_WK), strict=True):
                highest[owner] = worse(highest[owner], found)
        return highest

    def _run(self, windows: list[Encoding]) -> NDArray[np.floating]:
        num_rows = self._rows or len(windows)
        num_tokens = self._tokens or max(len(window.ids) for window in windows)
        feeds = {}
        for name, item in self._inputs.items():
            values_WT = np.zeros((num_rows, num_tokens), INTEGERS[item.type])  # noqa: N806
            if name == "input_ids":
                values_WT.fill(self._pad)
            for row, window in zip(values_WT, windows, strict=False):
                values = getattr(window, FEEDS[name])
                row[: len(values)] = values
            feeds[name] = values_WT
        try:
            (logits_WK,) = self._session.run([self._output], feeds)  # noqa: N806
        except Exception as error:
            raise _does_not_run(error) from error
        if logits_WK.shape != (num_rows, self._labels.num_labels):
            raise _wrong_outputs(self._output, logits_WK.shape, self._labels.num_labels)
        return np.asarray(logits_WK[: len(windows)])

    def _check_inputs(self) -> None:
        for name, item in self._inputs.items():
            if name not in FEEDS or item.type not in INTEGERS or len(item.shape) != 2:  # noqa: PLR2004
                raise InputError(
                    "OnnxInputs",
                    f"judges[].model wants the input {name} of type {item.type} and shape {item.shape}; a "
                    f"text classifier takes {', '.join(FEEDS)} as int64 or int32 of shape [batch, tokens]: "
                    "export it for text classification",
                )
        if "input_ids" not in self._inputs:
            raise InputError("OnnxInputs", "judges[].model has no input input_ids: it reads no tokens")

    def _find_output(self) -> str:
        outputs = {item.name: item for item in self._session.get_outputs()}
        item = outputs.get("logits") or (next(iter(outputs.values())) if len(outputs) == 1 else None)
        if item is None:
            raise InputError(
                "OnnxOutputs",
                f"judges[].model has the outputs {', '.join(sorted(outputs)[:20])}, none of them is logits",
            )
        labels = item.shape[-1] if len(item.shape) == 2 else None  # noqa: PLR2004
        if item.type not in FLOATS:
            raise InputError(
                "OnnxOutputs", f"judges[].model gives {item.name} as {item.type}; logits are floats"
            )
        if labels is None or (isinstance(labels, int) and labels != self._labels.num_labels):
            raise _wrong_outputs(item.name, item.shape, self._labels.num_labels)
        return str(item.name)


def _open(folder: Path) -> Any:
    files = sorted(folder.glob(ONNX_PATTERN))
    if len(files) != 1:
        raise InputError(
            "NoClassifier", f"judges[].model has {len(files)} {ONNX_PATTERN} files: leave the one to use"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(files[0]), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise _does_not_run(error) from error


def _does_not_run(error: Exception) -> InputError:
    words = " ".join(str(error).split())[:SHOWN]
    return InputError(
        "NoClassifier",
        f"judges[].model is no graph that ONNX Runtime can run with its own operators: {words}",
    )


def _wrong_outputs(name: str, shape: Sequence[object], num_labels: int) -> InputError:
    return InputError(
        "OnnxOutputs",
        f"judges[].model gives {name} of shape {list(shape)}, but config.json has {num_labels} labels: a "
        f"text classifier gives [batch, {num_labels}]; mend id2label or export it for text classification",
    )


def _tokenizer(folder: Path, length: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises Exception itself
        raise InputError(
            "NoTokenizer", "judges[].model needs the tokenizer.json of its own tokenizer"
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(length, stride=overlap(length))
    return tokenizer


def _longest(folder: Path, config: dict[str, Any]) -> int:
    path = folder / "tokenizer_config.json"
    settings = _read_json(path) if path.is_file() else {}
    bounds = (config.get("max_position_embeddings"), settings.get("model_max_length"))
    # Where no bound is known, tokenizers are saved with a very large number.
    return int(min([LONGEST, *(bound for bound in bounds if isinstance(bound, int | float) and bound > 0)]))


def _label_names(config: dict[str, Any]) -> dict[int, str]:
    try:
        return {int(index): str(name) for index, name in config["id2label"].items()}
    except (KeyError, AttributeError, ValueError) as error:
        raise InputError(
            "NoClassifier", "config.json of judges[].model has no id2label: say what its outputs mean"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("NoClassifier", f"judges[].model has no readable {path.name}") from error
    if not isinstance(value, dict):
        raise InputError("NoClassifier", f"{path.name} of judges[].model is no JSON object")
    return value
