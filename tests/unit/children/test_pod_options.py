"""Layers of options: the chart's, the chart's for a role, the resource's, the resource's for a role."""

from safety_operator.api.pods import ChartPods, GuardedPods
from safety_operator.children.pod_options import effective_options

CHART = ChartPods.model_validate(
    {
        "securityContext": {"runAsUser": 1000},
        "nodeSelector": {"pool": "safety", "arch": "amd64"},
        "tolerations": [{"key": "a"}],
        "env": [{"name": "HTTPS_PROXY", "value": "http://chart"}, {"name": "A", "value": "1"}],
        "roles": {
            "server": {
                "nodeSelector": {"pool": "gpu"},
                "resources": {"requests": {"cpu": "4", "memory": "8Gi"}},
            }
        },
    }
)


def options(role, **spec):
    return effective_options(CHART, GuardedPods.model_validate(spec), role)


def test_maps_are_merged_name_by_name():
    assert options("server", nodeSelector={"zone": "b"}).node_selector == {
        "pool": "gpu",
        "arch": "amd64",
        "zone": "b",
    }
    assert options("proof").node_selector == {"pool": "safety", "arch": "amd64"}


def test_variables_are_merged_by_name():
    found = options("worker", env=[{"name": "HTTPS_PROXY", "value": "http://spec"}]).env
    assert [(var.name, var.value) for var in found] == [("HTTPS_PROXY", "http://spec"), ("A", "1")]


def test_lists_and_single_values_are_replaced():
    assert options("worker", tolerations=[{"key": "b"}]).tolerations == [{"key": "b"}]
    assert options("worker").tolerations == [{"key": "a"}]
    assert options("worker", priorityClassName="low").priority_class_name == "low"


def test_what_a_resource_says_for_a_role_stands_over_all():
    spec = {
        "priorityClassName": "low",
        "roles": {
            "server": {"priorityClassName": "high", "resources": {"requests": {"memory": "9Gi"}}},
        },
    }
    found = options("server", **spec)
    assert found.priority_class_name == "high"
    assert found.resources.requests == {"cpu": "4", "memory": "9Gi"}
    assert options("guardrails", **spec).priority_class_name == "low"


def test_a_security_context_stands_as_a_whole():
    assert options("worker").security_context.run_as_user == 1000
    assert options("worker", securityContext={"fsGroup": 5}).security_context.run_as_user is None
    assert options("worker", securityContext={"fsGroup": 5}).security_context.fs_group == 5
    assert options("worker", securityContext={}).security_context.run_as_user is None
    assert options("worker", securityContext={"runAsUser": None}).security_context.run_as_user is None


def test_a_role_that_the_kind_does_not_have_gets_the_common_options():
    assert options("trainer", nodeSelector={"zone": "b"}).node_selector["zone"] == "b"
