"""The chart, rendered by helm with each set of values of its ci/ folder. The first run may build helm."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from pydantic.alias_generators import to_camel

from safety_operator import metrics
from safety_operator.api.common import Resources
from safety_operator.api.pods import (
    RESERVED_LABELS,
    RESERVED_PREFIXES,
    AllRoles,
    ChartPods,
    LimitRatio,
    PodSecurity,
    RoleOptions,
)
from safety_operator.handlers.observe import StatusMetrics
from safety_operator.settings import PREFIX, Settings
from safety_operator.state.settings import DEFAULT_PODS, DNS_PEERS, KUBERAY_PEERS, Images
from safety_records import report_files
from safety_reports.__main__ import VARIABLES

REPO = Path(__file__).parents[3]
CHART = REPO / "charts/model-safety-operator"
CACHE = Path(os.environ.get("MSO_CACHE", Path.home() / ".cache/model-safety-operator"))
VALUES = sorted((CHART / "ci").glob("*.yaml"))
RELEASE = ["release", str(CHART), "--namespace", "system"]
Object = dict[str, Any]
with_all_values = pytest.mark.parametrize(
    "values", [None, *VALUES], ids=lambda path: path.stem if path else "default"
)


def helm(*args: str) -> subprocess.CompletedProcess[str]:
    binary = CACHE / "bin/helm"
    if not binary.exists():
        subprocess.run([str(REPO / "hack/tools.sh"), "helm"], check=True)
    return subprocess.run([str(binary), *args], capture_output=True, text=True, timeout=60, check=False)


@cache
def render(values: Path | None = None, *sets: str) -> list[Object]:
    files = ["--values", str(values)] if values else []
    done = helm("template", *RELEASE, *files, *(word for one in sets for word in ("--set-json", one)))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def only(objects: list[Object], kind: str) -> Object:
    (found,) = of_kind(objects, kind)
    return found


def rules(objects: list[Object]) -> Iterator[Object]:
    for role in of_kind(objects, "Role", "ClusterRole"):
        yield from role["rules"]


def operator_rules(objects: list[Object]) -> list[Object]:
    """Rules of roles that are bound to the operator."""
    bound = {one["roleRef"]["name"] for one in of_kind(objects, "RoleBinding", "ClusterRoleBinding")}
    roles = of_kind(objects, "Role", "ClusterRole")
    return [rule for role in roles if role["metadata"]["name"] in bound for rule in role["rules"]]


@with_all_values
def test_the_chart_passes_strict_lint(values: Path | None) -> None:
    done = helm("lint", "--strict", str(CHART), *(["--values", str(values)] if values else []))
    assert done.returncode == 0, done.stdout + done.stderr


@with_all_values
def test_no_role_has_a_wildcard(values: Path | None) -> None:
    assert "*" not in json.dumps(list(rules(render(values))))


@with_all_values
def test_the_operator_may_neither_enter_pods_nor_change_rights(values: Path | None) -> None:
    for rule in operator_rules(render(values)):
        assert not {"pods/exec", "pods/attach", "pods/portforward", "nodes"} & set(rule["resources"])
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])


@with_all_values
def test_the_operator_never_writes_a_spec(values: Path | None) -> None:
    for rule in operator_rules(render(values)):
        if rule["apiGroups"] == ["modelsafety.dev"] and any("/" not in name for name in rule["resources"]):
            assert set(rule["verbs"]) == {"get", "list", "watch"}


def test_secrets_are_read_by_name_and_made_but_never_listed() -> None:
    (rule,) = (rule for rule in operator_rules(render()) if "secrets" in rule["resources"])
    assert set(rule["verbs"]) == {"get", "create"}


def test_secrets_can_be_refused_altogether() -> None:
    assert not [
        rule
        for rule in operator_rules(render(CHART / "ci/minimal-values.yaml"))
        if "secrets" in rule["resources"]
    ]


def test_a_namespaced_install_has_no_cluster_wide_rights() -> None:
    objects = render(CHART / "ci/namespaced-values.yaml")
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
    places = {one["metadata"]["namespace"] for one in of_kind(objects, "RoleBinding")}
    assert places == {"team-a", "team-b", "system"}
    account = {"kind": "ServiceAccount", "name": "release-model-safety-operator", "namespace": "system"}
    assert all(one["subjects"] == [account] for one in of_kind(objects, "RoleBinding"))


def test_each_binding_names_a_role_that_exists() -> None:
    objects = render()
    roles = {(one["kind"], one["metadata"]["name"]) for one in of_kind(objects, "Role", "ClusterRole")}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in roles


@with_all_values
def test_the_operators_pod_is_restricted(values: Path | None) -> None:
    pod = only(render(values), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "/healthz",
        "/readyz",
    }


@with_all_values
def test_every_namespaced_object_says_where_it_goes(values: Path | None) -> None:
    clustered = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    clustered |= {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    for found in render(values):
        assert ("namespace" in found["metadata"]) == (found["kind"] not in clustered), found["metadata"][
            "name"
        ]


@with_all_values
def test_the_environment_is_what_the_operator_reads(values: Path | None) -> None:
    (container,) = only(render(values), "Deployment")["spec"]["template"]["spec"]["containers"]
    ours = {
        one["name"]: one.get("value", "given") for one in container["env"] if one["name"].startswith(PREFIX)
    }
    assert set(ours) <= {PREFIX + name.upper() for name in Settings.model_fields}
    settings = Settings.from_environment(ours)
    assert settings.http_port == container["ports"][0]["containerPort"]
    leases = [rule for rule in operator_rules(render(values)) if rule.get("resourceNames")]
    assert leases[0]["resourceNames"] == [settings.lease_name]


def test_the_settings_follow_the_values() -> None:
    (container,) = only(render(CHART / "ci/production-values.yaml"), "Deployment")["spec"]["template"][
        "spec"
    ]["containers"]
    env = {one["name"]: one.get("value", "given") for one in container["env"]}
    assert container["image"].startswith("mirror.example.com/safety/model-safety/operator@sha256:")
    assert env["SAFETY_SERVER_IMAGE"] == "mirror.example.com/safety/vllm/vllm-openai:v0.32.0"
    assert env["SAFETY_WORKER_IMAGE"].startswith("mirror.example.com/safety/model-safety/worker:")
    assert env["SAFETY_IMAGE_PULL_SECRETS"] == "mirror"
    assert env["HTTPS_PROXY"] == "http://proxy.example.com:3128"


def pods_of(objects: list[Object]) -> ChartPods:
    """What the operator reads of the chart's pods."""
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    (text,) = [one["value"] for one in container["env"] if one["name"] == "SAFETY_PODS"]
    return Settings.from_environment({"SAFETY_PODS": text}).pods


