"""What garak is told of answers without text."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safety_worker.empty_answers import EmptyReason
from safety_worker.scanning.launcher import require_text


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of garak's generator, of a fake that is gone after the test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).with_name("fake_garak")), *sys.path])
    yield importlib.import_module("garak.generators.openai").OpenAICompatible
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "garak":
            del sys.modules[name]


def test_an_answer_without_text_is_no_answer_and_why_is_noted(generator: Any, tmp_path: Path) -> None:
    require_text("</think>", str(tmp_path / "notes"))
    texts = ["thought</think>an answer", "thought that never ends", "thought</think>", ""]
    outputs = [None, *(SimpleNamespace(text=text) for text in texts)]

    kept = generator._post_generate_hook(generator, outputs)

    assert kept == [None, outputs[1], None, None, None]
    notes = (tmp_path / "notes").read_text(encoding="utf-8").splitlines()
    assert notes == [EmptyReason.REFUSED, EmptyReason.UNFINISHED, EmptyReason.EMPTY, EmptyReason.EMPTY]
