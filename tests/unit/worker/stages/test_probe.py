"""The probe stage against fake servers: what a pod of another namespace learns."""

import pytest
from tests.unit.worker.conftest import Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_records.result import OutsideProbe
from safety_worker.guarding import bypass_probe


def closed_port() -> str:
    with FakeModelServer(lambda _p, _n: Reply()) as server:
        return server.base_url


def probe(workplace: Workplace, guarded: str, direct: str, pods: str = "") -> OutsideProbe:
    result = workplace.run(
        "probe",
        guarded_url=guarded,
        direct=served(direct),
        pods_url=pods,
        from_namespace="system",
        probe_timeout_seconds=2,
    )
    assert result.outside is not None
    assert result.outside.namespace == "system"
    return result.outside


def test_a_model_server_that_is_out_of_reach_is_closed(workplace: Workplace) -> None:
    with FakeModelServer(lambda _p, _n: Reply()) as guarded:
        seen = probe(workplace, guarded.base_url, closed_port())
    assert (seen.closed, seen.detail) == (True, "no connection (ConnectError)")


def test_a_pod_that_reaches_nothing_at_all_learns_nothing(workplace: Workplace) -> None:
    seen = probe(workplace, closed_port(), closed_port())
    assert seen.closed is None
    assert seen.detail == "not even the guarded endpoint can be reached from there"


@pytest.mark.parametrize("guarded_is_there", [True, False])
def test_a_completion_is_open_whatever_else_is_reached(workplace: Workplace, guarded_is_there: bool) -> None:
    with FakeModelServer(lambda _p, _n: Reply("hello")) as direct:
        guarded = direct.base_url if guarded_is_there else closed_port()
        seen = probe(workplace, guarded, direct.base_url)
    assert (seen.closed, seen.detail) == (False, "/v1/chat/completions answered without a key")


def test_a_models_pod_is_asked_at_its_address(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bypass_probe, "OTHER_PORTS", ())
    with FakeModelServer(lambda _p, _n: Reply("hello")) as pod:
        seen = probe(workplace, pod.base_url, closed_port(), pods=pod.base_url)
    assert seen.closed is False
    assert "of a model's pod answered" in seen.detail
