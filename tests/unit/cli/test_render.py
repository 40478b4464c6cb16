"""Everything that manifests would create: the operator's own plans, complete, and the same each time."""

import io
import json
import subprocess
import sys
from functools import cache

import pytest
import yaml
from tests.manifests import wrong_manifests
from tests.unit.cli.support import QUICKSTART, REPO, quickstart_manifests, run_dry
from tests.unit.planning.restricted import pod_template, violations

from safety_cli import manifests, render
from safety_cli.dry_run import DryRun
from safety_cli.errors import CliError
from safety_cli.main import main
from safety_operator.state.keys import Key
from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.settings import DEFAULT_PODS


@cache
def quickstart() -> DryRun:
    """The quickstart at its end; nothing changes it."""
    return run_dry(*quickstart_manifests())


ENDPOINT = {"url": "https://nim.example.com/v1", "model": "llama"}
RIGHT = REPO / "tests/data/manifests/right"
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "prompts"},
    "data": {"harm.jsonl": '{"prompt": "x"}\n'},
}


def test_the_quickstart_comes_to_its_end_and_every_stage_is_there():
    dry_run = quickstart()
    assert dry_run.unfinished() == {}
    roles = {(item.owner.kind, item.role) for item in dry_run.made() if item.manifest["kind"] == "Job"}
    assert roles == {
        *(
            ("SafetyEval", stage)
            for stage in ("fetch", "generate", "scan", "benchmark", "judge", "score", "report")
        ),
        *(("SafetyBlend", stage) for stage in ("collect", "fetch", "answer", "judge", "assemble")),
        *(("SafetyFinetune", stage) for stage in ("fetch", "train")),
        ("GuardedDeployment", "prove"),
    }
    assert any(item.temporary and item.role == "target-server" for item in dry_run.made())
    assert dry_run.assumed == set()


def test_every_object_is_whole_and_every_pod_restricted():
    for item in quickstart().made():
        assert item.manifest["metadata"]["labels"][LABEL_ROLE] == item.role
        assert "status" not in item.manifest
        assert "uid" not in item.manifest["metadata"]
        template = pod_template(item.manifest)
        assert template is None or not list(violations(template))


def test_the_same_manifests_give_the_same_objects():
    assert run_dry(*quickstart_manifests()).made() == quickstart().made()


