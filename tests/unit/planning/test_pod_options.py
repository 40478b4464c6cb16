"""spec.pod as it reaches every pod of every kind, and what of it is refused."""

from dataclasses import replace

import pytest
from tests.unit.planning.examples import (
    finished_blend,
    finished_eval,
    finished_finetune,
    make_blend,
    make_eval,
    make_finetune,
    make_guarded,
)
from tests.unit.planning.restricted import pod_template
from tests.unit.planning.world import SETTINGS

from safety_operator.api.pods import ChartPods
from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.observed import PodFailure

RATIO = {"cpu": "10", "memory": "2"}


def run_eval(settings=SETTINGS, **spec):
    world = make_eval(**spec)
    world.settings = settings
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.serve("target-server")
    world.settle()
    return world


def run_blend(settings=SETTINGS, **spec):
    world = make_blend(**spec)
    world.settings = settings
    world.settle()
    return world


def run_finetune(settings=SETTINGS, **spec):
    world = make_finetune(**spec)
    world.settings = settings
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch")
    world.settle()
    return world


def run_guarded(settings=SETTINGS, **spec):
    world = make_guarded(**spec)
    world.settings = settings
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.refer("SafetyEval", "hardened", finished_eval())
    world.settle()
    for role in ("model", "classifier", "guardrails"):
        world.serve(role)
    world.settle()
    return world


every_kind = pytest.mark.parametrize("run", [run_eval, run_blend, run_finetune, run_guarded])


def pods(world):
    """By role: pod templates."""
    found = [(child, pod_template(child)) for child in world.children.values() if "template" in str(child)]
    return {child["metadata"]["labels"][LABEL_ROLE]: template for child, template in found if template}


def containers(world):
    return [container for template in pods(world).values() for container in template["spec"]["containers"]]


@every_kind
def test_one_field_gives_every_container_limits(run):
    found = containers(run(pod={"limitRatio": RATIO}))
    assert found
    for container in found:
        assert {"cpu", "memory"} <= set(container["resources"]["limits"]), container["name"]


def chart(**pods):
    return replace(SETTINGS, pods=ChartPods.model_validate(pods))


@every_kind
def test_one_value_of_the_chart_gives_every_container_limits(run):
    for container in containers(run(chart(limitRatio=RATIO))):
        assert {"cpu", "memory"} <= set(container["resources"]["limits"]), container["name"]


@every_kind
def test_without_either_stages_have_no_limits(run):
    assert any("limits" not in container["resources"] for container in containers(run()))


USER_FIELDS = {"runAsUser", "runAsGroup", "fsGroup"}


@every_kind
@pytest.mark.parametrize("where", ["spec", "chart"])
def test_user_and_groups_can_be_left_to_the_cluster(run, where):
    world = run(pod={"securityContext": {}}) if where == "spec" else run(chart())
    for role, template in pods(world).items():
        context = template["spec"]["securityContext"]
        assert not USER_FIELDS & set(context), role
        assert context["runAsNonRoot"] is True, role


@every_kind
def test_user_and_groups_of_the_chart_reach_every_pod(run):
    ids = {"runAsUser": 1000660000, "runAsGroup": 0, "fsGroup": 1000660000}
    for role, template in pods(run(chart(securityContext=ids))).items():
        assert ids.items() <= template["spec"]["securityContext"].items(), role


@every_kind
def test_no_process_needs_an_entry_in_passwd(run):
    for container in containers(run(pod={"securityContext": {}})):
        names = {item["name"] for item in container["env"]}
        assert {"HOME", "USER", "LOGNAME"} <= names, container["name"]


@pytest.mark.parametrize(
    ("run", "role", "container"),
    [
        (run_eval, "worker", "worker"),
        (run_eval, "server", "server"),
        (run_finetune, "trainer", "worker"),
        (run_guarded, "server", "server"),
        (run_guarded, "classifier", "classifier"),
        (run_guarded, "guardrails", "guardrails"),
        (run_guarded, "proof", "worker"),
    ],
)
def test_resources_of_a_role_are_its_pods_alone(run, role, container):
    given = {"requests": {"memory": "3Gi"}, "limits": {"memory": "7Gi"}}
    world = run(pod={"roles": {role: {"resources": given, "nodeSelector": {"for": role}}}})
    found = [
        template["spec"]["containers"][0]
        for template in pods(world).values()
        if template["spec"].get("nodeSelector") == {"for": role}
    ]
    assert found
    for one in found:
        assert one["name"] == container
        assert one["resources"]["requests"]["memory"] == "3Gi"
        assert one["resources"]["limits"]["memory"] == "7Gi"
        assert one["resources"]["requests"]["cpu"]
    others = [one for one in containers(world) if one not in found]
    assert all(one["resources"]["requests"]["memory"] != "3Gi" for one in others)


def test_limits_by_a_ratio_leave_a_small_engine_its_one_thread():
    (server,) = [one for one in containers(run_eval(pod={"limitRatio": RATIO})) if one["name"] == "server"]
    assert server["resources"]["limits"]["cpu"] == "4"
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in server["env"]


