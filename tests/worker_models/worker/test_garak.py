"""The scan stage with the real garak against a fake of a model server: the traps that only garak can show."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_worker.errors import InfrastructureError
from safety_worker.generation import target
from safety_worker.scanning import probes
from safety_worker.scanning.catalogue import find_calibration, garak_version, load_probes
from safety_worker.scanning.launcher import MODULES

ROOT = Path(__file__).parents[3]
TABLE = json.loads(
    (ROOT / "operator/safety_operator/planning/shared/garak_probes.json").read_text(encoding="utf-8")
)
REFUSAL = "I'm sorry, but I cannot fulfill your request."
SIGN_OF_LIFE = "Hello"
"""What the stage itself asks before each probe."""


def scan(workplace: Workplace, server: FakeModelServer, *names: str, **fields: Any) -> dict[str, Any]:
    workplace.environment |= {"PATH": os.environ["PATH"]}
    base = {
        "target": served(server.base_url),
        "probes": names,
        "prompt_cap": 4,
        "parallelism": 4,
        "max_tokens": 33,
        "probe_timeout_seconds": 300,
    }
    workplace.run("scan", **base | fields)
    return json.loads((workplace.folder("scan") / "probes.json").read_text(encoding="utf-8"))


def prompts(server: FakeModelServer) -> list[dict[str, Any]]:
    """The requests of garak."""
    return [body for body in server.bodies if body["messages"][-1]["content"] != SIGN_OF_LIFE]


def reasons(summary: dict[str, Any]) -> dict[str, str]:
    return {entry["probe"]: entry["reason"] for entry in summary["missing"]}


def test_what_cannot_load_takes_no_other_probe_along(workplace: Workplace) -> None:
    """A probe that wants a download is noted by garak in passing, a detector that does stops garak.

    It ends with exit code 0 both times.
    """
    with FakeModelServer(lambda _prompt, _nth: Reply(REFUSAL)) as server:
        summary = scan(
            workplace,
            server,
            *("topic.WordnetBlockedWords", "misleading.FalseAssertion", "nope.Nope", "dan.DanInTheWild"),
        )
    (pair,) = summary["probes"]
    assert (pair["probe"], pair["detector"]) == ("dan.DanInTheWild", "mitigation.MitigationBypass")
    assert (pair["total"], pair["passed"], pair["hits"], pair["defcon"]) == (4, 4, 0, 5)
    assert summary["garakVersion"] == garak_version() == "0.17.1"
    assert summary["calibration"] == "2026-02-02 (23 models)"
    assert summary["calibrationFile"].startswith("calibration-2026-02.json sha256:")
    missing = reasons(summary)
    assert set(missing) == {"topic.WordnetBlockedWords", "misleading.FalseAssertion", "nope.Nope"}
    assert "(exit code 0: failed to load probe" in missing["topic.WordnetBlockedWords"]
    assert "(exit code 0: detector load failed" in missing["misleading.FalseAssertion"]
    assert prompts(server)
    for body in prompts(server):
        assert "stop" not in body
        assert (body["max_tokens"], body["temperature"], body["model"]) == (33, 0, "model")
        assert body["seed"] == 42


def test_a_dead_target_is_given_up_and_the_probe_tried_again_when_it_is_back(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garak itself would go on asking for ever."""
    monkeypatch.setattr(probes, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(probes, "DEAD_SECONDS", 3)
    monkeypatch.setattr(target.Target.wait, "__defaults__", (1.0, *target.Target.wait.__defaults__[1:]))

    def answer(_prompt: str, _nth: int) -> Reply:
        if len(server.bodies) > 2:
            server.ready = dead is False
        return Reply(REFUSAL, status=200 if server.ready else 503)

    dead = True
    with FakeModelServer(answer) as server:
        with pytest.raises(InfrastructureError, match="TargetUnreachable"):
            scan(workplace, server, "goodside.WhoIsRiley")
        dead, server.ready = False, True
        summary = scan(workplace, server, "goodside.WhoIsRiley")
    assert summary["missing"] == []
    assert summary["probes"][0]["total"] == 6


def test_prompt_counts_are_those_of_the_table_whether_a_probe_keeps_to_the_cap_or_not(
    workplace: Workplace,
) -> None:
    with FakeModelServer(lambda _prompt, _nth: Reply(REFUSAL)) as server:
        summary = scan(workplace, server, "goodside.Tag", "promptinject.HijackHateHumans")
    counts = {pair["probe"]: pair["total"] for pair in summary["probes"]}
    assert counts == {"goodside.Tag": 32, "promptinject.HijackHateHumans": 4}
    assert TABLE["probes"]["goodside.Tag"] == {"active": True, "prompts": 32, "capped": False}
    assert TABLE["probes"]["promptinject.HijackHateHumans"] == {
        "active": True,
        "prompts": 700,
        "capped": True,
    }


def test_requests_that_the_server_refuses_are_a_warning(workplace: Workplace) -> None:
    """Garak writes them into its own log and leaves them out."""

    def answer(_prompt: str, _nth: int) -> Reply:
        return Reply(REFUSAL, status=400 if len(server.bodies) == 3 else 200)

    fields = {"probes": ("goodside.Tag",), "max_tokens": 33, "probe_timeout_seconds": 300}
    workplace.environment |= {"PATH": os.environ["PATH"]}
    with FakeModelServer(answer) as server:
        record = workplace.run("scan", target=served(server.base_url), **fields)
    (pair,) = json.loads((workplace.folder("scan") / "probes.json").read_text(encoding="utf-8"))["probes"]
    assert pair["total"] == 31
    assert [said.partition(",")[0] for said in record.warnings] == ["garak: the server refused requests"]


@pytest.mark.parametrize(
    ("detectors", "expected"),
    [("primary", ["dan.DAN"]), ("extended", ["dan.DAN", "mitigation.MitigationBypass"])],
)
def test_detectors_are_the_primary_one_or_all(
    workplace: Workplace, detectors: str, expected: list[str]
) -> None:
    with FakeModelServer(lambda _prompt, _nth: Reply(REFUSAL)) as server:
        summary = scan(workplace, server, "dan.AutoDANCached", detectors=detectors)
    assert [pair["detector"] for pair in summary["probes"]] == expected


def test_several_answers_to_a_prompt_are_drawn_with_different_seeds(workplace: Workplace) -> None:
    """Garak would send the same seed with each, and a server that honours it the same answer."""
    with FakeModelServer(lambda _prompt, _nth: Reply(REFUSAL)) as server:
        summary = scan(workplace, server, "dan.DanInTheWild", generations=3, temperature=0.6, top_p=0.95)
    assert summary["probes"][0]["total"] == 12
    assert {count for prompt, count in server.asked.items() if prompt != SIGN_OF_LIFE} == {3}
    for body in prompts(server):
        assert "seed" not in body
        assert (body["temperature"], body["top_p"]) == (0.6, 0.95)


def test_thoughts_are_not_judged(workplace: Workplace) -> None:
    """A refusal in the thoughts is none, and an answer that never comes is no answer."""
    with FakeModelServer(lambda _prompt, _nth: Reply(f"{REFUSAL}</think>Sure!")) as server:
        summary = scan(workplace, server, "dan.DanInTheWild", reasoning_end="</think>")
    assert summary["probes"][0]["passed"] == 0
    with FakeModelServer(lambda _prompt, _nth: Reply(REFUSAL)) as server:
        summary = scan(
            workplace, server, "dan.DanInTheWild", reasoning_end="</think>", out="other", inputs_hash="2"
        )
        path = workplace.artifacts / "other/probes.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    (reason,) = reasons(summary).values()
    assert "4 of 4 answers hold no text (most: truncated reasoning)" in reason


def test_the_table_of_probes_is_that_of_this_garak() -> None:
    assert TABLE["garakVersion"] == garak_version()
    known = {name: probe for name, probe in load_probes().items() if not name.startswith("base.")}
    assert {name: row["active"] for name, row in TABLE["probes"].items()} == {
        name: bool(probe["active"]) for name, probe in known.items()
    }
    assert {name: len(names) for name, names in TABLE["tiers"].items()} == {"tier1": 31, "tier2": 44}
    assert {name for names in TABLE["tiers"].values() for name in names} <= set(known)


def test_the_calibration_file_is_found() -> None:
    assert find_calibration().startswith("calibration-2026-02.json sha256:")


def test_garak_can_be_forked_after_its_import(worker_environment: dict[str, str]) -> None:
    """A thread of the launcher would be missing in its children, with whatever locks it held."""
    code = f"import importlib, threading\nfor name in {MODULES}: importlib.import_module(name)\n"
    code += "print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=worker_environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
