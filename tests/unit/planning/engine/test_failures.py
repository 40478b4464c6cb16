"""What happens to a stage that fails, cannot start, or is lost."""

from dataclasses import replace

import pytest
from tests.unit.planning.examples import finished_blend, make_eval, make_finetune
from tests.unit.planning.world import World

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_ATTEMPT
from safety_operator.state.observed import PodFailure


def attempt_of(world: World, stage: str) -> str:
    return str(world.job(stage)["metadata"]["annotations"][ANNOTATION_ATTEMPT])


def test_a_workers_own_words_become_the_condition():
    world = make_eval()
    world.settle()
    world.fail("fetch", reason="ModelNotFound", message="spec.model.source.uri: no such model.", input_=True)
    world.settle()
    for type_, status in (("Ready", "False"), ("Stalled", "True"), ("Succeeded", "False")):
        found = world.condition(type_)
        assert (found["status"], found["reason"]) == (status, "ModelNotFound")
        assert "spec.model.source.uri: no such model." in found["message"]
    assert world.condition("Reconciling")["status"] == "False"
    assert world.status["state"] == "Failed"


def test_a_failure_without_words_names_pod_container_exit_code_and_last_lines():
    world = make_eval()
    world.settle()
    world.fail("fetch", message="out of memory at 3 GiB")
    world.settle()
    message = world.condition("Ready")["message"]
    for part in ("-x1", "container worker", "OOMKilled", "exit code 137", "out of memory at 3 GiB"):
        assert part in message


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (
            PodFailure("x-0-a", "worker", 137, "Error", ""),
            "pod x-0-a, container worker: Error with exit code 137",
        ),
        (PodFailure("x-1-b", "worker", 143, "Error", "The peer is gone."), "exit code 143: The peer is gone"),
        (PodFailure("x-0-a", "", None, "Evicted", "low on memory", ended=True), "pod x-0-a: Evicted: low on"),
    ],
)
def test_a_pod_that_ended_is_told_in_an_event_while_its_job_goes_on(failure, words):
    world = make_eval()
    world.settle()
    world.failures[world.start("fetch")] = failure
    world.settle()
    (event,) = {event for event in world.events if event.reason == "PodEnded"}
    assert event.type == "Warning"
    assert words in event.message
    assert event.message.endswith("Its Job makes another.")


def test_a_pod_that_cannot_start_has_not_ended():
    world = make_eval()
    world.settle()
    world.cannot_start("fetch", "ImagePullBackOff", "no such image")
    world.settle()
    assert "PodEnded" not in {event.reason for event in world.events}


def test_infrastructure_is_tried_again_after_a_minute_then_five_then_fifteen_then_each_hour():
    world = make_eval()
    world.settle()
    for attempt, pause in enumerate((60, 300, 900, 3600, 3600), start=1):
        assert attempt_of(world, "fetch") == str(attempt)
        world.fail("fetch", reason="DownloadFailed", message="The hub does not answer.")
        made = world.settle()
        assert made.requeue_after == pytest.approx(pause)
        assert world.condition("Stalled")["status"] == "True"
        assert "Next try at" in world.condition("Stalled")["message"]
        world.wait(pause)
        world.settle()
        assert world.condition("Stalled")["status"] == "False"
        assert len(world.names("Job")) == 1


def test_wrong_input_is_tried_again_at_once_when_what_it_reads_changes():
    world = make_eval(
        model={"endpoint": {"url": "http://llm.x.svc/v1", "model": "m"}}, security=None, accuracy=[]
    )
    world.settle()
    world.fail("generate", reason="InvalidData", message="line 1 is no JSON", input_=True)
    made = world.settle()
    assert made.requeue_after is None
    world.config_maps["prompts"]["metadata"]["resourceVersion"] = "8"
    world.settle()
    assert attempt_of(world, "generate") == "2"
    assert world.condition("Stalled")["status"] == "False"


def test_wrong_input_from_outside_is_read_again_after_an_hour():
    world = make_eval()
    world.settle()
    world.fail("fetch", reason="ModelNotFound", message="no such model", input_=True)
    assert world.settle().requeue_after == pytest.approx(3600)


