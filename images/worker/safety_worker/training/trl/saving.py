"""How checkpoints are written: while training waits, or behind it from a copy in the pods' memory.

Behind it, a checkpoint is complete when the last process has written its part, some steps later. Processes
meet there in a group of their own: in that of the training their messages would meet those of the next step.
At most one checkpoint is being written. What is left of one by a kill is what is left of any other.
"""

import os
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from safety_records.training import COPY_ROOM, WRITTEN_BEHIND_BYTES
from safety_worker.training.background import Background
from safety_worker.training.pod_memory import free_bytes

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

    from safety_worker.training.rendezvous import Peers

GIB = 2**30

ToDisk = Callable[[Any, "ProcessGroup | None"], None]
"""Writes a state; the group is that in which processes agree on it, None: that of the training."""


class Saving:
    """Writes the checkpoints of one training, one after the other.

    Parameters
    ----------
    peers
        The processes.
    """

    def __init__(self, peers: "Peers") -> None:
        self._peers = peers
        self._apart: Peers | None = None  # once the first checkpoint is written behind the training
        self._background = Background()
        self._writes: list[Callable[[], None]] = []
        self.waits = False
        """Whether training waits for what comes: nothing follows that could go on meanwhile."""
        self.behind = False
        """Whether the checkpoint that is being put together is written while training goes on."""
        self.warnings: tuple[str, ...] = ()
        """Why training waits though there is much to write."""

    def begin(self, size: int, *, spread: bool) -> None:
        """A checkpoint is put together; the one before is complete then.

        Parameters
        ----------
        size
            Bytes of the state, over all processes; the same in all of them.
        spread
            Whether each process keeps a part of it; else the first one writes it.

        Raises
        ------
        BaseException
            What the one before ended with.
        """
        self.finish()
        worth = not self.waits and size >= WRITTEN_BEHIND_BYTES
        self.behind = worth and self._has_room(size, spread=spread)
        if self.behind and self._apart is None:
            self._apart = self._peers.apart()

    def write(self, state: Any, to_disk: ToDisk) -> None:
        """Write a part of the checkpoint, now or behind the training."""
        if not self.behind:
            to_disk(state, None)
            return
        assert self._apart is not None
        self._writes.append(partial(to_disk, copy_of(state), self._apart.group))

    def end(self, complete: Callable[["Peers"], None]) -> None:
        """All parts are given; ``complete`` is done once they are on disk, in all processes."""
        writes, self._writes = self._writes, []
        if not self.behind:
            complete(self._peers)
            return
        assert self._apart is not None
        self._background.start(partial(_write_all, writes, complete, self._apart))

    def check(self) -> bool:
        """Whether a checkpoint was completed behind the training since it was last asked.

        Raises
        ------
        BaseException
            What its writing ended with.
        """
        return self._background.is_over and self._background.finish()

    def finish(self, seconds: float | None = None) -> bool:
        """Wait until no checkpoint is being written, ``seconds`` at most; gives whether that is so.

        Raises
        ------
        BaseException
            What its writing ended with.
        """
        return self._background.finish(seconds)

    def _has_room(self, size: int, *, spread: bool) -> bool:
        """Whether the copies have room in the memory of every pod."""
        own = size // self._peers.number if spread else size * self._peers.place.is_first
        taken = own * (int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if spread else 1)
        (lacking,) = self._peers.largest((taken * COPY_ROOM - free_bytes(),))
        if lacking > 0 and not self.warnings:
            told = (
                f"training waited for its checkpoints of {size / GIB:.1f} GiB: to write them while it goes "
                f"on, training pods would need {lacking / GIB:.1f} GiB more memory"
            )
            self.warnings = (told,)
        return lacking <= 0


def copy_of(state: Any, copies: dict[tuple[Any, ...], Any] | None = None) -> Any:
    """A state in the pod's memory, which the next step does not change.

    Weights that are tied in it, such as input and output embeddings, are tied in the copy, too: ``copies``
    has the copy of each tensor so far, by where it is in memory and its shape.

    Not by the stager of torch's ``async_save``: on float32 weights, which are as they were loaded from their
    file, it fails ("invalid python storage").
    """
    import torch  # noqa: PLC0415 - torch comes late

    copies = {} if copies is None else copies
    match state:
        case dict():
            return {key: copy_of(value, copies) for key, value in state.items()}
        case list():
            return [copy_of(value, copies) for value in state]
        case torch.Tensor():
            key = _place_of(state)
            if key not in copies:
                tensor = state.detach()
                copies[key] = tensor.clone() if tensor.device.type == "cpu" else tensor.cpu()
            return copies[key]
    return deepcopy(state)


def _place_of(tensor: "torch.Tensor") -> tuple[Any, ...]:
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - torch comes late

    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    if not local.numel():
        return (id(tensor),)  # it is nowhere
    start = (local.untyped_storage().data_ptr(), local.storage_offset())
    return (*start, tensor.dtype, tensor.shape, tensor.stride())


def _write_all(writes: list[Callable[[], None]], complete: "Callable[[Peers], None]", peers: "Peers") -> None:
    while writes:
        writes.pop(0)()  # the copy is let go as soon as it is written
    complete(peers)
