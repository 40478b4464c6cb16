"""rollout: what is in service, what was, and the way back."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cli.support import recording_console, text_of

from safety_cli.errors import CliError, UsageError
from safety_cli.kubectl import Kubectl
from safety_cli.rollout import show

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class GivenDeployment(Kubectl):
    """One GuardedDeployment, and the patches that it got."""

    def __init__(self, resource: dict[str, Any]) -> None:
        super().__init__()
        object.__setattr__(self, "found", resource)
        object.__setattr__(self, "calls", [])

    def resource(self, plural: str, name: str) -> dict[str, Any]:
        assert (plural, name) == ("guardeddeployments", "assistant")
        found: dict[str, Any] = self.found  # type: ignore[attr-defined]
        return found

    def run(self, *arguments: str) -> str:
        self.calls.append(arguments)  # type: ignore[attr-defined]
        return ""


def make(*revisions: dict[str, Any], ready: str = "True") -> GivenDeployment:
    conditions = [
        {"type": "Ready", "status": ready, "message": ""},
        {"type": "GatePassed", "status": "True", "message": "hardened\x1b[2J passed"},
    ]
    served = {"modelDigest": NEW, "wantedModelDigest": NEW, "configHash": "a", "wantedConfigHash": "b"}
    status = {
        "observedGeneration": 2,
        "conditions": conditions,
        "served": served,
        "revisions": list(revisions),
    }
    return GivenDeployment({"metadata": {"name": "assistant", "generation": 2}, "status": status})


def revision(number: int, digest: str, proven: str = "2026-11-21T12:00:00Z") -> dict[str, Any]:
    return {
        "number": number,
        "modelDigest": digest,
        "configHash": "c0ffee",
        "servedAt": "2026-11-21T11:00:00Z",
        "provenAt": proven,
        "why": "new model",
    }


def ask(kubectl: Kubectl, action: Any, number: int | None = None) -> tuple[int, str]:
    console = recording_console(200)
    code = show(console, kubectl, "assistant", action=action, number=number)
    return code, text_of(console)


def test_status_says_what_is_served_and_what_is_wanted():
    code, text = ask(make(), "status")
    assert code == 0
    assert NEW in text
    assert "a, wanted: b" in text
    assert "\x1b[2J" not in text
    assert ask(make(ready="Unknown"), "status")[0] == 1


def test_history_lists_the_revisions():
    code, text = ask(make(revision(2, NEW, ""), revision(1, OLD)), "history")
    assert code == 0
    assert "222222222222" in text
    assert "never" in text
    assert "Nothing was in service yet." in ask(make(), "history")[1]


@pytest.mark.parametrize(("number", "digest"), [(None, OLD), (1, OLD), (3, NEW)])
def test_undo_serves_a_proven_revision(number, digest):
    kubectl = make(revision(3, NEW), revision(2, "sha256:" + "3" * 64, ""), revision(1, OLD))
    assert ask(kubectl, "undo", number)[0] == 0
    ((verb, plural, name, kind, patch),) = kubectl.calls  # type: ignore[attr-defined]
    assert (verb, plural, name, kind) == (
        "patch",
        "guardeddeployments.modelsafety.dev",
        "assistant",
        "--type=merge",
    )
    assert json.loads(patch.removeprefix("--patch=")) == {"spec": {"rollout": {"modelDigest": digest}}}


def test_resume_takes_the_field_away():
    kubectl = make()
    assert "spec.model is to be served" in ask(kubectl, "resume")[1]
    assert kubectl.calls[0][-1] == '--patch={"spec": {"rollout": {"modelDigest": null}}}'  # type: ignore[attr-defined]


def test_retry_gives_the_annotation_a_new_value_each_time():
    kubectl = make()
    with pytest.raises(CliError, match="No version failed"):
        ask(kubectl, "retry")
    kubectl.found["status"]["rollout"] = {"failed": {"modelDigest": OLD}}  # type: ignore[attr-defined]
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert f"{OLD} is tried again" in ask(kubectl, "retry")[1]
    patch = json.loads(kubectl.calls[0][-1].removeprefix("--patch="))  # type: ignore[attr-defined]
    (value,) = patch["metadata"]["annotations"].values()
    assert list(patch["metadata"]["annotations"]) == ["modelsafety.dev/retry-rollout"]
    assert before <= datetime.fromisoformat(value) <= datetime.now(UTC)


def test_what_cannot_be_gone_back_to_is_said():
    kubectl = make(revision(2, NEW), revision(1, OLD, ""))
    for number, words in ((None, "nothing to go back to"), (1, "never proven"), (9, "no revision 9")):
        with pytest.raises(CliError, match=words):
            ask(kubectl, "undo", number)
    with pytest.raises(UsageError):
        ask(kubectl, "history", 1)


def test_the_status_shows_both_tracks_and_what_a_new_version_waits_for():
    kubectl = make(ready="Unknown")
    status = kubectl.found["status"]  # type: ignore[attr-defined]
    status["rollout"] = {
        "live": {"track": "blue", "modelDigest": OLD},
        "candidate": {"track": "green", "modelDigest": NEW, "weight": 10},
    }
    words = "it has 10 % of the HTTPRoute's requests (step 1 of 2)"
    status["conditions"].append({"type": "Promoted", "status": "Unknown", "message": words})
    code, text = ask(kubectl, "status")
    lines = text.splitlines()
    assert code == 1
    assert any(line.startswith("live") and f"blue: {OLD}" in line for line in lines)
    assert any(line.startswith("candidate") and "green" in line and "10 %" in line for line in lines)
    assert any(line.startswith("Promoted") and words in line for line in lines)


def test_the_status_of_updates_in_place_has_no_tracks():
    _, text = ask(make(), "status")
    assert "Promoted" not in text
    assert "live" not in text