def test_an_image_that_cannot_be_pulled_stalls_and_recovers_by_itself():
    world = make_eval()
    world.settle()
    world.cannot_start("fetch", "ImagePullBackOff", "pull access denied")
    world.settle()
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "PodCannotStart")
    assert "pull access denied" in found["message"]
    world.failures.clear()
    world.start("fetch")
    world.settle()
    assert world.condition("Stalled")["status"] == "False"
    assert attempt_of(world, "fetch") == "1"


def test_a_fixed_pod_option_replaces_a_pod_that_cannot_start():
    world = make_eval()
    world.settle()
    world.cannot_start("fetch", "ImagePullBackOff", "pull access denied")
    world.settle()
    world.edit(pod={"imagePullSecrets": [{"name": "registry"}]})
    world.settle()
    assert attempt_of(world, "fetch") == "2"


def test_a_pod_without_a_place_on_a_node_is_waited_for():
    world = make_eval()
    world.settle()
    world.cannot_start("fetch", "Unschedulable", "0/1 nodes are available: insufficient memory")
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "PodCannotStart")
    assert world.condition("Stalled")["status"] == "False"
    assert world.condition("Reconciling")["status"] == "True"


def test_a_server_that_crashes_says_why_and_stalls_only_when_its_time_is_up():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.crash("target-server", "ValueError: max_model_len is too large")
    world.settle()
    ready = world.condition("Ready")
    assert ready["status"] == "Unknown"
    assert "max_model_len is too large" in ready["message"]
    world.crash("target-server", "ValueError: max_model_len is too large", hung=True)
    world.settle()
    assert world.condition("Stalled")["status"] == "True"
    world.failures.clear()
    world.serve("target-server")
    world.settle()
    assert world.condition("Stalled")["status"] == "False"


def test_the_rest_of_a_run_goes_on_while_one_stage_has_failed():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.fail("scan", reason="ProbeUnknown", message="no probe x", input_=True)
    world.settle()
    assert world.condition("Ready")["status"] == "False"
    assert world.condition("Stalled")["status"] == "False"
    assert world.condition("Reconciling")["status"] == "True"
    world.succeed("generate")
    world.succeed("benchmark")
    world.settle()
    world.succeed("judge")
    world.settle()
    assert world.condition("Stalled")["status"] == "True"
    assert world.names("Deployment") == []


def test_a_job_whose_pods_are_gone_is_asked_for_its_record_again_at_most_three_times():
    world = make_eval()
    world.settle()
    for attempt in (1, 2, 3):
        world.succeed("fetch")
        world.results.clear()
        world.settle()
        assert attempt_of(world, "fetch") == str(attempt + 1)
    world.succeed("fetch")
    world.results.clear()
    world.settle()
    assert world.condition("Stalled")["reason"] == "StageFailed"


def test_a_lost_job_is_made_again():
    world = make_eval()
    world.settle()
    (name,) = world.names("Job")
    del world.children[ObjectKey("Job", name)]
    world.settle()
    assert world.names("Job") == [name]


def test_a_result_of_other_inputs_does_not_count():
    world = make_eval()
    world.settle()
    record = world.succeed("fetch")
    job = next(iter(world.results))
    world.results[job] = record.model_copy(update={"inputs_hash": "other"})
    world.settle()
    assert world.stage("fetch")["state"] != "Succeeded"


def test_the_record_in_the_status_is_enough_without_any_job():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    for key in [key for key in world.children if key.kind == "Job"]:
        del world.children[key]
    world.results.clear()
    world.settle()
    assert world.stage("fetch")["state"] == "Succeeded"
    assert world.names("Job") == []


def test_a_missing_claim_stalls_before_any_pod_and_recovers():
    world = make_eval()
    world.claims.clear()
    world.settle()
    assert world.names("Job") == []
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "ClaimMissing")
    assert "spec.artifacts.claimName" in found["message"]
    world.claims["safety-artifacts"] = {}
    world.settle()
    assert len(world.names("Job")) == 1


