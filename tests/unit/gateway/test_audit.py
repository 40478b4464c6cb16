import hashlib
import json
from typing import Any

import pytest
from tests.unit.gateway.support import SETTINGS, Gateway, answer, user

from safety_gateway.audit import FIRST, MARK, AuditTrail, line_hash
from safety_gateway.rails import Verdict


def trail(**options: Any) -> tuple[AuditTrail, list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    return AuditTrail(write=lambda line: lines.append(json.loads(line)[MARK]), **options), lines


def test_lines_form_a_chain():
    audit, lines = trail()
    for number in range(3):
        audit.blocked(
            Verdict(True, "rail", ("S1",)), f"text {number}", direction="input", caller="a", request_id="r"
        )
    assert [line["number"] for line in lines] == [0, 1, 2]
    assert [line["previous"] for line in lines] == [FIRST, lines[0]["hash"], lines[1]["hash"]]
    assert all(line["hash"] == line_hash(line) for line in lines)
    assert lines[1]["digest"] == f"sha256:{hashlib.sha256(b'text 1').hexdigest()}"
    changed = lines[1] | {"caller": "b"}
    assert line_hash(changed) != lines[1]["hash"]


def test_a_text_stands_in_a_line_only_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]):
    verdict = Verdict(True, "rail")
    AuditTrail().blocked(verdict, "my diagnosis", direction="output", caller="", request_id="")
    assert "diagnosis" not in capsys.readouterr().out
    AuditTrail(keep_text=True).blocked(
        verdict, "a\nb\u2028\ud800", direction="output", caller="", request_id=""
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)[MARK]["text"] == "a\nb\u2028\ud800"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_blocked_answer_is_in_the_trail(streamed: bool):
    gateway = Gateway(SETTINGS.model_copy(update={"audit_text": True}))
    gateway.model.answer = answer("a bomb")
    headers = {"X-Request-Id": "mine-1"}
    body = {"model": "assistant", "messages": [user("hi")], "stream": streamed}
    async with gateway.client() as client:
        response = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.headers["x-request-id"] == "mine-1"
    (line,) = gateway.audited
    assert (line["direction"], line["rail"], line["text"]) == ("output", "output rail", "a bomb")
    assert (line["request"], line["caller"]) == ("mine-1", "anybody")


@pytest.mark.parametrize("given", ["a b", "x" * 129, "a\u00fc", '"}', ""])
async def test_an_id_that_would_spoil_a_log_is_replaced(given: str):
    async with Gateway().client() as client:
        response = await client.get("/v1/health", headers={"X-Request-Id": given.encode("latin-1")})
    assert len(response.headers["x-request-id"]) == 32
