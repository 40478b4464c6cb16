"""Training and merging written down directly: plain torch, one row at a time, no library that trains.

Run with the worker's own Python. Usage: training_directly.py train|merge ROOT GIVEN.json
ROOT is the artifact root of ``test_training.py``. GIVEN holds settings and gets what was computed.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORED = -100


def rows_of(root: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens and labels of all rows: the answer and the tokens that end it are learnt, nothing else."""
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    found = []
    for line in (root / "blend/train.jsonl").read_text(encoding="utf-8").splitlines():
        turns = json.loads(line)["messages"]
        whole = tokenizer.apply_chat_template(turns, return_dict=False)
        head = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
        assert whole[: len(head)] == head
        ids, labels = torch.tensor([whole]), torch.full((1, len(whole)), IGNORED)
        labels[0, len(head) :] = ids[0, len(head) :]
        found.append((ids, labels))
    return found


def token_losses(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each learnt token."""
    words = torch.log_softmax(model(input_ids=ids).logits[0, :-1], dim=-1)
    wanted = labels[0, 1:]
    return -words[wanted != IGNORED].gather(1, wanted[wanted != IGNORED][:, None])[:, 0]


def learning_rate(step: int, given: dict[str, Any]) -> float:
    """Linear warm-up from 0, then half a cosine from the highest to the lowest; ``step`` from 0."""
    low, high, warm = given["minLearningRate"], given["learningRate"], given["warmupSteps"]
    if step < warm:
        return high * step / warm
    share = (step - warm) / (given["steps"] - warm)
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def train(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(root / "exact", dtype=torch.float32)
    model.train()
    weights = dict(model.named_parameters())
    first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    rows, losses = rows_of(root), []
    tokens = sum(int((labels != IGNORED).sum()) for _, labels in rows)
    for step in range(given["steps"]):
        loss = torch.stack([token_losses(model, *row).sum() for row in rows]).sum() / tokens
        losses.append(float(loss))
        model.zero_grad()
        loss.backward()
        norm = torch.stack([w.grad.square().sum() for w in weights.values()]).sum().sqrt()
        scale = min(1.0, given["maxGradNorm"] / float(norm))
        for name, weight in weights.items():
            adam(weight, scale * weight.grad, (first[name], second[name]), step, given)
    trained = AutoModelForCausalLM.from_pretrained(root / "formula", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(root / "exact", dtype=torch.float32).state_dict()
    theirs = trained.state_dict()
    return {
        "losses": losses,
        "difference": max(float((theirs[name] - w).abs().max()) for name, w in weights.items()),
        "change": min(float((base[name] - w).abs().max()) for name, w in weights.items()),
    }


@torch.no_grad()
def adam(
    weight: Any, gradient: Any, means: tuple[torch.Tensor, torch.Tensor], step: int, given: dict[str, Any]
) -> None:
    """One step of AdamW (arXiv 1711.05101); norms and biases do not decay."""
    rate, (one, two) = learning_rate(step, given), (0.9, 0.95)
    means[0].mul_(one).add_((1 - one) * gradient)
    means[1].mul_(two).add_((1 - two) * gradient.square())
    if weight.dim() > 1:
        weight.mul_(1 - rate * given["weightDecay"])
    direction = means[0] / (1 - one ** (step + 1))
    weight.sub_(rate * direction / ((means[1] / (1 - two ** (step + 1))).sqrt() + 1e-8))


def merge(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    adapters = load_file(Path(given["adapter"]) / "adapter_model.safetensors")
    base, merged = load_file(root / "tied/model.safetensors"), load_file(root / "merged/model.safetensors")
    assert base.keys() == merged.keys()
    wanted = {name: weight.float() for name, weight in base.items()}
    names = [name for name in adapters if name.endswith(".lora_A.weight")]
    for name in names:
        target = name.removeprefix("base_model.model.").replace(".lora_A", "")
        product = adapters[name.replace("lora_A", "lora_B")].float() @ adapters[name].float()
        wanted[target] = wanted[target] + given["alpha"] / given["rank"] * product
    difference = max(
        float((merged[n].float() - w.to(merged[n].dtype).float()).abs().max()) for n, w in wanted.items()
    )
    change = max(float((merged[name].float() - base[name].float()).abs().max()) for name in base)
    return {"adapters": len(names), "difference": difference, "change": change}


def main(what: str, root: str, given: str) -> None:
    torch.set_num_threads(1)
    path = Path(given)
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({"train": train, "merge": merge}[what](Path(root), settings)), encoding="utf-8"
    )


main(*sys.argv[1:])