def test_a_missing_secret_stalls_and_recovers():
    source = {"uri": "hf://org/gated", "tokenSecretRef": {"name": "hub", "key": "token"}}
    world = make_finetune(model={"source": source})
    world.settle()
    found = world.condition("Stalled")
    assert (found["status"], found["reason"]) == ("True", "SecretMissing")
    assert "spec.model.source.tokenSecretRef" in found["message"]
    world.secrets["hub"] = "12"
    world.settle()
    env = world.job("fetch")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}} in env


def test_transition_times_change_only_with_the_status():
    world = make_eval()
    world.settle()
    since = world.condition("Ready")["lastTransitionTime"]
    world.wait(600)
    world.start("fetch", done=1, total=2, unit="files")
    world.settle()
    assert world.condition("Ready")["lastTransitionTime"] == since
    world.fail("fetch", reason="Broken", message="x")
    world.settle()
    assert world.condition("Ready")["lastTransitionTime"] > since


def test_events_are_given_once_for_what_changed():
    world = make_eval()
    first = world.plan()
    assert [event.reason for event in first.events] == ["StageStarted"]
    world.carry_out(first)
    assert world.plan().events == ()
    world.fail("fetch", reason="Broken", message="the disk is full")
    events = world.plan().events
    assert [(event.type, event.reason) for event in events] == [("Warning", "Broken")]
    world.settle()
    assert world.plan().events == ()


def test_pods_that_a_quota_refuses_stall_and_the_run_goes_on_when_it_is_raised():
    world = make_eval()
    world.settle()
    name = world.job("fetch")["metadata"]["name"]
    quota = "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"
    world.failures[name] = PodFailure("", "", None, "FailedCreate", quota)
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "PodCannotStart")
    assert f"Stage fetch: no pod: FailedCreate: {quota}" in stalled["message"]
    world.failures.clear()
    world.start("fetch")
    world.settle()
    assert world.condition("Stalled")["status"] == "False"


def test_fixed_options_replace_a_pod_that_no_node_takes():
    world = make_eval()
    world.settle()
    world.cannot_start("fetch", "Unschedulable", "0/1 nodes: 1 didn't match Pod's node affinity")
    world.settle()
    assert attempt_of(world, "fetch") == "1"
    world.edit(pod={"nodeSelector": {"disk": "ssd"}})
    world.settle()
    assert attempt_of(world, "fetch") == "2"


def test_one_of_several_pods_that_does_not_start_is_told_while_the_other_waits_for_it():
    batch = {"global": 8, "micro": 4, "maxSequenceLength": 256}
    world = make_finetune(compute={"nodes": 2}, batch=batch)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    job = world.job("train")
    job["status"] = {"active": 1, "ready": 1}
    quota = PodFailure(
        "", "", None, "FailedCreate", "exceeded quota: q, requested: a=1, used: a=1, limited: a=1"
    )
    world.failures[job["metadata"]["name"]] = quota
    world.settle()
    assert "exceeded quota" in world.condition("Ready")["message"]
    job["status"] = {"active": 2, "ready": 2}
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"


def test_a_queue_that_holds_jobs_back_is_waited_for_without_an_alarm():
    world = make_eval(queueName="team-a")
    world.settle()
    job = world.job("fetch")
    job["status"] = {"conditions": [{"type": "Suspended", "status": "True"}]}
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "Queued")
    assert ready["message"] == "Stage fetch: waiting in queue team-a."
    assert world.status["state"] == "Waiting"
    assert world.condition("Stalled")["status"] == "False"


def test_an_image_that_is_being_pulled_is_told_as_progress():
    world = make_eval()
    world.settle()
    world.waits[world.job("fetch")["metadata"]["name"]] = 'Pulling image "worker:1"'
    world.settle()
    assert world.status["progress"]["text"] == 'fetch: starting: Pulling image "worker:1"'
    assert world.condition("Ready")["reason"] == "Running"


