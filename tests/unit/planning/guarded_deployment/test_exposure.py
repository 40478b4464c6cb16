"""How a guarded endpoint is reached from outside of the cluster."""

from typing import Any

import pytest
from tests.unit.planning.guarded_deployment.test_access import KEYS, SECRETS
from tests.unit.planning.guarded_deployment.test_guarded_deployment import make_serving
from tests.unit.planning.world import World

INGRESS = {"host": "assistant.example.com", "className": "nginx", "tlsSecretName": "tls"}
ROUTE = {
    "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
    "hostnames": ["assistant.example.com"],
}


def child(world: World, kind: str) -> dict[str, Any]:
    (found,) = (item for key, item in world.children.items() if key.kind == kind)
    return found


def test_an_endpoint_for_the_cluster_alone_says_nothing_of_the_outside():
    world = make_serving()
    assert "Exposed" not in [item["type"] for item in world.status["conditions"]]
    assert not [key for key in world.children if key.kind in {"Ingress", "HTTPRoute"}]


def test_an_ingress_leads_its_host_to_the_endpoints_service():
    world = make_serving(expose={"ingress": INGRESS | {"annotations": {"a": "b"}}, "service": {"port": 80}})
    ingress = child(world, "Ingress")
    assert ingress["metadata"]["annotations"]["a"] == "b"
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["assistant.example.com"], "secretName": "tls"}]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == ("assistant.example.com", "/", "Prefix")
    assert path["backend"]["service"] == {"name": "assistant", "port": {"number": 80}}