@pytest.mark.parametrize("path", sorted(RIGHT.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_right_manifest_can_be_rendered_as_far_as_its_references_go(path):
    dry_run = DryRun(render.parse_settings(["device=cpu"]))
    for manifest in manifests.read_manifests([str(path)], []):
        dry_run.add(manifest, "team")
    dry_run.run_to_end()
    assert dry_run.refused == {}


@pytest.fixture
def show(tmp_path, capsys):
    """Renders documents from a file: exit code, standard output and standard error."""

    def render_them(*documents, form="yaml", namespace="", settings=()):
        path = tmp_path / "manifests.yaml"
        texts = [item if isinstance(item, str) else json.dumps(item) for item in documents]
        path.write_text("\n---\n".join(texts))
        given = [f"--setting={setting}" for setting in settings]
        code = main(["render", "-f", str(path), "-n", namespace, "-o", form, *given])
        return code, *capsys.readouterr()

    return render_them


def test_yaml_can_be_read_back_and_says_whose_each_object_is(show):
    code, out, notes = show(*quickstart_manifests(), namespace="team")
    assert code == 0
    assert notes == ""
    documents = list(yaml.safe_load_all(out))
    made = run_dry(*quickstart_manifests(), settings=render.parse_settings([])).made()
    assert documents == [item.manifest for item in made]
    assert "# SafetyEval team/base: generate" in out
    assert "target-server; deleted in the course of the run" in out


def test_a_text_that_looks_like_a_number_is_one_for_kubectl_too(show, tmp_path):
    labels = dict.fromkeys(("a", "b", "c"), "1234e567") | {"b": "1e-3", "c": "0.5"}
    _, out, _ = show(evaluation(pod={"labels": labels}), CONFIG)
    (tmp_path / "manifests.yaml").unlink()
    (tmp_path / "out.yaml").write_text(out)
    jobs = [item for item in manifests.read_manifests([str(tmp_path)], []) if item["kind"] == "Job"]
    assert jobs
    for job in jobs:
        assert job["spec"]["template"]["metadata"]["labels"].items() >= labels.items()


def test_json_is_a_list_that_kubectl_takes(show):
    _, out, _ = show(*quickstart_manifests(), form="json")
    listing = json.loads(out)
    assert listing["kind"] == "List"
    assert {item["metadata"]["namespace"] for item in listing["items"]} == {"default"}


def test_a_table_names_resource_role_and_object(show):
    _, out, _ = show(*quickstart_manifests(), form="table")
    line = next(line for line in out.splitlines() if "job/base-judge-" in line)
    assert line.split()[:2] == ["safetyeval/base", "judge"]


def test_options_of_pods_are_laid_over_those_of_the_chart():
    pods = render.parse_settings(['pods={"limitRatio": {"cpu": "4"}}']).pods
    assert pods.limit_ratio.model_dump(exclude_none=True) == {"cpu": "4"}
    assert pods.security_context == DEFAULT_PODS.security_context
    assert render.parse_settings(['pods={"securityContext": null}']).pods.security_context is None


def test_settings_of_the_operator_are_followed(show):
    _, out, _ = show(*quickstart_manifests(), settings=["worker_image=mirror/worker:9", "device=cpu"])
    assert "image: mirror/worker:9" in out


def evaluation(**spec):
    base = {
        "model": {
            "source": {"uri": "hf://org/model@main", "tokenSecretRef": {"name": "hub", "key": "token"}}
        },
        "judges": [{"name": "refusals", "type": "refusal-phrases"}],
        "contentSafety": [
            {"name": "harm", "dataset": {"uri": "configmap://prompts/harm.jsonl"}, "judge": "refusals"}
        ],
    }
    metadata = {"name": "base"}
    return {
        "apiVersion": "modelsafety.dev/v1alpha1",
        "kind": "SafetyEval",
        "metadata": metadata,
        "spec": base | spec,
    }


def test_what_is_missing_is_said_and_what_is_assumed_too(show):
    code, out, notes = show(evaluation())
    assert (code, out) == (1, "")
    assert "assumed to exist in default: PersistentVolumeClaim safety-artifacts" in notes
    assert "assumed to exist in default: Secret hub" in notes
    assert "incomplete: SafetyEval base" in notes
    assert "the ConfigMap prompts does not exist" in notes


def test_a_wrong_spec_is_named_by_its_fields_a_line_each(show):
    code, out, notes = show(evaluation(judges=[], timeZone="Europe/Zurich"))
    assert (code, out) == (1, "")
    start = "refused: SafetyEval base: spec: "
    assert notes.splitlines() == [
        f"{start}every suite in contentSafety must name a judge that is listed in judges",
        f"{start}timeZone belongs to a schedule: add one, or remove it",
    ]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            {"thresholds": [{"metric": "contentSafety", "min": 0.9}]},
            "thresholds[0].min: must be a string: put",
        ),
        ({"serving": {"gpu": 1}}, "serving.gpu: unknown field"),
        ({"judges": [{"name": "own"}]}, "judges[0].type: required"),
    ],
)
def test_mistakes_of_form_are_told_in_words_of_kubernetes(show, spec, line):
    assert f"refused: SafetyEval base: spec.{line}" in show(evaluation(**spec))[2]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"treshold": []}, "treshold: unknown field; did you mean thresholds?"),
        (
            {"serving": {"maxModelLength": 1}},
            "serving.maxModelLength: unknown field; did you mean maxModelLen?",
        ),
        (
            {"judges": [{"name": "own", "type": "refusal-phrases", "modle": {}}]},
            "judges[0].modle: unknown field; did you mean model?",
        ),
        ({"serving": {"gpu": 1}}, "serving.gpu: unknown field"),
    ],
)
def test_an_unknown_field_is_told_with_the_one_that_was_probably_meant(show, spec, line):
    assert f"refused: SafetyEval base: spec.{line}" in show(evaluation(**spec))[2].splitlines()


def test_what_refers_to_a_refused_resource_waits_for_it(show):
    code, out, notes = show(
        evaluation(baselineRef={"name": "before"}), evaluation(gpu=1) | {"metadata": {"name": "before"}}
    )
    assert (code, out) == (1, "")
    assert "refused: SafetyEval before: spec.gpu: unknown field" in notes
    assert "incomplete: SafetyEval base" in notes


