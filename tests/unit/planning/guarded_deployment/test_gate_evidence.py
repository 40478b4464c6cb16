"""What an evaluation has to prove itself by: a digest of files, and a signature."""

import json
from typing import Any

import pytest
from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.test_guarded_deployment import make_open, make_serving
from tests.unit.planning.world import World, digest_of

ENDPOINT = {"model": {"endpoint": {"url": "http://host/v1", "digest": digest_of("product")}}}
REFS = [{"name": "hardened"}]
CONFIG_MAP = {"configMapKeyRef": {"name": "keys", "key": "safety.pub"}}
SECRET = {"publicKeySecretRef": {"name": "keys", "key": "safety.pub"}}
PEM = {"metadata": {"name": "keys"}, "data": {"safety.pub": "-----BEGIN PUBLIC KEY-----"}}


def reported(run: str = "1") -> dict[str, Any]:
    """A finished evaluation with a report."""
    evaluation = finished_eval()
    uri = f"pvc://safety-artifacts/team/safetyeval/hardened/{run}/report"
    evaluation["status"]["report"] = {"uri": uri, "digest": digest_of(f"report-{run}")}
    return evaluation


def make_signed(signature: dict[str, Any] | None = None) -> World:
    world = make_open(gate={"evalRefs": REFS, "requireSignature": signature or CONFIG_MAP})
    world.config_maps["keys"] = PEM
    world.secrets["keys"] = "1"
    world.refer("SafetyEval", "hardened", reported())
    world.settle()
    return world


def test_an_evaluation_of_an_endpoint_is_said_to_be_vouched_for():
    world = make_open()
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": ENDPOINT})
    world.settle()
    gate = world.condition("GatePassed")
    assert gate["status"] == "True"
    assert "vouched: hardened asked an endpoint" in gate["message"]


def test_where_the_gate_wants_measured_digests_one_that_is_vouched_for_does_not_count():
    world = make_open(gate={"evalRefs": REFS, "requireMeasured": True})
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": ENDPOINT})
    world.settle()
    gate = world.condition("GatePassed")
    assert (gate["status"], gate["reason"]) == ("False", "GateNotPassed")
    assert "spec.gate.requireMeasured" in gate["message"]
    assert world.children == {}
    world.refer("SafetyEval", "hardened", finished_eval())
    world.settle()
    assert world.condition("GatePassed")["status"] == "True"


@pytest.mark.parametrize("signature", [CONFIG_MAP, SECRET])
def test_nothing_is_served_before_the_signature_is_verified(signature):
    world = make_signed(signature)
    assert world.condition("GatePassed")["status"] == "Unknown"
    assert world.names("Deployment") == []
    told = json.loads(world.specification("verify"))
    assert told["modelDigest"] == digest_of("product")
    assert told["reports"] == [{"name": "hardened", "folder": "team/safetyeval/hardened/1/report"}]
    world.succeed("verify")
    world.settle()
    gate = world.condition("GatePassed")
    assert gate["status"] == "True"
    assert "signatures were verified" in gate["message"]
    assert world.names("Deployment")


def test_a_signature_that_does_not_hold_shuts_the_gate_with_the_workers_words():
    world = make_signed()
    world.fail("verify", reason="SignatureNotVerified", message="no statement is signed", input_=True)
    world.settle()
    gate = world.condition("GatePassed")
    assert (gate["status"], gate["reason"]) == ("False", "GateNotPassed")
    assert "spec.gate.requireSignature" in gate["message"]
    assert "no statement is signed" in gate["message"]
    assert world.condition("Stalled")["status"] == "True"
    assert world.names("Deployment") == []


def test_a_new_report_and_a_new_key_are_verified_anew_while_the_model_serves_on():
    world = make_signed(SECRET)
    world.succeed("verify")
    world.settle()
    world.refer("SafetyEval", "hardened", reported("2"))
    world.settle()
    assert world.condition("GatePassed")["status"] == "Unknown"
    assert world.names("Deployment")
    world.succeed("verify")
    world.settle()
    assert world.condition("GatePassed")["status"] == "True"
    world.secrets["keys"] = "2"
    world.settle()
    assert world.condition("GatePassed")["status"] == "Unknown"


@pytest.mark.parametrize("what", ["key", "report"])
def test_another_key_in_the_config_map_or_another_report_in_the_folder_is_verified_anew(what: str):
    world = make_signed()
    world.succeed("verify")
    world.settle()
    assert world.condition("GatePassed")["status"] == "True"
    if what == "key":
        world.config_maps["keys"] = PEM | {"data": {"safety.pub": "-----BEGIN PUBLIC KEY-----other"}}
    else:
        changed = reported()
        changed["status"]["report"]["digest"] = digest_of("report-2")
        world.refer("SafetyEval", "hardened", changed)
    world.settle()
    assert world.condition("GatePassed")["status"] == "Unknown"
    assert world.names("Deployment"), "the model serves on"


def test_a_key_that_is_missing_is_named():
    world = make_open(gate={"evalRefs": REFS, "requireSignature": CONFIG_MAP})
    world.refer("SafetyEval", "hardened", reported())
    world.settle()
    assert "the ConfigMap keys does not exist" in world.condition("Ready")["message"]


def test_an_evaluation_that_was_deleted_is_waited_for_and_the_model_serves_on():
    world = make_serving()
    world.references.clear()
    world.settle()
    gate = world.condition("GatePassed")
    assert gate["status"] == "Unknown"
    assert world.names("Deployment")
    assert world.condition("Available")["status"] == "True"
