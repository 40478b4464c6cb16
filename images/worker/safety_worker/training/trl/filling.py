"""A pass over rows by several processes in which each row counts once.

All processes need as many batches of the same size. accelerate fills the last ones up with rows from the
beginning, which then count twice; here they get a row of which nothing is learnt.
"""

import math
from collections.abc import Iterator
from typing import Any

from datasets import Dataset, concatenate_datasets
from torch.utils.data import BatchSampler

from safety_worker.training.data import IGNORED


class FilledBatches(BatchSampler):
    """Batches of row numbers, with the number ``blank`` in every place that is left.

    Parameters
    ----------
    batches
        The last one may be smaller.
    blank
        Number of the row of which nothing is learnt.
    processes
        The number of batches is a multiple of it.
    """

    def __init__(self, batches: BatchSampler, blank: int, processes: int) -> None:
        super().__init__(batches.sampler, batches.batch_size, drop_last=False)
        self._batches, self._blank, self._processes = batches, blank, processes

    def __iter__(self) -> Iterator[list[int]]:
        """All batches of a pass."""
        for batch in self._batches:
            yield [*batch, *[self._blank] * (self.batch_size - len(batch))]
        for _ in range(-len(self._batches) % self._processes):
            yield [self._blank] * self.batch_size

    def __len__(self) -> int:
        """Batches of a pass."""
        return math.ceil(len(self._batches) / self._processes) * self._processes


def with_blank(rows: Dataset) -> Dataset:
    """The rows, and one more of which nothing is learnt."""
    blank = Dataset.from_list([without_labels(rows[0])], features=rows.features)
    return concatenate_datasets([rows, blank])


def without_labels(row: dict[str, Any]) -> dict[str, Any]:
    """A row of which nothing is learnt."""
    return row | {"labels": [IGNORED] * len(row["labels"])}
