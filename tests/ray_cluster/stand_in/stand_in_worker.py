"""What each node does in the stand-in for NeMo-RL: its share of every batch, and of every checkpoint.

A module of its own, which Ray's workers import; the driver's own classes would be copied to them.
"""

import json
import random
import socket
import time
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORED = -100
WEIGHTS, OPTIMIZER = "policy/weights/model", "policy/optimizer/optim"


def read_rows(path: str, tokenizer: Any, longest: int) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels of each row: parts are tokenised apart, and the assistant's are learnt."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        ids: list[int] = []
        labels: list[int] = []
        for part in json.loads(line)["messages"]:
            tokens = tokenizer(part["content"], add_special_tokens=False)["input_ids"]
            ids += tokens
            labels += tokens if part["role"] == "assistant" else [IGNORED] * len(tokens)
        rows.append((ids[:longest], labels[:longest]))
    return rows


def batch_of(config: dict[str, Any], count: int, step: int) -> list[int]:
    """Numbers of the rows of a step, from 0; an epoch has whole batches only."""
    size = config["policy"]["train_global_batch_size"]
    epoch, place = divmod(step, count // size)
    order = list(range(count))
    random.Random(config["sft"]["seed"] + epoch).shuffle(order)
    return order[place * size : (place + 1) * size]


class Worker:
    """One process of the training."""

    def address(self) -> tuple[str, int]:
        """Where the processes may meet, if this is the first."""
        host = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            return host, free.getsockname()[1]

    def start(self, config: dict[str, Any], rank: int, world: int, meeting: str, last: str) -> None:
        """Join the others, and load what the last checkpoint has, or the base."""
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
        policy = config["policy"]
        self.config, self.rank, self.world = config, rank, world
        tokenizer = AutoTokenizer.from_pretrained(policy["model_name"])
        self.rows = read_rows(
            config["data"]["train"]["data_path"], tokenizer, policy["max_total_sequence_length"]
        )
        self.model = AutoModelForCausalLM.from_pretrained(policy["model_name"], dtype=torch.float32)
        known = policy["optimizer"]["kwargs"]
        wanted = {name: known[name] for name in ("lr", "betas", "eps", "weight_decay") if name in known}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **wanted)
        if last:
            self._load(Path(last))

    def _load(self, folder: Path) -> None:
        parts: dict[str, list[torch.Tensor]] = {}
        for path in sorted((folder / WEIGHTS).glob("*.safetensors")):
            for name, tensor in load_file(path).items():
                parts.setdefault(name, []).append(tensor)
        self.model.load_state_dict({name: torch.cat(tensors) for name, tensors in parts.items()})
        self.optimizer.load_state_dict(torch.load(folder / OPTIMIZER / "state.pt", weights_only=True))

    def step(self, number: int) -> dict[str, float]:
        """Train one batch, of which each process has its share."""
        began = time.monotonic()
        self.optimizer.zero_grad()
        total, tokens = torch.zeros(()), torch.zeros(())
        for row in batch_of(self.config, len(self.rows), number)[self.rank :: self.world]:
            ids, labels = (torch.tensor([part]) for part in self.rows[row])
            logits = self.model(input_ids=ids).logits[:, :-1].flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(
                logits, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
            )
            loss.backward()
            total, tokens = total + loss.detach(), tokens + (labels[:, 1:] != IGNORED).sum()
        dist.all_reduce(total)
        dist.all_reduce(tokens)
        for parameter in self.model.parameters():
            assert parameter.grad is not None
            dist.all_reduce(parameter.grad)
            parameter.grad /= tokens
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.config["policy"]["max_grad_norm"] or float("inf")
        )
        self.optimizer.step()
        return {
            "train__loss": float(total / tokens),
            "train__grad_norm": float(norm),
            "train__lr": self.optimizer.param_groups[0]["lr"],
            "train__global_valid_toks": float(tokens),
            "timing__train__policy_training": time.monotonic() - began,
        }

    def save(self, folder: str) -> None:
        """Write this process' rows of all weights; the first writes the optimizer's state, too."""
        weights, optimizer = Path(folder) / WEIGHTS, Path(folder) / OPTIMIZER
        for path in (weights / ".hf_metadata", optimizer):
            path.mkdir(parents=True, exist_ok=True)
        parts, places = {}, {}
        for name, tensor in self.model.state_dict().items():
            rows = -(-len(tensor) // self.world)
            part = tensor[self.rank * rows : (self.rank + 1) * rows].clone()
            if part.numel():
                parts[name] = part
                places[name] = {"saved_offsets": [self.rank * rows, *(0 for _ in tensor.shape[1:])]}
        info = {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0", "format": "pt"}
        name = f"shard-{self.rank + 1:05}-model-00001-of-00001.safetensors"
        save_file(parts, weights / name, info)
        if self.rank == 0:
            torch.save(self.optimizer.state_dict(), optimizer / "state.pt")
            (optimizer / ".metadata").write_bytes(b"stand-in")
