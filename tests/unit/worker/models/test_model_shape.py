"""Sizes of a model by its files."""

import json

import pytest

from safety_worker.models.model_shape import read_shape, shape_of

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def test_sizes_come_from_the_configuration_and_the_numbers_from_the_weights(tmp_path):
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]},
            "b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]},
        }
    ).encode()
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(34))
    found = read_shape(tmp_path)
    assert found is not None
    assert (found.parameters, found.layers, found.query_size, found.key_size) == (17, 32, 4096, 1024)


def test_a_text_part_and_a_size_of_heads_of_its_own_count():
    found = shape_of({"text_config": LLAMA_8B | {"head_dim": 256}, "vocab_size": 7}, 1)
    assert found is not None
    assert (found.vocabulary, found.query_size, found.key_size) == (128256, 8192, 2048)


def test_of_experts_those_count_that_a_token_passes():
    found = shape_of(LLAMA_8B | {"num_experts_per_tok": 2, "moe_intermediate_size": 1000}, 1)
    assert found is not None
    assert found.intermediate_size == 2000


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"n_embd": 768, "n_head": 12},
        LLAMA_8B | {"vocab_size": None},
        LLAMA_8B | {"num_attention_heads": 0},
    ],
)
def test_a_configuration_that_does_not_say_gives_no_sizes(config):
    assert shape_of(config, 1) is None
