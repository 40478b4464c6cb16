"""How many pods the model and the guardrails have, and how they come and go."""

from typing import Any

from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.test_access import KEYS, SECRETS
from tests.unit.planning.guarded_deployment.test_guarded_deployment import deployment, make_open, make_serving
from tests.unit.planning.guarded_deployment.test_updates import settings_of
from tests.unit.planning.world import World

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_ROLE

GUARD: dict[str, Any] = {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}}
QUEUE = {
    "serverAddress": "http://prometheus:9090",
    "query": "sum(vllm:num_requests_waiting)",
    "threshold": "5",
}


def children(world: World, kind: str) -> dict[str, dict[str, Any]]:
    """Specs of a kind by role."""
    found = [child for key, child in world.children.items() if key.kind == kind]
    return {child["metadata"]["labels"][LABEL_ROLE]: child["spec"] for child in found}


def test_pods_follow_the_use_of_cpu_within_bounds():
    world = make_serving(
        serving={"autoscaling": {"maxReplicas": 4}},
        guardrails=GUARD | {"autoscaling": {"minReplicas": 2, "maxReplicas": 8, "cpuPercent": 60}},
    )
    scalers = children(world, "HorizontalPodAutoscaler")
    model, rails = scalers["model"], scalers["guardrails"]
    assert (model["minReplicas"], model["maxReplicas"]) == (1, 4)
    assert model["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    assert (rails["minReplicas"], rails["maxReplicas"]) == (2, 8)
    assert rails["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    names = {role: deployment(world, role)["metadata"]["name"] for role in scalers}
    assert {role: spec["scaleTargetRef"]["name"] for role, spec in scalers.items()} == names
    assert world.condition("Autoscaled")["status"] == "True"
    assert world.condition("Ready")["status"] == "True"


def test_the_operator_writes_the_first_number_of_pods_and_leaves_it_alone_from_then_on():
    world = make_open(serving={"autoscaling": {"minReplicas": 2, "maxReplicas": 4}})
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 2
    deployment(world, "model")["spec"]["replicas"] = 3
    planned = [
        child.manifest["spec"]
        for child in world.plan().apply
        if child.manifest["kind"] == "Deployment"
        and child.manifest["metadata"]["labels"][LABEL_ROLE] == "model"
    ]
    assert [spec.get("replicas") for spec in planned] == [None]
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 3


def test_pods_that_an_autoscaler_adds_are_not_waited_for():
    world = make_serving(serving={"autoscaling": {"maxReplicas": 4}})
    model = deployment(world, "model")
    model["spec"]["replicas"] = 3
    model["status"] |= {"replicas": 3, "updatedReplicas": 3}
    world.settle()
    assert world.condition("ModelReady")["status"] == "True"


def test_callers_limits_hold_however_many_pods_there_are():
    world = make_open(
        access={"keys": KEYS},
        guardrails=GUARD | {"autoscaling": {"maxReplicas": 6}},
    )
    world.secrets = SECRETS
    world.settle()
    assert settings_of(world)["callers"][0]["requestsPerMinute"] == 10


def test_a_queue_is_followed_by_keda_where_it_is_there():
    world = make_serving(serving={"autoscaling": {"minReplicas": 1, "maxReplicas": 4, "queue": QUEUE}})
    spec = children(world, "ScaledObject")["model"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)
    assert spec["triggers"] == [{"type": "prometheus", "metadata": QUEUE}]
    assert children(world, "HorizontalPodAutoscaler") == {}


def test_without_keda_the_fewest_pods_serve_and_the_condition_says_what_to_install():
    world = make_open(serving={"autoscaling": {"minReplicas": 2, "maxReplicas": 4, "queue": QUEUE}})
    world.optional = frozenset()
    world.settle()
    assert children(world, "ScaledObject") == {}
    assert deployment(world, "model")["spec"]["replicas"] == 2
    found = world.condition("Autoscaled")
    assert (found["status"], found["reason"]) == ("False", "ApiMissing")
    assert "Install KEDA" in found["message"]
    world.optional = frozenset({"ScaledObject"})
    world.settle()
    assert world.condition("Autoscaled")["status"] == "True"


def test_an_autoscaler_that_cannot_measure_is_quoted_and_the_endpoint_is_ready_all_the_same():
    world = make_serving(serving={"autoscaling": {"maxReplicas": 4}})
    key = ObjectKey("HorizontalPodAutoscaler", deployment(world, "model")["metadata"]["name"])
    world.children[key]["status"] = {
        "conditions": [{"type": "ScalingActive", "status": "False", "message": "no metrics known"}]
    }
    world.settle()
    found = world.condition("Autoscaled")
    assert (found["status"], found["reason"]) == ("Unknown", "NotScaling")
    assert "no metrics known" in found["message"]
    assert world.condition("Ready")["status"] == "True"


def test_no_autoscaler_starts_pods_that_a_regression_took_away():
    gate = {"evalRefs": [{"name": "hardened"}], "onRegression": "scaleDown"}
    world = make_serving(gate=gate, serving={"autoscaling": {"minReplicas": 2, "maxReplicas": 4}})
    world.refer("SafetyEval", "hardened", finished_eval(passed=False))
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 0
    assert children(world, "HorizontalPodAutoscaler") == {}
    world.refer("SafetyEval", "hardened", finished_eval())
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 2
    assert "model" in children(world, "HorizontalPodAutoscaler")


def test_autoscaling_that_is_taken_back_leaves_the_number_of_the_spec():
    world = make_serving(serving={"autoscaling": {"minReplicas": 2, "maxReplicas": 4}})
    world.edit(serving={})
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 1
    assert children(world, "HorizontalPodAutoscaler") == {}


def test_pods_leave_drained_nodes_one_by_one_where_there_are_several():
    world = make_serving(serving={"replicas": 2})
    budgets = children(world, "PodDisruptionBudget")
    assert set(budgets) == {"model"}
    assert budgets["model"]["maxUnavailable"] == 1
    labels = deployment(world, "model")["spec"]["template"]["metadata"]["labels"]
    assert budgets["model"]["selector"]["matchLabels"].items() <= labels.items()
    world.edit(serving={"replicas": 1})
    world.settle()
    assert children(world, "PodDisruptionBudget") == {}


def test_pods_keep_apart_and_answer_what_they_have_before_they_end():
    world = make_serving()
    hooks = {}
    for role in ("model", "guardrails"):
        pod = deployment(world, role)["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == 630
        hooks[role] = pod["containers"][0].get("lifecycle")
        (constraint,) = pod["topologySpreadConstraints"]
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert "exec" in hooks["model"]["preStop"]
    assert hooks["guardrails"] is None, "the gateway gives notice by itself when it is told to end"
    arguments = deployment(world, "guardrails")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--notice-seconds") + 1] == "5"


def test_a_spread_of_ones_own_takes_the_place_of_the_operators():
    own = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    world = make_serving(pod={"topologySpreadConstraints": [own]})
    pod = deployment(world, "model")["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [own]
