"""The life of a SafetyFinetune."""

import pytest
from tests.unit.planning.examples import finished_blend, finished_finetune, make_finetune

from safety_records.result import Artifact, Training
from safety_records.stages import parse_stage_spec


def test_it_fetches_while_it_waits_for_the_blend():
    world = make_finetune()
    world.settle()
    assert world.stage("fetch")["state"] == "Running"
    world.succeed("fetch", max_length=2048)
    world.settle()
    assert world.status["progress"]["text"] == "waiting for SafetyBlend blend to be created"
    assert world.status["state"] == "Waiting"
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    job = world.job("train")
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 1
    assert world.status["dataDigest"] == finished_blend()["status"]["output"]["digest"]


def test_a_blend_that_failed_is_waited_for_with_its_own_words_and_the_model_is_fetched_meanwhile():
    world = make_finetune()
    failed = finished_blend()
    failed["status"] = {"state": "Failed", "progress": {"text": "Stage assemble: no row is left: 12 unsafe"}}
    world.refer("SafetyBlend", "blend", failed)
    world.settle()
    assert world.stage("fetch")["state"] == "Running"
    world.succeed("fetch", max_length=2048)
    world.settle()
    assert world.condition("Ready")["message"] == (
        "Waiting for SafetyBlend blend (Failed: Stage assemble: no row is left: 12 unsafe)."
    )
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    assert world.stage("train")["state"] == "Running"


def test_a_blend_without_rows_asks_for_no_gpu():
    world = make_finetune()
    world.refer("SafetyBlend", "blend", finished_blend(rows=0))
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    assert "the data have only 0 training rows" in world.condition("Stalled")["message"]
    assert len(world.names("Job")) == 1


def start_training(**spec):
    world = make_finetune(**spec)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    return world


def test_step_loss_and_speed_are_shown_while_it_runs_and_kept_when_the_pod_is_gone():
    world = start_training()
    name = world.start("train", done=20, total=84, unit="steps", loss=0.91234, epoch=0.7, resumes=1)
    world.settle()
    assert (world.status["step"], world.status["steps"], world.status["loss"]) == (20, 84, "0.9123")
    assert world.status["progress"]["text"] == "train 20/84 steps"
    world.progress.pop(name)
    world.settle()
    assert (world.status["step"], world.status["loss"], world.status["resumes"]) == (20, "0.9123", 1)


def test_numbers_stay_while_a_new_pod_looks_for_its_checkpoint_and_while_the_model_is_exported():
    world = start_training()
    world.start("train", done=20, total=84, unit="steps", loss=0.91234, resumes=1)
    world.settle()
    for done in (0, 84):
        world.start("train", done=done, total=done, unit="steps", message="on the way")
        world.settle()
        shown = world.status["step"], world.status["steps"], world.status["loss"], world.status["resumes"]
        assert shown == (max(done, 20), 84, "0.9123", 1)
    world.start("train", done=15, total=84, unit="steps", resumes=2)
    world.settle()
    assert (world.status["step"], world.status["resumes"]) == (15, 2)


def test_the_product_is_named_with_uri_and_digest():
    world = start_training()
    world.succeed("train", output="product", training=Training(step=84, steps=84, epoch=3.0, loss=0.75))
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.status["output"]["uri"].startswith("pvc://safety-artifacts/out/train-")
    assert world.status["step"] == 84


def test_the_report_is_named_with_its_page_and_what_the_resource_calls_model_and_data():
    world = start_training()
    lineage = parse_stage_spec(world.specification("train")).lineage
    assert lineage == {"base": "hf://org/model@main", "data": "SafetyBlend blend"}
    report = Artifact(uri="out/report-1", digest="sha256:" + "7" * 64, bytes=1)
    world.succeed("train", output="product", report=report, html="out/report-1/finetune.html")
    world.settle()
    assert world.status["report"] == {
        "uri": "pvc://safety-artifacts/out/report-1",
        "digest": report.digest,
        "html": "pvc://safety-artifacts/out/report-1/finetune.html",
    }


