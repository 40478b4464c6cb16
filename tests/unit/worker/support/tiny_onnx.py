"""A tiny ONNX text classifier, written by hand: it calls a text with the word bad unsafe.

The graph adds up one row of weights per token, as a bag of words: logits[w, k] = sum over t of
E[ids[w, t], k] times the attention mask. No training, no torch.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "bad", *(f"w{n}" for n in range(20))]
MAX_TOKENS = 32


def write_classifier(
    folder: Path,
    *,
    labels: Sequence[str] = ("fine", "toxic"),
    problem: str | None = None,
    weights: Sequence[float] = (-4.0, 8.0),
    integers: int = TensorProto.INT64,
    mask: int = 0,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    output: str = "logits",
    shape: tuple[int | str, int | str] = ("batch", "tokens"),
    domain: str = "",
    external: str = "",
) -> Path:
    """Write graph, configuration and tokenizer.

    ``weights``: by label, what the word bad adds; every text starts from what [CLS] adds, half of it the
    other way round. ``mask``: type of the mask, that of the other inputs by default. ``external``: name of a
    file next to the graph that holds the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = np.zeros((len(WORDS), len(weights)), np.float32)
    table[WORDS.index("bad")] = weights
    table[WORDS.index("[CLS]")] = [-value / 2 for value in weights]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["rows", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], [output], keepdims=0),
    ]
    if domain:
        nodes.append(helper.make_node("Evil", [output], ["more"], domain=domain))
    tensors = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "middle"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                name, mask or integers if name == "attention_mask" else integers, list(shape)
            )
            for name in inputs
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], len(weights)])],
        initializer=tensors,
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if external:
        _move_out(model, external)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    if external and "/" not in external:
        (folder / external).write_bytes(table.tobytes())
    config = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "problem_type": problem,
        "max_position_embeddings": MAX_TOKENS,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    _tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": MAX_TOKENS}))
    return folder


def _move_out(model: onnx.ModelProto, location: str) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
