"""How processes find each other, and what they tell each other besides tensors. Knows torch.

All go through one store, at the address of the first node. Waiting for a peer ends with a reason.
"""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from safety_worker.errors import InfrastructureError, PeerLostError
from safety_worker.training.ranks import Node, ProcessRank

PEER_SECONDS = 600
"""How long peers are waited for: pods of one Job may be scheduled and pull their image minutes apart."""

PEER_SECONDS_VARIABLE = "SAFETY_PEER_SECONDS"
"""Variable with another number of seconds, for runs by hand."""

QUIET_SECONDS = 1800
"""How long an exchange with others may take at least: one of them may write a checkpoint, or read the model.
A step that hangs is ended by the watchdog."""

CONNECT_SECONDS = 5.0
"""How long one try to reach the first node may take: SIGTERM is heard between two."""

LAUNCHER_VARIABLE = "TORCHELASTIC_RUN_ID"
"""What only torchrun's launcher sets."""

POLL_SECONDS = 0.2
FINISHED = "finished"
LEAVE_SECONDS = 60
"""How long the first process waits for the others to read that it is finished."""

CPU = torch.device("cpu")
ALONE = ProcessRank()

SIGNS_OF_LOSS = (
    "gloo/transport",
    "Connection reset by peer",
    "Broken pipe",
    "ncclRemoteError",
    "remote process exited",
    "failed to recv, got 0 bytes",
)
"""What messages of gloo, NCCL and the store have where a process at the other end is gone."""

T = TypeVar("T")


def peer_seconds(environment: Mapping[str, str]) -> float:
    """How long peers are waited for."""
    return float(environment.get(PEER_SECONDS_VARIABLE, PEER_SECONDS))


def gather_nodes(node: Node, seconds: float) -> dist.TCPStore:
    """Wait until every node is there; gives the store that all of them see.

    Raises
    ------
    InfrastructureError
        If not all came in time, naming how many did.
    """
    deadline = time.monotonic() + seconds
    store = _reach(node, seconds)
    store.set(f"node-{node.number}", "here")
    while (missing := [index for index in range(node.nodes) if not store.check([f"node-{index}"])]) != []:
        if time.monotonic() > deadline:
            here = node.nodes - len(missing)
            names = ", ".join(map(str, missing))
            raise InfrastructureError(
                "PeersMissing",
                f"{here} of {node.nodes} pods came within {seconds:.0f} s (missing: {names}): look at their "
                "events; all of them need a node at the same time, for which Kueue can wait (spec.queueName)",
            )
        time.sleep(POLL_SECONDS)
    return store


def _reach(node: Node, seconds: float) -> dist.TCPStore:
    """Open the store, which then waits for values as long as for the first node."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            store = _open(node, min(seconds, CONNECT_SECONDS))
        except dist.DistError as error:
            if node.number == 0 or time.monotonic() > deadline:
                raise InfrastructureError(
                    "PeersMissing",
                    f"1 of {node.nodes} pods came within {seconds:.0f} s: the first one, {node.address}, "
                    "does not answer; look at its events",
                ) from error
        else:
            store.set_timeout(timedelta(seconds=seconds))
            return store
        time.sleep(POLL_SECONDS)


def _open(node: Node, seconds: float) -> dist.TCPStore:
    return dist.TCPStore(
        node.address,
        int(node.port),
        is_master=node.number == 0,
        timeout=timedelta(seconds=seconds),
        wait_for_workers=False,
        multi_tenant=True,  # the launcher opens it once more
    )


def join(place: ProcessRank, node: Node, *, on_gpu: bool, step_seconds: int | None) -> dist.TCPStore:
    """Open the process group of all processes; gives the store that they share."""
    if on_gpu:
        torch.cuda.set_device(place.local_rank)
    if LAUNCHER_VARIABLE in os.environ:  # it has waited for the nodes, and keeps the store open
        first = Node(1, node.nodes, os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])
        store = _reach(first, PEER_SECONDS)
    else:
        store = gather_nodes(node, peer_seconds(os.environ))
    run = os.environ.get(LAUNCHER_VARIABLE, "train")
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=dist.PrefixStore(f"group-{run}", store),
        rank=place.rank,
        world_size=place.world_size,
        timeout=timedelta(seconds=max(step_seconds or 0, QUIET_SECONDS)),
        device_id=torch.device("cuda", place.local_rank) if on_gpu else None,
    )
    return store


class Peers:
    """All processes of a training, and how they agree. A single process is there by itself.

    Parameters
    ----------
    place
        Which of them this is.
    store
        What :func:`join` gives; None for a single process.
    group
        In which they meet; None: that of the training.
    """

    def __init__(
        self,
        place: ProcessRank = ALONE,
        store: dist.TCPStore | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.place = place
        self._store = store
        self.group = group

    def apart(self) -> "Peers":
        """The same processes in a group of its own, for a thread; all have to ask for it at the same time."""
        if self._store is None:
            return self
        group = dist.new_group(backend="gloo", timeout=timedelta(seconds=QUIET_SECONDS))
        return Peers(self.place, self._store, group)

    @property
    def number(self) -> int:
        """Of processes."""
        return self.place.world_size

    def from_first(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self._store is None:
            return value
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0, device=CPU, group=self.group)
        return cast("T", values[0])

    def of_all(self, value: T) -> list[T]:
        """The values of all, by rank."""
        if self._store is None:
            return [value]
        values: list[Any] = [None] * self.number
        dist.all_gather_object(values, value, group=self.group)
        return values

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest value of each position over all processes."""
        if self._store is None:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.group)
        return cast("list[float]", tensor.tolist())

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum of each position over all processes."""
        if self._store is None:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self.group)
        return cast("list[float]", tensor.tolist())

    def finish(self) -> None:
        """Leave the group; the others go on once the first process comes here, however long that takes.

        Raises
        ------
        PeerLostError
            If the first process is gone.
        """
        if self._store is None:
            return
        dist.destroy_process_group()
        if self.place.is_first:
            self._store.set(FINISHED, "yes")
            self._await_leave(self._store)
            return
        try:
            while not self._store.check([FINISHED]):
                time.sleep(POLL_SECONDS)
            self._store.set(f"{FINISHED}-{self.place.rank}", "yes")
        except RuntimeError as error:
            raise PeerLostError("PeerLost", "the first process ended while it exported the model") from error

    def _await_leave(self, store: dist.TCPStore) -> None:
        """Keep the store open until the others have read it; they end well without, a pod later."""
        keys = [f"{FINISHED}-{rank}" for rank in range(1, self.number)]
        deadline = time.monotonic() + LEAVE_SECONDS
        while not store.check(keys) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error of torch says that another process is gone, or did not answer."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_LOSS)