def test_options_of_pods_reach_the_operator_whole() -> None:
    assert pods_of(render()).security_context == DEFAULT_PODS.security_context
    pods = pods_of(render(CHART / "ci/production-values.yaml"))
    assert pods.security_context == PodSecurity(run_as_user=1000660000, run_as_group=0, fs_group=1000660000)
    assert pods.limit_ratio == LimitRatio(cpu="10", memory="4")
    assert pods.roles.server.tolerations == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pods.roles.worker.resources == Resources(requests={"cpu": "500m", "memory": "2Gi"})


def test_resolvers_kuberay_and_the_label_of_secrets_reach_the_operator_as_they_are() -> None:
    for path, label, namespaces in (
        (None, "", ["kube-system", "openshift-dns"]),
        (CHART / "ci/production-values.yaml", "modelsafety.dev/usable=true", ["resolvers"]),
    ):
        (container,) = only(render(path), "Deployment")["spec"]["template"]["spec"]["containers"]
        env = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        names = ("SAFETY_SECRET_LABEL", "SAFETY_DNS_PEERS", "SAFETY_KUBERAY_PEERS")
        settings = Settings.from_environment({name: env[name] for name in names}).for_planning()
        assert settings.secret_label == label
        found = [peer["namespaceSelector"]["matchLabels"] for peer in settings.dns_peers]
        assert found == [{"kubernetes.io/metadata.name": name} for name in namespaces]
        in_production = (
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ray-system"}}},
        )
        assert settings.kuberay_peers == (in_production if path else KUBERAY_PEERS)


def test_who_may_read_metrics_reaches_the_operator_which_opens_the_guarded_endpoints_to_them() -> None:
    for path, peers in ((None, ()), (CHART / "ci/production-values.yaml", ("monitoring",))):
        (container,) = only(render(path), "Deployment")["spec"]["template"]["spec"]["containers"]
        (value,) = (one["value"] for one in container["env"] if one["name"] == "SAFETY_METRICS_PEERS")
        settings = Settings.from_environment({"SAFETY_METRICS_PEERS": value}).for_planning()
        found = [peer["namespaceSelector"]["matchLabels"] for peer in settings.metrics_peers]
        assert found == [{"kubernetes.io/metadata.name": name} for name in peers]