def test_a_route_leads_its_hosts_to_the_endpoints_service():
    world = make_serving(expose={"httpRoute": ROUTE})
    route = child(world, "HTTPRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"]["parentRefs"] == ROUTE["parentRefs"]
    assert route["spec"]["hostnames"] == ROUTE["hostnames"]
    (rule,) = route["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "assistant", "port": 8000}]


@pytest.mark.parametrize(
    ("time", "timeouts"), [({}, {"request": "0s"}), ("10m30s", {"request": "10m30s"}), ("none", None)]
)
def test_a_route_says_how_long_answers_may_take_where_a_controller_would_end_them(time: Any, timeouts: Any):
    """Envoy ends whole answers after 15 seconds where a route says nothing."""
    spec = {"requestTimeout": time} if time else {}
    world = make_serving(expose={"httpRoute": ROUTE | spec})
    (rule,) = child(world, "HTTPRoute")["spec"]["rules"]
    assert rule.get("timeouts") == timeouts


@pytest.mark.parametrize(
    ("expose", "words"),
    [
        ({"service": {"type": "LoadBalancer"}}, "a Service of type LoadBalancer"),
        ({"service": {"type": "NodePort"}}, "a Service of type NodePort"),
        ({"ingress": INGRESS}, "the Ingress of assistant.example.com"),
        ({"httpRoute": ROUTE}, "the HTTPRoute of assistant.example.com"),
    ],
)
def test_an_endpoint_that_the_outside_may_ask_without_a_key_says_so_and_warns(expose, words):
    world = make_serving(expose=expose)
    found = world.condition("Exposed")
    assert (found["status"], found["reason"]) == ("True", "NoCallerKeys")
    assert words in found["message"]
    assert "spec.access.keys" in found["message"]
    (event,) = (event for event in world.events if event.reason == "NoCallerKeys")
    assert event.type == "Warning"
    assert world.condition("Ready")["status"] == "True"


def test_an_endpoint_with_keys_may_be_reached_from_outside_without_a_warning():
    world = make_serving()
    world.secrets = SECRETS
    world.edit(expose={"service": {"type": "LoadBalancer"}}, access={"keys": KEYS})
    world.settle()
    assert world.condition("Exposed")["reason"] == "Exposed"
    assert "NoCallerKeys" not in [event.reason for event in world.events]


def test_a_route_in_a_cluster_without_gateway_api_is_told_and_made_once_it_is_there():
    world = make_serving()
    world.optional = frozenset()
    world.edit(expose={"httpRoute": ROUTE})
    world.settle()
    found = world.condition("Exposed")
    assert (found["status"], found["reason"]) == ("False", "ApiMissing")
    assert "Gateway API" in found["message"]
    assert world.condition("Ready")["reason"] == "ApiMissing"
    assert not [key for key in world.children if key.kind == "HTTPRoute"]
    assert world.condition("Available")["status"] == "True"
    world.optional = frozenset({"HTTPRoute"})
    world.settle()
    assert world.condition("Exposed")["status"] == "True"
    assert child(world, "HTTPRoute")


def say(world: World, status: str, reason: str = "", message: str = "", **ref: str) -> None:
    """Let a controller answer for the HTTPRoute at the Gateway of the spec, or at another one."""
    condition = {"type": "Accepted", "status": status, "reason": reason, "message": message}
    child(world, "HTTPRoute")["status"] = {
        "parents": [{"parentRef": ROUTE["parentRefs"][0] | ref, "conditions": [condition]}]  # type: ignore[operator]
    }
    world.settle()


def test_a_gateway_that_does_not_take_the_route_is_quoted():
    world = make_serving(expose={"httpRoute": ROUTE})
    say(world, "False", "NotAllowed", "other namespaces")
    found = world.condition("Exposed")
    assert (found["status"], found["reason"]) == ("False", "RouteRefused")
    assert "Gateway gateways/public does not take the HTTPRoute: NotAllowed: other" in found["message"]
    say(world, "False", "NotAllowedByListeners")
    assert world.condition("Exposed")["message"].endswith("HTTPRoute: NotAllowedByListeners")


def test_a_route_that_no_controller_has_answered_for_leads_nowhere_yet():
    world = make_serving(expose={"httpRoute": ROUTE})
    del child(world, "HTTPRoute")["status"]
    world.settle()
    found = world.condition("Exposed")
    assert (found["status"], found["reason"]) == ("Unknown", "RouteNotTaken")
    assert "Gateway gateways/public" in found["message"]
    assert world.condition("Ready")["reason"] == "RouteNotTaken"
    assert world.condition("Available")["status"] == "True"
    say(world, "True")
    assert world.condition("Exposed")["status"] == "True"


def test_a_route_whose_service_a_gateway_does_not_find_is_not_told_as_reached():
    world = make_serving(expose={"httpRoute": ROUTE})
    refs = {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": ""}
    child(world, "HTTPRoute")["status"]["parents"][0]["conditions"].append(refs)
    world.settle()
    found = world.condition("Exposed")
    assert (found["status"], found["reason"]) == ("False", "RouteRefused")
    assert found["message"].endswith("HTTPRoute: BackendNotFound")


def test_a_route_that_a_controller_has_not_decided_about_leads_nowhere_yet():
    world = make_serving(expose={"httpRoute": ROUTE})
    say(world, "Unknown", "Pending")
    assert world.condition("Exposed")["reason"] == "RouteNotTaken"


@pytest.mark.parametrize("said", ["team", None])
def test_a_gateway_without_a_namespace_is_one_of_this_namespace(said):
    world = make_serving(expose={"httpRoute": {"parentRefs": [{"name": "public"}]}})
    ref = {"name": "public"} | ({"namespace": said} if said else {})
    child(world, "HTTPRoute")["status"]["parents"][0]["parentRef"] = ref
    world.settle()
    assert world.condition("Exposed")["status"] == "True"


def test_each_gateway_of_the_spec_has_to_take_the_route():
    refs = [{"name": "one"}, {"name": "two"}]
    world = make_serving(expose={"httpRoute": {"parentRefs": refs}})
    del child(world, "HTTPRoute")["status"]["parents"][1]
    world.settle()
    found = world.condition("Exposed")
    assert found["reason"] == "RouteNotTaken"
    assert "Gateway team/two" in found["message"]
    assert "team/one" not in found["message"]


@pytest.mark.parametrize("ref", [{"name": "old"}, {"namespace": "other"}, {"sectionName": "http"}])
def test_what_was_said_at_a_gateway_or_listener_that_the_spec_does_not_name_does_not_count(ref):
    world = make_serving(expose={"httpRoute": ROUTE})
    for status in ("True", "False"):
        say(world, status, **ref)
        assert world.condition("Exposed")["reason"] == "RouteNotTaken"


def test_what_is_not_asked_for_any_more_goes():
    world = make_serving(expose={"ingress": INGRESS, "httpRoute": ROUTE})
    world.edit(expose={})
    world.settle()
    assert not [key for key in world.children if key.kind in {"Ingress", "HTTPRoute"}]
    assert "Exposed" not in [item["type"] for item in world.status["conditions"]]


def test_the_service_takes_annotations_and_ip_families():
    service = {
        "type": "LoadBalancer",
        "annotations": {"cloud": "internal"},
        "ipFamilyPolicy": "PreferDualStack",
    }
    world = make_serving(expose={"service": service})
    (found,) = (item for key, item in world.children.items() if key == ("Service", "assistant"))
    assert found["metadata"]["annotations"]["cloud"] == "internal"
    assert found["spec"]["ipFamilyPolicy"] == "PreferDualStack"
