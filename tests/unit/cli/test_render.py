"""Everything that manifests would create: the operator's own plans, complete, and the same each time."""

import json
import subprocess
import sys

import pytest
import yaml
from tests.unit.cli.support import QUICKSTART, REPO, make_paper, quickstart_manifests, run_dry, text_of
from tests.unit.planning.restricted import pod_template, violations

from safety_cli import manifests, render
from safety_cli.dry_run import DryRun
from safety_cli.errors import CliError
from safety_operator.state.keys import Key
from safety_operator.state.labels import LABEL_ROLE

RIGHT = REPO / "tests/data/manifests/right"


def test_the_quickstart_comes_to_its_end_and_every_stage_is_there():
    dry_run = run_dry(*quickstart_manifests())
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
    for item in run_dry(*quickstart_manifests()).made():
        assert item.manifest["metadata"]["labels"][LABEL_ROLE] == item.role
        assert "status" not in item.manifest
        assert "uid" not in item.manifest["metadata"]
        template = pod_template(item.manifest)
        assert template is None or not list(violations(template))


def test_the_same_manifests_give_the_same_objects():
    first, second = (run_dry(*quickstart_manifests()).made() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("path", sorted(RIGHT.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_right_manifest_can_be_rendered_as_far_as_its_references_go(path):
    dry_run = DryRun(render.parse_settings(["device=cpu"]))
    for manifest in manifests.read_manifests([str(path)], []):
        dry_run.add(manifest, "team")
    dry_run.run_to_end()
    for message in dry_run.unfinished().values():
        assert "Fix the spec" not in message


def show(tmp_path, *documents, form="yaml", namespace="", settings=()):
    path = tmp_path / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    out, notes = make_paper(10_000), make_paper(200)
    code = render.show(
        out, notes, files=[str(path)], kustomizations=[], namespace=namespace, settings=settings, form=form
    )
    return code, text_of(out), text_of(notes)


def test_yaml_can_be_read_back_and_says_whose_each_object_is(tmp_path):
    code, out, notes = show(tmp_path, *quickstart_manifests(), namespace="team")
    assert code == 0
    assert notes == ""
    documents = list(yaml.safe_load_all(out))
    made = run_dry(*quickstart_manifests(), settings=render.parse_settings([])).made()
    assert documents == [item.manifest for item in made]
    assert "# SafetyEval team/base: generate" in out
    assert "target-server; taken away in the course of the run" in out


def test_json_is_a_list_that_kubectl_takes(tmp_path):
    _, out, _ = show(tmp_path, *quickstart_manifests(), form="json")
    listing = json.loads(out)
    assert listing["kind"] == "List"
    assert {item["metadata"]["namespace"] for item in listing["items"]} == {"default"}


def test_a_table_names_resource_role_and_object(tmp_path):
    _, out, _ = show(tmp_path, *quickstart_manifests(), form="table")
    line = next(line for line in out.splitlines() if "job/base-judge-" in line)
    assert line.split()[:2] == ["safetyeval/base", "judge"]


def test_settings_of_the_operator_are_followed(tmp_path):
    _, out, _ = show(
        tmp_path, *quickstart_manifests(), settings=["worker_image=mirror/worker:9", "device=cpu"]
    )
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


def test_what_is_missing_is_said_and_what_is_assumed_too(tmp_path):
    code, out, notes = show(tmp_path, evaluation())
    assert (code, out) == (1, "")
    assert "assumed to exist in default: PersistentVolumeClaim safety-artifacts" in notes
    assert "assumed to exist in default: Secret hub" in notes
    assert "incomplete: SafetyEval base" in notes
    assert "the ConfigMap prompts does not exist" in notes


def test_a_wrong_spec_is_named_by_its_field(tmp_path):
    code, out, notes = show(tmp_path, evaluation(judges=[], timeZone="Europe/Zurich"))
    assert (code, out) == (1, "")
    assert "every suite in contentSafety must name a judge that is listed in judges" in notes
    assert "timeZone belongs to a schedule: add one, or remove it. Fix the spec." in notes


def test_a_schedule_is_rendered_once(tmp_path):
    data = {"harm.jsonl": '{"prompt": "x"}\n'}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": data}
    code, out, _ = show(tmp_path, evaluation(schedule="0 3 * * 1"), config)
    assert code == 0
    assert out.count("/base: generate\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "no YAML"),
        ("just text", "no Kubernetes object"),
        ("kind: Pod", "without metadata.name"),
        ("kind: Pod\nmetadata: {name: x}", "none of SafetyEval"),
        ("", "none of SafetyEval"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(tmp_path, text, words):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(CliError, match=words):
        render.show(
            make_paper(),
            make_paper(),
            files=[str(path)],
            kustomizations=[],
            namespace="",
            settings=[],
            form="yaml",
        )


def test_files_and_folders_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(CliError, match=r"none\.yaml: No such file"):
        manifests.read_manifests([str(tmp_path / "none.yaml")], [])
    with pytest.raises(CliError, match="holds no manifest"):
        manifests.read_manifests([str(tmp_path)], [])


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
    alone, together = run_dry(manifest, data), run_dry(*quickstart_manifests())
    assert alone.unfinished() == {}
    assert alone.assumed_finished
    owner = (manifest["kind"], manifest["metadata"]["name"])
    wanted = {
        (item.role, item.manifest["kind"])
        for item in together.made()
        if (item.owner.kind, item.owner.name) == owner
    }
    assert {(item.role, item.manifest["kind"]) for item in alone.made()} == wanted


def test_a_baseline_that_was_not_given_stands_in_and_rails_cannot(tmp_path):
    data = {"harm.jsonl": '{"prompt": "x"}\n'}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": data}
    code, _, notes = show(tmp_path, evaluation(baselineRef={"name": "before"}), config)
    assert code == 0
    assert "assumed to be finished in default: SafetyEval before" in notes
    rails = {"guardedDeploymentRef": {"name": "assistant"}}
    code, _, notes = show(tmp_path, evaluation(model=rails), config)
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
    words = list(dry_run.unfinished().values())
    assert len(words) == 2
    assert all("first" in text and "second" in text and "waits for" in text for text in words)
