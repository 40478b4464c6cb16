"""The process that counts nodes, with a client that answers as a test wants."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from safety_worker.ray_launcher import nodes


class RpcError(Exception):
    """As Ray raises where no head answers."""


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the head answers in turn: nodes' states, or an error to raise."""
    found: list[Any] = []

    def answer(timeout: float) -> dict[str, Any]:
        item = found.pop(0)
        if isinstance(item, Exception):
            raise item
        return {str(n): SimpleNamespace(state=state) for n, state in enumerate(item)}

    client, errors = ModuleType("ray._raylet"), ModuleType("ray.exceptions")
    client.GcsClient = lambda address: SimpleNamespace(get_all_node_info=answer)  # type: ignore[attr-defined]
    errors.RpcError = RpcError  # type: ignore[attr-defined]
    for name, module in (("ray", ModuleType("ray")), ("ray._raylet", client), ("ray.exceptions", errors)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(nodes.time, "sleep", lambda _seconds: None)
    return found


def test_a_head_that_starts_slowly_is_waited_for_and_one_that_is_gone_ends_the_count(
    answers: list[Any], capsys: pytest.CaptureFixture[str]
):
    answers += [RpcError("no head yet"), RpcError("no head yet"), [0], [0], [0, 0, 1], RpcError("gone")]
    with pytest.raises(RpcError, match="gone"):
        nodes.main("host:6379", 1)
    assert capsys.readouterr().out.splitlines() == ["1", "2"]