def test_a_schedule_is_rendered_once(show):
    code, out, _ = show(evaluation(schedule="0 3 * * 1"), CONFIG)
    assert code == 0
    assert out.count("/base: generate\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1: no YAML of Kubernetes: expected"),
        ("a:\n\tb: 1", "line 2: no YAML of Kubernetes: found character"),
        ("a: 1\nb: 2\na: 3", 'line 3: no YAML of Kubernetes: the key "a" stands twice'),
        ("a: !!python/name:os.system x", "line 1: no YAML of Kubernetes: could not determine"),
        ("a: &a [*a]", "no YAML of Kubernetes: Circular"),
        ("a: !!binary aGk=", "no YAML of Kubernetes: Object of type bytes"),
        ("a: .inf", "no YAML of Kubernetes: Out of range"),
        ('a: "\\ud800"', "no YAML of Kubernetes: "),
        ("just text", "no Kubernetes object"),
        ("kind: List\nitems: 5", "a List without metadata.name"),
        ("kind: Pod", "without metadata.name"),
        ("kind: Pod\nmetadata: {name: x, namespace: 5}", "Pod x: metadata.namespace is no text"),
        ("kind: Pod\nmetadata: {name: x}", "none of SafetyEval"),
        ("", "none of SafetyEval"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(show, text, words):
    code, out, notes = show(text)
    assert (code, out) == (1, "")
    assert words in notes


@pytest.mark.parametrize("case", ["a learning rate as a float", "the same key twice"])
def test_what_yaml_libraries_read_differently_is_refused_as_by_kubectl(show, case):
    (wrong,) = [found for found in wrong_manifests() if found.case == case]
    assert show(wrong.manifest)[0] == 1


def test_dates_and_words_of_a_manifest_are_text_as_kubectl_has_them(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "kind: Pod\nmetadata: {name: x, labels: {a: 2026-01-01, b: 1_0.5, 1: 1e-4, c: -.5, d: 2.}}"
    )
    (found,) = manifests.read_manifests([str(tmp_path)], [])
    assert found["metadata"]["labels"] == {"a": "2026-01-01", "b": "1_0.5", "1": 1e-4, "c": -0.5, "d": 2.0}


@pytest.mark.parametrize(
    ("version", "kind"), [("v1", "SafetyEval"), ("v1alpha1", "SafetyEvaluation"), ("v1alpha1", "Pod")]
)
def test_another_version_or_a_misspelt_kind_of_the_group_is_not_passed_over(show, version, kind):
    other = {"apiVersion": f"modelsafety.dev/{version}", "kind": kind, "metadata": {"name": "x"}, "spec": {}}
    code, out, notes = show(*quickstart_manifests(), other)
    assert code == 1
    assert "job/base-fetch" not in out
    assert f"refused: {kind} x: there is no such kind in modelsafety.dev/{version}" in notes
    assert "modelsafety.dev/v1alpha1 has SafetyEval, SafetyBlend" in notes


def test_without_anything_to_render_the_command_line_is_wrong(capsys):
    assert main(["render"]) == 2
    assert "-f FILE or -k FOLDER" in capsys.readouterr().err


def test_files_and_folders_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(CliError, match=r"none\.yaml: No such file"):
        manifests.read_manifests([str(tmp_path / "none.yaml")], [])
    with pytest.raises(CliError, match="holds no manifest"):
        manifests.read_manifests([str(tmp_path)], [])
    (tmp_path / "x.yaml").write_bytes("kind: \xe9".encode("latin-1"))
    with pytest.raises(CliError, match=r"x\.yaml: no UTF-8"):
        manifests.read_manifests([str(tmp_path)], [])


def test_standard_input_is_read_as_a_file_is(monkeypatch):
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + json.dumps(CONFIG).encode()))
    )
    assert manifests.read_manifests(["-"], []) == [CONFIG]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    with pytest.raises(CliError, match="standard input: no UTF-8"):
        manifests.read_manifests(["-"], [])


@pytest.mark.parametrize("pair", ["device", "colour=red", "device=tpu"])
def test_a_setting_that_does_not_exist_is_refused(pair):
    with pytest.raises(CliError, match="--setting"):
        render.parse_settings([pair])