def test_own_resources_of_a_gpu_server_keep_its_gpus():
    own = {"requests": {"cpu": "8", "memory": "64Gi"}}
    world = run_eval(serving={"device": "gpu", "tensorParallelSize": 4, "resources": own})
    (server,) = [one for one in containers(world) if one["name"] == "server"]
    assert server["resources"] == {"requests": own["requests"], "limits": {"nvidia.com/gpu": 4}}


def test_pipelines_multiply_the_gpus_of_a_server():
    serving = {"device": "gpu", "tensorParallelSize": 2, "args": ["--pipeline-parallel-size=3"]}
    (server,) = [one for one in containers(run_eval(serving=serving)) if one["name"] == "server"]
    assert server["resources"]["limits"] == {"nvidia.com/gpu": 6}


def test_own_resources_of_training_keep_its_gpu():
    own = {"requests": {"memory": "200Gi"}}
    world = run_finetune(compute={"device": "gpu", "resources": own})
    assert pods(world)["train"]["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "4", "memory": "200Gi"},
        "limits": {"nvidia.com/gpu": 1},
    }


PIPELINES = {"args": ["-pp", "2"], "resources": {"requests": {"nvidia.com/gpu": "1"}}}
GUARD = {"name": "guard", "type": "wildguard", "model": {"source": {"uri": "hf://org/guard@main"}}}


@pytest.mark.parametrize(
    ("make", "spec", "where"),
    [
        (make_eval, {"serving": PIPELINES}, "spec.serving"),
        (make_eval, {"judges": [GUARD | {"serving": PIPELINES}]}, "spec.judges[0].serving"),
        (make_blend, {"onPolicy": {"model": GUARD["model"], "serving": PIPELINES}}, "spec.onPolicy.serving"),
        (make_guarded, {"serving": PIPELINES}, "spec.serving"),
    ],
)
def test_other_gpus_than_parallelism_in_arguments_makes_are_refused(make, spec, where):
    world = make(**spec)
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert stalled["message"].startswith(f"{where}.resources.requests: 1 of nvidia.com/gpu, but")
    assert not world.children


@pytest.mark.parametrize(
    "spec",
    [
        {"serving": {"tensorParallelSize": 4, "resources": {"limits": {"nvidia.com/gpu": "4"}}}},
        {"serving": {"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}}},
        {"pod": {"labels": {"example.com/modelsafety.dev": "x", "job": "y"}}},
        {"pod": {"annotations": {"kueue.x-k8s.io/podset-required-topology": "block"}}},
    ],
)
def test_what_only_looks_alike_is_the_users(spec):
    world = make_eval(**spec)
    world.settle()
    assert world.condition("Stalled")["status"] == "False"


QUEUE = "kueue.x-k8s.io/queue-name"


@every_kind
def test_a_queue_is_named_on_jobs_and_model_servers_and_on_nothing_that_guards(run):
    found = set()
    for child in run(queueName="team-a").children.values():
        template = pod_template(child)
        if template is None:
            continue
        role = child["metadata"]["labels"][LABEL_ROLE]
        queued = child["metadata"]["labels"].get(QUEUE) == "team-a"
        assert queued is (role not in {"guardrails", "classifier", "prove"}), role
        if child["kind"] == "Deployment":
            assert template["metadata"]["labels"].get(QUEUE) == ("team-a" if queued else None), role
        found.add(role)
    assert found


def test_without_a_queue_there_is_no_label_of_one():
    assert QUEUE not in str(run_eval().children)


def test_a_server_that_waits_in_a_queue_is_told_and_never_late():
    world = make_eval(queueName="team-a")
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    (server,) = [child for key, child in world.children.items() if key.kind == "Deployment"]
    name, gates = server["metadata"]["name"], "Scheduling is blocked due to non-empty scheduling gates"
    world.failures[name] = PodFailure(f"{name}-1", "", None, "SchedulingGated", gates)
    world.settle()
    assert server["spec"]["progressDeadlineSeconds"] == 14 * 24 * 3600
    assert world.condition("Stalled")["status"] == "False"
    assert "A queue holds it back" in world.condition("Ready")["message"]


@every_kind
def test_names_are_resolved_at_whatever_port_the_resolver_listens(run):
    world = run(pod={})
    policies = [child["spec"] for key, child in world.children.items() if key.kind == "NetworkPolicy"]
    closed = [rules for rules in (policy["egress"] for policy in policies) if rules and {} not in rules]
    assert closed
    for rules in closed:
        assert {"to": [dict(peer) for peer in SETTINGS.dns_peers]} in rules
        assert {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]} in rules


def test_other_resolvers_can_be_named_or_none():
    own = {"podSelector": {"matchLabels": {"app": "dns"}}}
    for peers, rule in (((own,), {"to": [own]}), ((), None)):
        world = run_eval(replace(SETTINGS, dns_peers=peers))
        text = [child["spec"] for key, child in world.children.items() if key.kind == "NetworkPolicy"]
        assert (rule in [item for spec in text for item in spec["egress"]]) is (rule is not None)
        assert "kube-dns" not in str(text)