def test_an_eviction_is_told_with_its_words_until_another_pod_runs():
    """Kubernetes does not count it, so that a pod can be evicted again and again for a whole day."""
    world = make_eval()
    world.settle()
    job = world.job("fetch")
    name = job["metadata"]["name"]
    words = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi."
    world.failures[name] = PodFailure(f"{name}-x1", "", None, "Evicted", words, ended=True)
    world.settle()
    found = world.condition("Ready")
    assert (found["status"], found["reason"]) == ("Unknown", "NotReady")
    assert f"pod {name}-x1: Evicted: {words[:-1]}" in found["message"]
    assert "ask for more of it" in found["message"]
    assert world.condition("Stalled")["status"] == "False"
    job["status"] = {"ready": 1}
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"


def test_a_job_that_somebody_deleted_is_made_again_once_its_pod_has_ended():
    """Both would write into the same files."""
    world = make_eval()
    world.settle()
    name = world.job("fetch")["metadata"]["name"]
    del world.children[ObjectKey("Job", name)]
    world.leaving = {name: f"{name}-x1", "another": "another-x1"}
    world.settle()
    assert name not in world.names("Job")
    found = world.condition("Ready")
    assert (found["status"], found["reason"]) == ("Unknown", "NotReady")
    assert f"pod {name}-x1, whose Job is gone, has not ended" in found["message"]
    world.leaving = {"another": "another-x1"}
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"
    assert world.job("fetch")


def test_a_job_that_is_being_deleted_is_waited_for():
    world = make_eval()
    world.settle()
    name = world.job("fetch")["metadata"]["name"]
    world.job("fetch")["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    made = world.settle()
    assert world.names("Job") == [name]
    assert world.stage("fetch")["state"] == "Pending"
    assert world.status["progress"]["text"] == "fetch: waiting for the previous Job to end"
    assert made.requeue_after is not None
    del world.children[ObjectKey("Job", name)]
    world.settle()
    assert world.stage("fetch")["state"] == "Running"


def test_a_job_that_failed_without_a_pods_words_is_told_in_its_own():
    world = make_eval()
    world.settle()
    world.fail("fetch")
    world.failures.clear()
    world.settle()
    name = world.stage("fetch")["job"]
    assert f"Stage fetch: Job {name} failed: BackoffLimitExceeded" in world.condition("Ready")["message"]


def test_a_server_that_is_late_without_a_word_is_told_with_its_name():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.crash("target-server", "", hung=True)
    world.failures.clear()
    world.settle()
    (name,) = world.names("Deployment")
    message = f"The model server did not become ready in time; Deployment {name}."
    assert world.condition("Stalled")["message"] == message


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ({"message": "reading weights"}, "fetch: reading weights"),
        ({"done": 7, "unit": "files"}, "fetch: 7 files"),
    ],
)
def test_progress_without_a_total_is_told_in_words(progress, text):
    world = make_eval()
    world.settle()
    world.start("fetch", **{"done": 0, "total": 0} | progress)
    world.settle()
    assert world.status["progress"] == {"stage": "fetch", "text": text}


@pytest.mark.parametrize(
    "reason", ["NoCudaDevice", "CudaDriverTooOld", "ImageWithoutCuda", "ModelChanged", "InvalidSpec"]
)
def test_what_a_server_finds_before_its_engine_starts_is_the_resources_reason(reason: str):
    world = make_eval()
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.crash("target-server", f"{reason}: The node is wrong. Do this.")
    (name,) = world.failures
    world.failures[name] = replace(world.failures[name], exit_code=42)
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", reason)
    assert "The node is wrong. Do this." in stalled["message"]


def test_a_server_that_ends_otherwise_has_no_say_in_the_reason():
    world = make_eval()
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.crash("target-server", "NoCudaDevice: says an engine with another exit code")
    world.settle()
    assert world.condition("Ready")["reason"] == "NotReady"


def test_progress_is_read_often_and_what_has_not_begun_is_left_to_its_events():
    world = make_eval()
    waiting = world.settle()
    world.start("fetch", done=1, total=4, unit="files")
    running = world.settle()
    assert running.requeue_after == world.settings.progress_seconds
    assert waiting.requeue_after == 10 * world.settings.progress_seconds