def test_pods_are_monitored_where_scrapers_are_let_in() -> None:
    create = "metrics.podMonitor.create=true"
    (monitor,) = of_kind(render(None, create), "PodMonitor")
    assert monitor["spec"]["selector"]["matchLabels"]["modelsafety.dev/role"] == "guardrails"
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    named = render(
        None, create, 'networkPolicy.metricsFrom=[{"podSelector": {}}]', 'watch.namespaces=["team-a"]'
    )
    monitors = of_kind(named, "PodMonitor")
    assert [one["spec"]["podMetricsEndpoints"][0]["port"] for one in monitors] == ["metrics", "http"]
    assert [one["spec"]["namespaceSelector"] for one in monitors] == [{"matchNames": ["team-a"]}] * 2
    assert of_kind(render(None), "PodMonitor") == []


def test_the_operators_own_policy_lets_it_resolve_names() -> None:
    policy = only(render(None, "networkPolicy.create=true"), "NetworkPolicy")
    assert {"to": [dict(peer) for peer in DNS_PEERS]} in policy["spec"]["egress"]


def test_one_value_leaves_user_and_groups_of_all_pods_to_the_cluster() -> None:
    objects = render(None, "pods.securityContext=null", 'reports.create="always"')
    assert pods_of(objects).security_context is None
    for one in of_kind(objects, "Deployment", "StatefulSet"):
        context = one["spec"]["template"]["spec"]["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context), one["metadata"]["name"]


def test_report_servers_run_as_the_workers_do() -> None:
    for values, ids in ((None, (1000, 1000, 1000)), ("production", (1000660000, 0, 1000660000))):
        path = CHART / f"ci/{values}-values.yaml" if values else None
        for one in of_kind(render(path, 'reports.create="always"'), "StatefulSet"):
            context = one["spec"]["template"]["spec"]["securityContext"]
            assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == ids


def test_the_schema_knows_the_options_of_pods_and_no_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    pods, role = schema["properties"]["pods"], schema["definitions"]["role"]
    for names, model in (
        (pods["propertyNames"]["enum"], ChartPods),
        (role["propertyNames"]["enum"], RoleOptions),
    ):
        assert sorted(names) == sorted(to_camel(name) for name in model.model_fields)
    assert set(pods["properties"]["roles"]["properties"]) == set(AllRoles.model_fields)


def test_the_schema_keeps_the_names_of_others_out_of_labels_as_resources_do() -> None:
    definitions = json.loads((CHART / "values.schema.json").read_text())["definitions"]
    labels = definitions["placement"]["properties"]["labels"]["propertyNames"]["not"]["enum"]
    assert sorted(labels) == sorted(RESERVED_LABELS)
    begins = re.compile(definitions["foreign"]["propertyNames"]["not"]["pattern"])
    assert all(begins.search(f"{prefix}x") for prefix in RESERVED_PREFIXES)
    assert not any(begins.search(name) for name in ("example.com/modelsafety.dev/", "modelsafetyXdev/a"))


VLLM = {"registry": "docker.io", "repository": "vllm/vllm-openai", "tag": "v0.32.0"}


def images_of(device: str = "gpu", **images: Any) -> Images:
    """The images that the operator launches, by the chart's values."""
    sets = (f"device={json.dumps(device)}", f"images={json.dumps(images)}")
    (container,) = only(render(None, *sets), "Deployment")["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("value", "") for one in container["env"] if one["name"].startswith(PREFIX)}
    return Settings.from_environment(env).for_planning().images


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_pods_with_a_gpu_get_the_image_for_gpus_and_others_the_one_for_cpus(device: str) -> None:
    images = images_of(device)
    assert images.worker_on(gpu=True).startswith("model-safety/worker-gpu:")
    assert images.worker_on(gpu=False).startswith("model-safety/worker:")
    assert images.server_on("gpu") == images.worker_on(gpu=True)
    assert images.server_on("cpu") == images.worker_on(gpu=False)


def test_an_image_for_servers_is_for_the_device_that_the_chart_names() -> None:
    images = images_of("gpu", server=VLLM)
    assert images.server_on("gpu") == "docker.io/vllm/vllm-openai:v0.32.0"
    assert images.server_on("cpu") == images.worker
    images = images_of("cpu", server=VLLM)
    assert images.server_on("cpu") == "docker.io/vllm/vllm-openai:v0.32.0"
    assert images.server_on("gpu") == images.worker_gpu


def test_one_value_switches_every_image_to_a_mirror() -> None:
    own = {"registry": "registry.example.org"}
    given = dict.fromkeys(("operator", "worker", "workerGpu", "guardrails"), own) | {"server": VLLM}
    before = images_of(**given)
    assert before.worker.startswith("registry.example.org/model-safety/worker:")
    assert before.nemo_rl == "nvcr.io/nvidia/nemo-rl"
    after = images_of(**given, registry="mirror.example.com/all/")
    named = (after.worker, after.worker_gpu, after.server_gpu, after.guardrails, after.nemo_rl)
    assert all(image.startswith("mirror.example.com/all/") for image in named)
    assert after.server_gpu == "mirror.example.com/all/vllm/vllm-openai:v0.32.0"
    assert after.nemo_rl == "mirror.example.com/all/nvidia/nemo-rl"


def test_the_dashboard_shows_metrics_that_the_operator_has() -> None:
    text = only(render(CHART / "ci/production-values.yaml"), "ConfigMap")["data"][
        "model-safety-operator.json"
    ]
    shown = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    named = {name for expression in shown for name in re.findall(r"safety_\w+", expression)}
    own = [found for found in vars(metrics).values() if isinstance(found, MetricWrapperBase)]
    families: list[Metric] = [family for source in (*own, StatusMetrics({})) for family in source.collect()]
    assert {re.sub(r"_(total|bucket)$", "", name) for name in named} <= {family.name for family in families}


def test_crds_are_upgraded_and_kept() -> None:
    crds = of_kind(render(), "CustomResourceDefinition")
    assert len(crds) == 4
    assert all(crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for crd in crds)
    assert not (CHART / "crds").exists(), "helm never upgrades what is there"
    dropped = of_kind(render(None, "crds.keep=false"), "CustomResourceDefinition")
    assert all("annotations" not in crd["metadata"] for crd in dropped)


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("prod", "prod-model-safety-operator"),
        ("model-safety", "model-safety-operator"),
        ("model-safety-operator", "model-safety-operator"),
        ("my-model-safety-operator", "my-model-safety-operator"),
    ],
)
def test_names_do_not_say_the_same_twice(release: str, name: str) -> None:
    rendered = helm("template", release, str(CHART), "--show-only", "templates/deployment.yaml").stdout
    assert yaml.safe_load(rendered)["metadata"]["name"] == name


