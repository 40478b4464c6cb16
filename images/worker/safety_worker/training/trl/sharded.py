"""TRL's trainer, with what several processes need: sharded checkpoints, and a loss over all their tokens.

The only module that overrides methods of ``transformers.Trainer`` that are not meant for it; their names and
meaning are those of the release that the image is locked to.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.utils.data import DataLoader
from transformers import TrainerControl
from trl import SFTTrainer

from safety_worker.training.data import IGNORED
from safety_worker.training.rendezvous import Peers
from safety_worker.training.trl.filling import FilledBatches, with_blank, without_labels
from safety_worker.training.trl.saving import Saving

STATE = "state"
"""Folder of a checkpoint with the shards of weights and optimizer."""

SCHEDULER = "scheduler.pt"
"""The trainer's own name for the state of the learning rate."""

OPTIMIZER = "optimizer.pt"
"""Its name for that of the optimizer."""

NUMBERS = 3
"""Kept of each trained weight: itself and AdamW's two means."""


class Trainer(SFTTrainer):
    """Trains one model in several processes.

    Parameters
    ----------
    peers
        The processes.
    shards
        Whether each process keeps a part of the weights only, and of the optimizer.
    adapters
        Whether adapters are trained, which each process keeps whole.
    saving
        How checkpoints are written.
    arguments
        Those of ``trl.SFTTrainer``.
    """

    control: TrainerControl

    def __init__(
        self, *, peers: Peers, shards: bool, adapters: bool, saving: Saving, **arguments: Any
    ) -> None:
        self._peers = peers
        self._saving = saving
        self._adapters = adapters
        self._shards = shards and not adapters
        self._saves_adapters = shards and adapters
        super().__init__(**arguments)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As the library's, but for what fills the last batches of a pass: nothing is learnt of it."""
        rows, number = self.train_dataset, self._peers.number
        if number == 1:
            return super().get_train_dataloader()
        loader: DataLoader[Any] = self._get_dataloader(
            dataset=with_blank(rows),
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=lambda _rows: self._get_train_sampler(rows),
            is_training=True,
        )
        shard: Any = loader.batch_sampler
        shard.batch_sampler = FilledBatches(shard.batch_sampler, len(rows), number)
        return loader

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Mean loss of the validation rows' answers, over all their tokens: not the mean of batches' means.

        Each process takes every n-th row. Where one has a batch less than others, it takes rows without
        labels, because all have to ask a sharded model as often.
        """
        rows, place = self.eval_dataset, self._peers.place
        assert rows is not None
        size, batches = self._eval_batch(len(rows))
        self.model.eval()
        loss = tokens = 0.0
        for number in range(batches):
            first = number * size
            mine = [place.rank + place.world_size * index for index in range(first, first + size)]
            chosen = [rows[index] for index in mine if index < len(rows)]
            found = self._sum_loss(chosen or [without_labels(rows[0])])
            loss, tokens = loss + found[0], tokens + found[1]
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        loss, tokens = self._peers.total((loss, tokens))
        metrics = {"eval_loss": loss / tokens if tokens else math.nan}
        self.log(metrics)
        self.model.train()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _eval_batch(self, rows: int) -> tuple[int, int]:
        """Rows of a batch, and batches of each process."""
        size = self.args.per_device_eval_batch_size
        return size, math.ceil(math.ceil(rows / self._peers.number) / size)

    def _sum_loss(self, rows: list[dict[str, Any]]) -> tuple[float, float]:
        """Sum of the loss over tokens that count, and their number."""
        inputs = self._prepare_inputs(self.data_collator(rows))
        tokens = int((inputs["labels"][:, 1:] != IGNORED).sum())
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(self.model, inputs)
        return float(loss) * tokens, float(tokens)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Put a checkpoint together; a large one is written behind the training, adapters never."""
        weights = () if self._adapters else self.model.parameters()
        size = NUMBERS * sum(weight.numel() * weight.element_size() for weight in weights)
        self._saving.begin(size, spread=self._shards)
        super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as the library does; of a sharded model every process saves its part, the optimizer's too."""
        assert output_dir is not None
        if self._shards:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            self._saving.write(self._state(), partial(_write_shards, Path(output_dir) / STATE))
        elif not self._saves_adapters:
            self._save_whole(output_dir)
        elif self.args.should_save:  # the library would gather the base's shards, which needs all processes
            trained = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
            self.model.save_pretrained(output_dir, state_dict=trained, save_embedding_layers=False)

    def _save_whole(self, folder: str) -> None:
        if not self.args.should_save:
            return
        if not self._saving.behind:
            self._save(folder)
            return
        self._saving.write(self.model.state_dict(), lambda state, _group: self._save(folder, state))

    def _state(self) -> dict[str, Any]:
        optimizer = self._plain_optimizer()
        return {
            "model": get_model_state_dict(self.model),
            "optimizer": get_optimizer_state_dict(self.model, optimizer),
        }

    def _plain_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer inside of accelerate's, which leaves steps out where gradients are not complete."""
        optimizer: torch.optim.Optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return optimizer

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        folder = Path(output_dir)
        if not self.args.should_save:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not self._shards:
            self._saving.write(
                self.optimizer.state_dict(), lambda state, _group: torch.save(state, folder / OPTIMIZER)
            )
        torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._shards:  # else with the optimizer, once there is one
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self._shards or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = self._state()
        dcp.load(state, checkpoint_id=Path(checkpoint) / STATE)
        set_model_state_dict(self.model, state["model"])
        set_optimizer_state_dict(self.model, self._plain_optimizer(), state["optimizer"])
        scheduler = torch.load(Path(checkpoint) / SCHEDULER, weights_only=True)
        self.lr_scheduler.load_state_dict(scheduler)


def _write_shards(folder: Path, state: Any, group: ProcessGroup | None) -> None:
    """With a ``group`` the state is a copy in the pod's memory: nothing is copied ahead, by way of a GPU."""
    writer = FileSystemWriter(folder) if group is None else FileSystemWriter(folder, per_thread_copy_ahead=0)
    dcp.save(state, checkpoint_id=folder, storage_writer=writer, process_group=group)


def own_files(names: list[str], rank: int) -> list[str]:
    """Files of a checkpoint that a process wrote: its shard and random state; the first one, all others."""
    shards, states = f"{STATE}/__", "rng_state_"
    mine = {name for name in names if name.startswith(f"{shards}{rank}_") or name == f"{states}{rank}.pth"}
    shared = set() if rank else {name for name in names if not name.startswith((shards, states))}
    return sorted(mine | shared)
