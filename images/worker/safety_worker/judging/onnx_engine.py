"""Runs a text classifier that is an ONNX graph, with the tokenizer in the same folder.

The folder holds one ``*.onnx`` file (weights next to it where the exporter put them there), ``config.json``
with ``id2label``, and ``tokenizer.json``: what optimum writes. The graph runs on the CPU with the operators
of ONNX Runtime alone: no library of custom operators is ever loaded, and weights come from inside the folder.
Shapes: W windows, T tokens, K labels.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from tokenizers import Tokenizer

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.judging.model_classifier import FEEDS, LONGEST, Settings
from safety_worker.models.model_folder import ONNX_PATTERN

INTEGERS: dict[str, type[np.int64 | np.int32]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of token numbers that are understood."""

FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
"""Types of outputs that are understood."""

SHOWN = 300
"""Characters of ONNX Runtime's words in a message."""

GRAPH_ERRORS = (
    *(ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf, ort.NoModel, ort.NotImplemented),
    *(ort.RuntimeException, ValueError),
)
"""What ONNX Runtime raises for a graph or its inputs; they share no class."""

MEMORY_WORDS = ("failed to allocate", "bad_alloc", "bad allocation")
"""Some of its errors are about memory instead, which their text alone tells."""


class OnnxEngine:
    """The graph of a folder.

    Raises
    ------
    InputError
        If the folder holds no such model, or its inputs or outputs are not those of a text classifier.
    """

    def __init__(self, folder: Path) -> None:
        self.settings = _settings(folder)
        self._session = _open(folder)
        self._types = {item.name: _integers(item) for item in self._session.get_inputs()}
        if "input_ids" not in self._types:
            raise InputError("OnnxInputs", "judges[].model has no input input_ids: it reads no tokens")
        self.inputs = list(self._types)
        self._output = self._find_output()
        rows, tokens = next(item.shape for item in self._session.get_inputs() if item.name == "input_ids")
        self.shape = (rows if isinstance(rows, int) else None, tokens if isinstance(tokens, int) else None)
        self.tokenizer = _tokenizer(folder)

    def run(self, feeds: Mapping[str, NDArray[np.int64]], num_labels: int) -> NDArray[np.floating]:
        """Logits WK."""
        typed = {name: values.astype(self._types[name]) for name, values in feeds.items()}
        with _graph_errors():
            (logits_WK,) = self._session.run([self._output], typed)  # noqa: N806
        if logits_WK.shape != (len(feeds["input_ids"]), num_labels):
            raise _wrong_outputs(self._output, logits_WK.shape, num_labels)
        return np.asarray(logits_WK)

    def _find_output(self) -> str:
        outputs = {item.name: item for item in self._session.get_outputs()}
        item = outputs.get("logits") or (next(iter(outputs.values())) if len(outputs) == 1 else None)
        if item is None:
            raise InputError(
                "OnnxOutputs",
                f"judges[].model has the outputs {', '.join(sorted(outputs)[:20])}, none of them is logits",
            )
        if item.type not in FLOATS:
            raise InputError(
                "OnnxOutputs", f"judges[].model gives {item.name} as {item.type}; logits are floats"
            )
        num_labels = len(self.settings.labels)
        labels = item.shape[-1] if len(item.shape) == 2 else None  # noqa: PLR2004
        if labels is None or (isinstance(labels, int) and labels != num_labels):
            raise _wrong_outputs(item.name, item.shape, num_labels)
        return str(item.name)


def _integers(item: Any) -> "type[np.int64 | np.int32]":
    """The type of an input of token numbers."""
    if item.name not in FEEDS or item.type not in INTEGERS or len(item.shape) != 2:  # noqa: PLR2004
        raise InputError(
            "OnnxInputs",
            f"judges[].model wants the input {item.name} of type {item.type} and shape {item.shape}; a text "
            f"classifier takes {', '.join(FEEDS)} as int64 or int32 of shape [batch, tokens]: export it for "
            "text classification",
        )
    return INTEGERS[item.type]


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
    with _graph_errors():
        return onnxruntime.InferenceSession(str(files[0]), options, providers=["CPUExecutionProvider"])


@contextmanager
def _graph_errors() -> Iterator[None]:
    """Turn what ONNX Runtime says of a graph into our error; what the graph is not to blame for stays one."""
    try:
        yield
    except GRAPH_ERRORS as error:
        words = " ".join(str(error).split())
        if any(word in words.lower() for word in MEMORY_WORDS):
            raise InfrastructureError(
                "OutOfMemory", "judges[].model needs more memory than the stage has: raise its limit"
            ) from error
        raise InputError(
            "NoClassifier",
            f"judges[].model is no graph that ONNX Runtime can run with its own operators: {words[:SHOWN]}",
        ) from error


def _wrong_outputs(name: str, shape: Sequence[object], num_labels: int) -> InputError:
    return InputError(
        "OnnxOutputs",
        f"judges[].model gives {name} of shape {list(shape)}, but config.json has {num_labels} labels: a "
        f"text classifier gives [batch, {num_labels}]; fix id2label or export it for text classification",
    )


def _tokenizer(folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except Exception as error:
        # The library raises Exception itself; of the other errors these are about what the file holds.
        if type(error) is Exception or isinstance(error, FileNotFoundError | UnicodeDecodeError):
            raise InputError(
                "NoTokenizer", "judges[].model needs the tokenizer.json of its own tokenizer"
            ) from error
        raise


def _settings(folder: Path) -> Settings:
    config = _read_json(folder / "config.json")
    path = folder / "tokenizer_config.json"
    bounds = (
        config.get("max_position_embeddings"),
        (_read_json(path) if path.is_file() else {}).get("model_max_length"),
    )
    try:
        return Settings(
            labels={int(index): str(name) for index, name in config["id2label"].items()},
            problem=config.get("problem_type"),
            # Where no bound is known, tokenizers are saved with a very large number.
            longest=int(min([LONGEST, *(n for n in bounds if isinstance(n, int | float) and n > 0)])),
            pad=int(config.get("pad_token_id") or 0),
        )
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "NoClassifier",
            "config.json of judges[].model needs id2label, which says what its outputs mean, and numbers "
            "where numbers belong",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise InputError("NoClassifier", f"judges[].model has no readable {path.name}") from error
    if not isinstance(value, dict):
        raise InputError("NoClassifier", f"{path.name} of judges[].model is no JSON object")
    return value
