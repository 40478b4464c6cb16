"""Where training begins: all processes agree on it, because each may see another state of a shared disk."""

from dataclasses import dataclass, replace
from pathlib import Path

from safety_records.finetune_stages import TrainStage
from safety_records.training import Strategy
from safety_worker.errors import InputError
from safety_worker.training.checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    find_damage,
    list_checkpoints,
    read_marker,
    remove,
    remove_incomplete,
)
from safety_worker.training.planning import TrainPlan
from safety_worker.training.records import (
    METRICS_NAME,
    Validated,
    count_resume,
    read_metrics,
    read_resumes,
    read_steps,
    read_validated,
)
from safety_worker.training.rendezvous import Peers


@dataclass(frozen=True)
class Start:
    """What is there already."""

    last: Checkpoint | None
    """To continue from; None: from the beginning."""
    resumes: int
    validated: Validated
    """By the measurements until then."""
    warnings: tuple[str, ...]
    total: int
    """Steps in all; of packed rows only a process knows it that has packed them."""
    unmeasured: bool = False
    """Whether the validation loss of its step is due: SIGTERM came before it was measured."""

    @property
    def step(self) -> int:
        """Steps that are made."""
        return self.last.step if self.last else 0

    def is_over(self, spec: TrainStage) -> bool:
        """Whether no step is left to make."""
        done = self.step >= self.total or self.validated.stops_after(spec.early_stop_after)
        return done and not self.unmeasured


def decide_start(spec: TrainStage, work: Path, plan: TrainPlan, peers: Peers, *, validate: bool) -> Start:
    """Find the newest checkpoint whose files are sound; what is damaged or half written is removed.

    ``validate``: whether there are validation rows.

    Raises
    ------
    InputError
        If it was written by another strategy.
    """
    folder = work / CHECKPOINTS
    if peers.place.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        remove_incomplete(folder)
    last, warnings = _find_sound(folder, peers)
    if last is not None:
        _check_strategy(strategy_of(spec, peers), last)
    found: Start | None = None
    if peers.place.is_first:
        lines = [line for line in read_metrics(work / METRICS_NAME) if last and line["step"] <= last.step]
        total = read_steps(work) if spec.packing and last else plan.steps
        found = Start(last, read_resumes(work), read_validated(lines), warnings, total)
        due = found.step >= total or found.step % spec.validation_steps == 0
        measured = any(line["step"] == found.step and "validation_loss" in line for line in lines)
        found = replace(found, unmeasured=bool(last and validate and due and not measured))
        if last is not None and not found.is_over(spec):
            found = replace(found, resumes=count_resume(work))
    start = peers.from_first(found)
    assert start is not None
    return start


def _find_sound(folder: Path, peers: Peers) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """Each process reads a part of the files again."""
    warnings: list[str] = []
    while True:
        found = list_checkpoints(folder) if peers.place.is_first else []
        last = peers.from_first(max(found, default=None))
        if last is None:
            return None, tuple(warnings)
        damaged = [name for names in peers.of_all(find_damage(last.path, *_share(peers))) for name in names]
        if not damaged:
            return last, tuple(warnings)
        warnings.append(
            f"checkpoint {last.step} was damaged ({damaged[0]} is not what was written) and was not used"
        )
        if peers.place.is_first:
            remove(last)


def _share(peers: Peers) -> tuple[int, int]:
    return peers.place.rank, peers.number


def strategy_of(spec: TrainStage, peers: Peers) -> Strategy:
    """How the processes that are there share the model: a single one has all of it."""
    return spec.strategy if peers.number > 1 else "ddp"


def _check_strategy(strategy: Strategy, last: Checkpoint) -> None:
    """A checkpoint of another number of processes is spread anew; one of another strategy cannot be read."""
    written = (read_marker(last.path) or {}).get("strategy", strategy)
    if written != strategy:
        raise InputError(
            "OtherStrategy",
            f"checkpoint {last.step} was written by strategy {written} and cannot be continued by "
            f"{strategy}: set compute.strategy: {written}, or remove {last.path.parent.parent.name}",
        )
