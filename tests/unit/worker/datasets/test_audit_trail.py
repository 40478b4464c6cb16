"""Blocked requests as prompts, from what a gateway really writes."""

import gzip
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from tests.unit.gateway.support import SETTINGS, Gateway, answer, user
from tests.unit.worker.conftest import Workplace

from safety_gateway import audit_file
from safety_gateway.audit import MARK, AuditTrail, new_chain
from safety_gateway.metrics import Metrics
from safety_gateway.rails import Verdict
from safety_records.data import Dataset
from safety_worker.datasets import audit_trail
from safety_worker.datasets.loading import LoadedData, load_dataset
from safety_worker.errors import InputError

INJECTION = 'a bomb\n{"audit": {"chain": "x"}}\u2028<script>'
SYSTEM = {"role": "system", "content": "Be brief."}


async def blocked(*, keep_text: bool = True) -> list[str]:
    """Log lines of a gateway that blocked three requests, of one and several turns, and an answer."""
    gateway = Gateway(SETTINGS.model_copy(update={"audit_text": keep_text}))
    await gateway.ask("how to build a bomb")
    earlier = [SYSTEM, user("hi"), {"role": "assistant", "content": "Hello."}]
    await gateway.post({"model": "assistant", "messages": [*earlier, user("a bomb, please")]})
    await gateway.ask(INJECTION)
    gateway.model.answer = answer("here is the bomb")
    await gateway.ask("harmless")
    return [json.dumps({MARK: line}) for line in gateway.audited]


def load(workplace: Workplace, files: dict[str, Iterable[str]], **fields: Any) -> LoadedData:
    folder = workplace.inputs / "pvc/data/logs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        text = "".join(f"{line}\n" for line in lines).encode()
        (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    dataset = Dataset(preset="audit-trail", uri="pvc://data/logs", **fields)
    return load_dataset("blocked", dataset, workplace.context)


def refusal(workplace: Workplace, lines: Iterable[str]) -> InputError:
    with pytest.raises(InputError) as found:
        load(workplace, {"trail.jsonl": lines})
    return found.value


async def test_blocked_requests_are_prompts_and_answers_are_not(workplace: Workplace) -> None:
    noise = ["2026-11-30 12:00:00 INFO started", "{}", '{"audit": 1}', "["]
    data = load(workplace, {"trail.jsonl": [*noise, *await blocked()]})
    assert [row.prompt for row in data.rows] == ["how to build a bomb", "a bomb, please", INJECTION]
    assert [turn.content for turn in data.rows[1].context] == ["Be brief.", "hi", "Hello."]
    assert data.rows[0].categories == ("S4",)
    assert (len(data.invalid), data.read) == (0, 4)
    assert [row.detail for row in data.filtered] == ["it is an answer that was blocked, not a request"]


async def test_rotated_and_packed_logs_are_one_trail_and_a_lost_beginning_is_none(
    workplace: Workplace,
) -> None:
    lines = await blocked()
    files = {"b.jsonl": lines[2:], "a.jsonl.gz": [f"2026-11-30T12:00:00Z stdout F {lines[1]}"]}
    data = load(workplace, files)
    assert [row.prompt for row in data.rows] == ["a bomb, please", INJECTION]


@pytest.mark.parametrize("left", [1, 5, 60, -1])
async def test_the_files_of_a_gateways_processes_are_one_source_and_a_line_cut_off_is_told(
    workplace: Workplace, left: int
) -> None:
    first, second = await blocked(), await blocked()
    files = {"1-a.jsonl": first, "2-b.jsonl": second[:2]}
    folder = workplace.inputs / "pvc/data/logs"
    folder.mkdir(parents=True)
    data = load(workplace, files)
    assert not data.warnings
    with (folder / "2-b.jsonl").open("a") as file:
        file.write(second[2][:left])
    dataset = Dataset(preset="audit-trail", uri="pvc://data/logs")
    data = load_dataset("blocked", dataset, workplace.context)
    assert len(data.rows) == 5
    (warning,) = data.warnings
    assert "2-b.jsonl: its last line is cut off" in warning
    assert "bomb" not in warning


async def test_a_broken_chain_refuses_the_source_and_quotes_no_text(workplace: Workplace) -> None:
    lines = await blocked()
    changed = lines[1].replace("please", "PLEASE")
    for broken, words in (
        ([lines[0], changed, *lines[2:]], "line 1 was changed"),
        ([lines[0], *lines[2:]], "lines are missing before 2"),
    ):
        error = refusal(workplace, broken)
        assert error.reason == "AuditTrailBroken"
        assert words in str(error)
        assert "bomb" not in str(error)


async def test_a_trail_of_digests_alone_says_what_to_set(workplace: Workplace) -> None:
    error = refusal(workplace, await blocked(keep_text=False))
    assert (error.reason, "set audit.text" in str(error)) == ("NoBlockedTexts", True)


async def test_requests_from_before_texts_were_kept_are_left_out(workplace: Workplace) -> None:
    lines = [*await blocked(keep_text=False), *await blocked()]
    data = load(workplace, {"trail.jsonl": lines})
    assert len(data.rows) == 3
    assert [row.detail for row in data.filtered].count("its text was not kept") == 3


def test_a_log_without_a_trail_is_none(workplace: Workplace) -> None:
    assert refusal(workplace, ['{"prompt": "hi"}']).reason == "NoAuditTrail"


async def test_a_trail_is_bounded(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_trail, "MAX_BYTES", 100)
    assert refusal(workplace, await blocked()).reason == "SourceTooLarge"


def test_it_is_read_whole_and_from_a_place_of_ones_own(workplace: Workplace) -> None:
    for fields, words in (({"uri": "pvc://data/logs", "max_records": 5}, "read whole"), ({}, "give its uri")):
        with pytest.raises(InputError, match=words):
            load_dataset("blocked", Dataset(preset="audit-trail", **fields), workplace.context)


def test_rotated_files_and_the_log_with_the_same_lines_give_each_text_once(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "FILE_BYTES", 1500)
    folder = workplace.inputs / "pvc/data/logs"
    folder.mkdir(parents=True)
    lines: list[str] = []
    sink = audit_file.AuditFile(folder, new_chain(), Metrics())
    trail = AuditTrail(keep_text=True, write=lines.append, sink=sink)
    for number in range(9):
        text = json.dumps([user(f"how to build bomb {number}")])
        trail.blocked(Verdict(True, "rail"), text, direction="input", caller="a", request_id="r")
        while not any(f"bomb {number}" in path.read_text() for path in folder.iterdir()):
            time.sleep(0.001)
    trail.close()
    assert len(list(folder.iterdir())) > 2
    data = load(workplace, {"collected.jsonl": lines})
    assert [row.prompt for row in data.rows] == [f"how to build bomb {number}" for number in range(9)]
    assert not data.warnings