def test_a_claim_is_made_once_in_each_namespace() -> None:
    claims = of_kind(render(None, 'artifacts.namespaces=["team-a","system"]'), "PersistentVolumeClaim")
    assert sorted(claim["metadata"]["namespace"] for claim in claims) == ["system", "team-a"]
    assert {claim["metadata"]["name"] for claim in claims} == {"safety-artifacts"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('colour="red"', "additional properties 'colour' not allowed"),
        ('device="tpu"', "value must be one of 'cpu', 'gpu'"),
        ("replicas=-1", "minimum: got -1, want 0"),
        ('images.worker={"repository":""}', "minLength"),
        ('images.worker.digest="latest"', "does not match pattern"),
        ('images.server.repository="vllm/vllm-openai"', "minLength"),
        ('env=[{"name":"SAFETY_DEVICE"}]', "not"),
        ('watch.namespaces=["*"]', "does not match pattern"),
        ("pods.securityContext.runAsUser=0", "minimum: got 0, want 1"),
        ('pods.limitRatio.cpu="0.5"', "does not match pattern"),
        ('pods.roles.workers={"env":[]}', "additional properties 'workers' not allowed"),
        ('secrets.requireLabel="a=b=c"', "does not match pattern"),
        ("dnsPeers=[{}]", "minProperties"),
        ("kuberayPeers=[{}]", "minProperties"),
        ("pods.resources={}", "value must be one of"),
        ('pods.roles.worker.resources.limits.cpu="many"', "does not match pattern"),
        ('pods.labels={"modelsafety.dev/role":"x"}', "not"),
        ('pods.roles.proof.labels={"job-name":"x"}', "not"),
        ('pods.env=[{"name":"HOME"}]', "not"),
    ],
)
def test_wrong_values_are_refused(wrong: str, message: str) -> None:
    done = helm("template", *RELEASE, "--set-json", wrong)
    assert done.returncode != 0
    assert message in done.stderr


def test_every_value_is_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert _unknown(schema, values, "") == []


def _unknown(schema: Object, value: Any, path: str) -> list[str]:
    """Paths of values that the schema does not name."""
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    unknown = [f"{path}.{name}" for name in value if name not in schema["properties"]]
    known = [name for name in value if name in schema["properties"]]
    return unknown + [
        line for name in known for line in _unknown(schema["properties"][name], value[name], f"{path}.{name}")
    ]


