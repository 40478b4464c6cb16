"""How tests ask a fake server in the generate stage, and what it left."""

import json
from collections.abc import Callable
from typing import Any

from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_model_server import FakeModelServer, Reply, Words
from tests.unit.worker.support.server_kinds import (
    Kind,
    when,
)

from safety_records.result import StageResult
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.shards import read_rows
from safety_worker.rows import GeneratedRow

HASTY = RetryPolicy(ready_seconds=60.0, retry_seconds=1.0, request_seconds=30.0, first_delay_seconds=0.01)


ANSWER = Reply("a polite answer")


Run = Callable[..., StageResult]


def rows(workplace: Workplace) -> dict[str, GeneratedRow]:
    found = read_rows(workplace.folder("generate"), "rows", GeneratedRow).values()
    return {row.prompt: row for row in found}


def fake(kind: Kind) -> FakeModelServer:
    return FakeModelServer(lambda *_: ANSWER, lists=kind.lists, refuses=kind.refuses)


def refusing(words: Words, *, only: Callable[[dict[str, Any]], bool] = lambda _: True) -> FakeModelServer:
    return FakeModelServer(lambda *_: ANSWER, refuses=when(only, words))


def encoded(words: Words) -> tuple[int, bytes]:
    status, said = words
    return status, (said if isinstance(said, str) else json.dumps(said)).encode()