def test_several_nodes_meet_at_node_zero_through_a_headless_service():
    world = start_training(compute={"nodes": 2}, batch={"global": 8, "micro": 4, "maxSequenceLength": 256})
    job = world.job("train")
    name = job["metadata"]["name"]
    assert job["spec"]["completions"] == 2
    env = {
        item["name"]: item.get("value") for item in job["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert env["MASTER_ADDR"] == f"{name}-0.{name}.team.svc"
    assert env["NNODES"] == "2"
    assert job["spec"]["template"]["spec"]["subdomain"] == name
    assert world.names("Service") == [name]
    world.edit(schedule={"learningRate": "1e-5"})
    world.settle()
    assert world.names("Service") == [world.job("train")["metadata"]["name"]] != [name]


@pytest.mark.parametrize(
    ("spec", "rows", "field"),
    [
        ({"batch": {"global": 16, "micro": 8, "maxSequenceLength": 256}}, 12, "spec.batch.global"),
        ({"batch": {"global": 8, "micro": 8, "maxSequenceLength": 4096}}, 99, "spec.batch.maxSequenceLength"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(spec, rows, field):
    world = make_finetune(**spec)
    world.refer("SafetyBlend", "blend", finished_blend(rows))
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "InvalidSpec")
    assert field in found["message"]
    assert len(world.names("Job")) == 1


def test_editing_the_checkpoints_does_not_start_anew_but_the_learning_rate_does():
    world = start_training()
    name = world.start("train")
    world.edit(checkpoint={"everySteps": 5})
    world.settle()
    assert world.job("train")["metadata"]["name"] == name
    world.edit(schedule={"learningRate": "1e-5"})
    world.settle()
    assert world.job("train")["metadata"]["name"] != name
    assert name not in world.names("Job")


def test_training_goes_on_while_the_blend_is_being_remade_and_starts_anew_only_if_it_differs():
    world = start_training()
    name = world.start("train")
    remade = finished_blend()
    remade["status"]["conditions"][0]["status"] = "Unknown"
    world.refer("SafetyBlend", "blend", remade)
    world.settle()
    assert name in world.names("Job")
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    assert name in world.names("Job")
    other = finished_blend()
    other["status"]["output"]["digest"] = "sha256:" + "5" * 64
    world.refer("SafetyBlend", "blend", other)
    world.settle()
    assert name not in world.names("Job")


def test_data_of_ones_own_are_mounted():
    world = make_finetune(data={"uri": "configmap://prompts/harm.jsonl"})
    world.settle()
    world.succeed("fetch")
    world.settle()
    pod = world.job("train")["spec"]["template"]["spec"]
    assert {"name": "configmap-0", "configMap": {"name": "prompts"}} in pod["volumes"]


def test_a_product_on_another_claim_is_refused_with_the_remedy():
    blend = finished_blend()
    blend["status"]["output"]["uri"] = "pvc://other/team/blend"
    world = make_finetune()
    world.refer("SafetyBlend", "blend", blend)
    world.settle()
    world.succeed("fetch")
    world.settle()
    assert "Set spec.artifacts.claimName to other" in world.condition("Ready")["message"]


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"data": {"uri": "pvc://claim/data/*.jsonl"}}, "spec.data.uri", "patterns are not read"),
        (
            {"model": {"source": {"uri": "hf://datasets/org/name"}}},
            "spec.model.source.uri",
            "a model is wanted",
        ),
        ({"model": {"source": {"uri": "hf://spaces/org/name"}}}, "spec.model.source.uri", "a Space"),
        (
            {"model": {"source": {"uri": "hf://org/name/tree/main/sub"}}},
            "spec.model.source.uri",
            "write hf://org/name@main/sub",
        ),
    ],
)
def test_a_uri_that_names_nothing_readable_stalls_before_any_pod(spec, field, words):
    world = make_finetune(**spec)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    assert world.names("Job") == []
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "InvalidSpec")
    assert field in found["message"]
    assert words in found["message"]


def test_what_training_warns_of_is_in_the_status_and_an_event_once():
    world = start_training()
    words = "trl: rows begin otherwise than a server's prompt; training shows less in answers"
    world.succeed("train", output="model", warnings=(words,))
    made = world.plan()
    assert [item.message for item in made.events if item.reason == "StageWarning"] == [words]
    last = world.settle()
    assert "StageWarning" not in {item.reason for item in last.events}
    assert world.status["warnings"] == [words]
    assert world.condition("Ready")["status"] == "True"


def test_a_model_of_a_finetune_that_does_not_name_it_is_waited_for():
    other = finished_finetune()
    other["metadata"]["name"] = "first"
    del other["status"]["output"]
    world = make_finetune(model={"finetuneRef": {"name": "first"}})
    world.refer("SafetyFinetune", "first", other)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    assert world.names("Job") == []
    assert world.status["progress"]["text"] == "waiting for SafetyFinetune first to name its output"