class TestReportServers:
    def test_by_default_there_is_none_that_would_hold_a_volume_on_its_node(self) -> None:
        assert of_kind(render(), "StatefulSet") == []
        shared = render(None, 'artifacts.accessModes=["ReadWriteMany"]')
        assert only(shared, "StatefulSet")["metadata"]["namespace"] == "system"

    def test_they_can_be_switched_off(self) -> None:
        sets = ('artifacts.accessModes=["ReadWriteMany"]', 'reports.create="never"')
        assert of_kind(render(None, *sets), "StatefulSet") == []

    def test_there_is_one_beside_each_claim_with_its_policy_and_role(self) -> None:
        objects = render(
            None, 'reports={"create":"always","namespaces":["own"]}', 'artifacts.namespaces=["team"]'
        )
        wanted = ["own", "system", "team"]
        for kind in ("StatefulSet", "NetworkPolicy"):
            assert sorted(one["metadata"]["namespace"] for one in of_kind(objects, kind)) == wanted
        readers = [r for r in of_kind(objects, "Role") if r["metadata"]["name"] == "safety-reports-reader"]
        assert sorted(one["metadata"]["namespace"] for one in readers) == wanted

    @with_all_values
    def test_its_pod_is_restricted_and_has_no_token_and_only_reads(self, values: Path | None) -> None:
        for one in of_kind(render(values, 'reports.create="always"'), "StatefulSet"):
            pod = one["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["volumeMounts"] == [
                {"name": "artifacts", "mountPath": "/artifacts", "readOnly": True}
            ]
            assert "ports" not in container

    def test_nothing_comes_in_or_goes_out(self) -> None:
        objects = render(None, 'reports.create="always"')
        policy, server = only(objects, "NetworkPolicy")["spec"], only(objects, "StatefulSet")["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert not {"ingress", "egress"} & set(policy)
        assert policy["podSelector"] == server["selector"]
        assert server["selector"]["matchLabels"].items() <= server["template"]["metadata"]["labels"].items()

    def test_the_operators_own_selectors_do_not_touch_it(self) -> None:
        objects = render(CHART / "ci/production-values.yaml")
        labels = only([o for o in objects if o["metadata"].get("namespace") == "team-a"], "StatefulSet")[
            "spec"
        ]["template"]["metadata"]["labels"]
        operator = only(objects, "Deployment")["spec"]["selector"]["matchLabels"]
        assert not operator.items() <= labels.items()

    def test_its_names_are_those_that_the_plugin_asks_for(self) -> None:
        objects = render(None, 'reports.create="always"')
        (container,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
        assert only(objects, "StatefulSet")["metadata"]["name"] == report_files.SERVER_NAME
        assert {item["name"] for item in container["env"]} == set(VARIABLES)
        (reader,) = [
            r
            for r in of_kind(objects, "Role")
            if r["metadata"]["name"] == f"{report_files.SERVER_NAME}-reader"
        ]
        assert {name for rule in reader["rules"] for name in rule["resourceNames"]} == {
            f"{report_files.SERVER_NAME}-0"
        }


def test_a_namespaced_install_probes_from_its_own_namespace_with_no_more_rights_than_that_takes() -> None:
    def rights(*sets: str) -> dict[str, Any]:
        objects = render(CHART / "ci/namespaced-values.yaml", *sets)
        roles = [one for one in of_kind(objects, "Role") if one["metadata"]["name"].endswith("-probe")]
        return {
            one["metadata"]["namespace"]: {rule["resources"][0]: rule["verbs"] for rule in one["rules"]}
            for one in roles
        }

    least = {"jobs": ["list", "create", "delete"], "pods": ["list"]}
    assert rights() == {"system": least}
    assert rights('proof.probeNamespace="probes"') == {"probes": least}
    assert rights("proof.fromOtherNamespace=false") == {}
    assert not [one for one in of_kind(render(), "Role") if one["metadata"]["name"].endswith("-probe")]


def test_the_namespace_of_probes_reaches_the_operator() -> None:
    for sets, wanted in (
        ((), "system"),
        (('proof.probeNamespace="probes"',), "probes"),
        (("proof.fromOtherNamespace=false",), ""),
    ):
        (container,) = only(render(None, *sets), "Deployment")["spec"]["template"]["spec"]["containers"]
        env = {
            one["name"]: one["value"] for one in container["env"] if one["name"] == "SAFETY_PROBE_NAMESPACE"
        }
        assert Settings.from_environment(env).for_planning().probe_namespace == wanted