def test_lists_are_taken_apart(tmp_path):
    (tmp_path / "list.yaml").write_text(
        yaml.safe_dump({"kind": "List", "items": [evaluation(), evaluation()]}),
    )
    found = manifests.read_manifests([str(tmp_path)], [])
    assert [item["metadata"]["name"] for item in found] == ["base", "base"]


def test_references_are_looked_for_in_their_own_namespace_only():
    here, there = quickstart_manifests(), quickstart_manifests()
    for item in there:
        item.setdefault("metadata", {})["namespace"] = "other"
    dry_run = run_dry(*here, *[item for item in there if item["kind"] == "GuardedDeployment"])
    assert dry_run.assumed_finished == {
        Key("SafetyFinetune", "other", "hardened"),
        Key("SafetyEval", "other", "hardened"),
    }


@pytest.mark.parametrize("name", ["finetune", "hardened-eval", "guarded"])
def test_one_manifest_alone_shows_the_roles_that_it_has_among_the_others(name):
    """What it refers to is assumed to be finished, so nothing of it is missing."""
    (manifest,) = yaml.safe_load_all((QUICKSTART / f"{name}.yaml").read_text())
    data = quickstart_manifests()[-1]
    alone, together = run_dry(manifest, data), quickstart()
    assert alone.unfinished() == {}
    assert alone.assumed_finished
    owner = (manifest["kind"], manifest["metadata"]["name"])
    wanted = {
        (item.role, item.manifest["kind"])
        for item in together.made()
        if (item.owner.kind, item.owner.name) == owner
    }
    assert {(item.role, item.manifest["kind"]) for item in alone.made()} == wanted


@pytest.mark.parametrize("model", [{"source": {"uri": "hf://org/name"}}, {"endpoint": ENDPOINT}])
def test_an_evaluation_that_was_not_given_asked_the_model_as_it_is_served(model):
    """Else the gate would name differences to an evaluation that nobody has seen."""
    variables = [{"name": "VLLM_USE_V1", "value": "1"}]
    spec = {
        "model": model,
        "gate": {"evalRefs": [{"name": "before"}], "maxAge": "30d"},
        "guardrails": {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}},
    }
    if "source" in model:
        autoscaling = {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 70}
        spec["serving"] = {"reasoningParser": "qwen3", "servedName": "it", "autoscaling": autoscaling}
        spec["pod"] = {"env": variables, "roles": {"server": {"env": variables}}}
    dry_run = run_dry(
        {
            "apiVersion": "modelsafety.dev/v1alpha1",
            "kind": "GuardedDeployment",
            "metadata": {"name": "it"},
            "spec": spec,
        }
    )
    assert dry_run.unfinished() == {}


def test_a_baseline_that_was_not_given_stands_in_and_rails_cannot(show):
    code, _, notes = show(evaluation(baselineRef={"name": "before"}), CONFIG)
    assert code == 0
    assert "assumed to be finished in default: SafetyEval before" in notes
    rails = {"guardedDeploymentRef": {"name": "assistant"}}
    code, _, notes = show(evaluation(model=rails), CONFIG)
    assert code == 1
    assert "incomplete: SafetyEval base: Waiting for GuardedDeployment assistant" in notes


def test_the_command_works_from_a_source_tree_without_a_cluster(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "safety_cli.main", "render", "-f", str(QUICKSTART), "-o", "table"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPO / "operator"), "PATH": "", "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "job/hardened-fetch-" in done.stdout
    assert "quickstart-data" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_manifests_that_wait_for_each_other_make_nothing_and_say_so():
    meta = {"apiVersion": "modelsafety.dev/v1alpha1", "kind": "SafetyFinetune"}
    data = {"uri": "pvc://safety-artifacts/rows.jsonl"}
    circle = [
        meta | {"metadata": {"name": one}, "spec": {"model": {"finetuneRef": {"name": other}}, "data": data}}
        for one, other in (("first", "second"), ("second", "first"))
    ]
    dry_run = run_dry(*circle)
    assert dry_run.made() == []
    words = [ready["message"] for ready in dry_run.unfinished().values()]
    assert len(words) == 2
    assert all("first" in text and "second" in text and "waits for" in text for text in words)
