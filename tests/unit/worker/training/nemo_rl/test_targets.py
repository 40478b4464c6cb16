"""Modules for adapters are looked for in the model's weights."""

import json
import re

import pytest
from tests.unit.worker.support.weights import with_header

from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.targets import check_targets


def model(folder, **config):
    shapes = {
        "model.embed_tokens.weight": [4, 2],
        "model.layers.0.self_attn.q_proj.weight": [2, 2],
        "model.norm.weight": [2],
    }
    header = {name: {"dtype": "U8", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    (folder / "model.safetensors").write_bytes(with_header(header))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_linear_layers_may_be_named(tmp_path):
    check_targets(model(tmp_path), ("q_proj", "self_attn.q_proj", "lm_head"))
    check_targets(tmp_path, ())


@pytest.mark.parametrize("name", ["k_proj", "norm", "embed_tokens", "mlp.q_proj", "proj", "*.q_proj"])
def test_a_name_that_is_no_linear_layer_is_refused_with_those_that_there_are(tmp_path, name):
    with pytest.raises(InputError, match=f"no linear layer {re.escape(name)}; it has q_proj"):
        check_targets(model(tmp_path), (name,))


def test_a_head_that_is_the_embedding_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be merged"):
        check_targets(model(tmp_path, tie_word_embeddings=True), ("lm_head",))
