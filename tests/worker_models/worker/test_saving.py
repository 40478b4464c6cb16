"""The copy of a state from which a checkpoint is written while training goes on."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from safety_worker.training.trl.saving import copy_of

SHAPE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_it_keeps_what_the_next_step_changes():
    weight = torch.nn.Parameter(torch.ones(3))
    state = {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(1.0)}}, "weights": [weight]}
    copied = copy_of(state)
    with torch.no_grad():
        weight.add_(1)
        state["state"][0]["exp_avg"].add_(1)
        state["state"][0]["step"].add_(1)
    assert copied["weights"][0].tolist() == [1, 1, 1]
    assert copied["state"][0]["exp_avg"].tolist() == [0, 0, 0]
    assert copied["state"][0]["step"] == 1
    assert not copied["weights"][0].requires_grad


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_are_tied_are_so_in_the_copy_and_are_written_once(tmp_path, tied):
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied))
    copied = copy_of(model.state_dict())
    ends = [copied[name] for name in ("lm_head.weight", "model.embed_tokens.weight")]
    assert (ends[0].data_ptr() == ends[1].data_ptr()) is tied
    for folder, state in (("behind", copied), ("waiting", None)):
        model.save_pretrained(tmp_path / folder, state_dict=state)
    behind, waiting = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("behind", "waiting")]
    assert behind == waiting


def test_views_of_one_storage_are_not_taken_for_one_another():
    storage = torch.arange(6.0)
    parts = [storage[:3], storage[3:], storage[:3].view(3, 1), torch.empty(0), torch.empty(0, 2)]
    for part, copied in zip(parts, copy_of(parts), strict=True):
        assert copied.shape == part.shape
        assert copied.tolist() == part.tolist()
