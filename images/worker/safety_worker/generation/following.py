"""Reading answers while they are still being written: judging follows generation without a barrier.

Used by the judge stage. What it sees early it may see again in another form: a machine that loses power may
lose answers of its last second, which are then asked for once more. So the last word is the complete
folder, and rows that differ from what was seen before are given again.
"""

import asyncio
from collections.abc import AsyncIterator

from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InfrastructureError
from safety_worker.generation.shards import RowTail, read_rows
from safety_worker.rows import GeneratedRow

POLL_SECONDS = 0.5
"""How often a growing folder is read. Judges work for longer on a row."""

PREFIX = "rows"
"""Of the shard files of answers."""


def is_finished(store: ArtifactStore, generated: str, inputs_hash: str) -> bool:
    """Whether a stage's folder is finished.

    Raises
    ------
    InfrastructureError
        If it is the finished folder of another stage.
    """
    manifest = store.manifest(generated)
    if manifest is None:
        return False
    if manifest.inputs_hash != inputs_hash:
        raise InfrastructureError(
            "WrongArtifact", f"{generated} was made for other inputs: delete it, so that it is made again"
        )
    return True


def read_generated(store: ArtifactStore, generated: str) -> dict[str, GeneratedRow]:
    """All rows of a complete folder, by key.

    Raises
    ------
    InfrastructureError
        If it is not complete, or damaged.
    """
    return read_rows(store.input(generated), PREFIX, GeneratedRow)


async def follow_rows(
    store: ArtifactStore, generated: str, inputs_hash: str
) -> AsyncIterator[list[GeneratedRow]]:
    """Rows in the chunks in which they come, until the folder is complete.

    The same row comes twice only if its content has changed. Waits for as long as the other stage takes:
    the operator ends this one if that one fails, and the Job's deadline holds for both.

    Parameters
    ----------
    store, generated
        Where the other stage writes.
    inputs_hash
        Its inputs hash; empty: it has to be complete already.
    """
    tail = RowTail(store.path(generated), PREFIX, GeneratedRow)
    seen: dict[str, str] = {}
    while inputs_hash and not is_finished(store, generated, inputs_hash):
        fresh = {row.key: row for row in reversed(tail.read()) if row.key not in seen}
        seen |= {key: row.answer_digest for key, row in fresh.items()}
        if fresh:
            yield list(fresh.values())
        else:
            await asyncio.sleep(POLL_SECONDS)
    final = read_generated(store, generated).values()
    yield [row for row in final if seen.get(row.key) != row.answer_digest]
