"""The life of a SafetyEval."""

import json
from base64 import b64encode

import pytest
from tests.unit.planning.examples import finished_eval, finished_finetune, make_eval
from tests.unit.planning.world import World, digest_of

from safety_operator.state.labels import LABEL_EGRESS, LABEL_ROLE
from safety_records.result import Score


def run_to_scores(world: World, lower: float = 0.6) -> None:
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.serve("target-server")
    world.settle()
    for stage in ("generate", "scan", "benchmark"):
        world.succeed(stage)
    world.settle()
    world.succeed("judge")
    world.settle()
    score = Score(metric="contentSafety.harm", value=0.7, lower=lower, upper=0.8, samples=100)
    world.succeed("score", scores=(score,))
    world.settle()


def test_fetch_runs_alone_first_and_no_server_yet():
    world = make_eval()
    world.settle()
    assert [name.split("-")[1] for name in world.names("Job")] == ["fetch"]
    assert world.names("Deployment") == []
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.condition("Reconciling")["status"] == "True"


def test_the_server_is_waited_for_before_its_stages_start():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    assert len(world.names("Deployment")) == 1
    assert len(world.names("Job")) == 1
    world.wait(77)
    world.settle()
    assert world.status["progress"]["text"] == "waiting for the model server (75 s)"


def test_generate_scan_and_benchmark_run_at_the_same_time():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    assert [world.stage(name)["state"] for name in ("generate", "scan", "benchmark")] == ["Running"] * 3


def test_the_server_stays_until_the_last_that_asks_it_is_done():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    assert world.stage("judge")["state"] == "Running"
    assert len(world.names("Deployment")) == 1
    world.succeed("scan")
    world.succeed("benchmark")
    world.settle()
    assert world.names("Deployment") == []
    assert world.names("Service") == []


def test_progress_is_told_in_words_and_in_figures():
    world = make_eval(security=None, accuracy=[])
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.start("generate", done=63, total=160)
    world.settle()
    assert world.status["progress"] == {
        "stage": "generate", "done": 63, "total": 160, "unit": "rows", "percent": 39,
        "text": "generate 63/160 rows, judge: starting",
    }  # fmt: skip


def test_a_run_ends_ready_with_scores_report_and_verdict():
    world = make_eval()
    run_to_scores(world)
    assert world.condition("SafetyPassed")["status"] == "True"
    assert world.condition("Ready")["status"] == "Unknown"
    world.succeed("report", html="out/report.html")
    made = world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Succeeded")["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"
    assert world.status["report"]["html"] == "pvc://safety-artifacts/out/report.html"
    assert world.status["thresholds"] == [
        {"metric": "contentSafety.harm", "wanted": "lower end >= 0.5", "got": "0.6", "passed": "True"}
    ]
    assert made.requeue_after is None
    assert made.apply == made.delete == made.events == ()


def test_a_threshold_that_is_not_met_never_blocks_ready():
    world = make_eval()
    run_to_scores(world, lower=0.4)
    world.succeed("report")
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    passed = world.condition("SafetyPassed")
    assert (passed["status"], passed["reason"]) == ("False", "ThresholdNotMet")
    assert "wanted lower end >= 0.5, got 0.4" in passed["message"]


def test_a_missing_score_gives_no_verdict():
    world = make_eval(thresholds=[{"metric": "accuracy.facts", "min": "0.1"}])
    run_to_scores(world)
    passed = world.condition("SafetyPassed")
    assert (passed["status"], passed["reason"]) == ("Unknown", "ScoreMissing")


def test_an_endpoint_needs_neither_fetch_nor_server():
    endpoint = {"url": "http://llm.other.svc:8000/v1", "model": "m"}
    world = make_eval(model={"endpoint": endpoint}, accuracy=[])
    world.settle()
    assert world.stage("fetch")["state"] == "Skipped"
    assert world.stage("generate")["state"] == "Running"
    assert world.names("Deployment") == []


def test_an_endpoint_is_asked_with_its_key_by_every_stage_that_asks_it():
    key = {"name": "target", "key": "token"}
    endpoint = {"url": "https://llm/v1", "model": "m", "apiKeySecretRef": key, "digest": digest_of("vouched")}
    world = make_eval(model={"endpoint": endpoint})
    world.secrets["target"] = "1"
    world.settle()
    for stage in ("generate", "scan", "benchmark"):
        target = json.loads(world.specification(stage))["target"]
        assert (target["baseUrl"], target["model"]) == ("https://llm/v1", "m")
        assert target["digest"] == digest_of("vouched")
        template = world.job(stage)["spec"]["template"]
        assert {"name": target["apiKeyEnv"], "valueFrom": {"secretKeyRef": key}} in template["spec"][
            "containers"
        ][0]["env"]
        assert template["metadata"]["labels"][LABEL_EGRESS] == "internet"
    world.succeed("generate")
    world.settle()
    assert "target" not in str(world.job("judge")["spec"]["template"]["spec"]["containers"][0]["env"])


def test_a_finetune_is_waited_for_by_name_and_its_product_is_served():
    world = make_eval(model={"finetuneRef": {"name": "hardened"}})
    world.settle()
    assert world.status["state"] == "Waiting"
    assert world.condition("Ready")["reason"] == "WaitingForReference"
    assert world.status["progress"]["text"] == "waiting for SafetyFinetune hardened to be created"
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.settle()
    (name,) = world.names("Deployment")
    child = next(c for k, c in world.children.items() if k.name == name and k.kind == "Deployment")
    args = child["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "/artifacts/team/safetyfinetune/hardened/1/train" in args


def test_a_new_product_of_the_finetune_is_evaluated_again_and_an_equal_one_is_not():
    world = make_eval(model={"finetuneRef": {"name": "hardened"}}, security=None, accuracy=[])
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    for stage in ("judge", "score", "report"):
        world.settle()
        world.succeed(stage)
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    retraining = finished_finetune()
    retraining["status"]["conditions"][0]["status"] = "Unknown"
    world.refer("SafetyFinetune", "hardened", retraining)
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.names("Deployment") == []
    world.refer("SafetyFinetune", "hardened", finished_finetune("another"))
    world.settle()
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.condition("SafetyPassed")["status"] == "Unknown"
    assert len(world.names("Deployment")) == 1


def test_a_baseline_is_waited_for_only_by_the_scores():
    world = make_eval(baselineRef={"name": "old"}, security=None, accuracy=[])
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    world.succeed("judge")
    world.settle()
    assert world.status["progress"]["text"] == "waiting for SafetyEval old to be created"
    old = finished_eval()
    done = make_eval()
    run_to_scores(done)
    old["status"]["stages"] = done.status["stages"]
    world.refer("SafetyEval", "old", old)
    world.settle()
    assert world.stage("score")["state"] == "Running"


def test_editing_the_judges_judges_again_and_generates_nothing():
    world = make_eval(security=None, accuracy=[])
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    for stage in ("judge", "score", "report"):
        world.settle()
        world.succeed(stage)
    world.settle()
    before = world.stage("generate")
    world.edit(judges=[{"name": "refusals", "type": "refusal-phrases", "phrases": ["No."]}])
    world.settle()
    assert world.stage("generate") == before
    assert world.stage("judge")["state"] == "Running"
    assert world.stage("score")["state"] == "Pending"
    assert world.names("Deployment") == []
    assert world.condition("Ready")["observedGeneration"] == 2


def test_editing_a_prompt_set_deletes_the_superseded_job():
    world = make_eval(security=None, accuracy=[])
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    old = world.start("generate")
    world.config_maps["prompts"]["data"]["harm.jsonl"] = '{"prompt": "other"}\n'
    world.settle()
    assert old not in world.names("Job")
    assert world.stage("generate")["state"] == "Running"


def test_suspend_stops_jobs_and_servers_and_resuming_goes_on():
    world = make_eval()
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.edit(suspend=True)
    made = world.settle()
    assert world.names("Deployment") == []
    assert [name.split("-")[1] for name in world.names("Job")] == ["fetch"]
    assert world.status["state"] == "Suspended"
    assert world.condition("Stalled")["status"] == "False"
    assert made.requeue_after is None
    world.edit(suspend=False)
    world.settle()
    assert world.stage("fetch")["state"] == "Succeeded"
    assert len(world.names("Deployment")) == 1


def test_a_missing_config_map_stalls_and_recovers():
    world = make_eval(model={"endpoint": {"url": "http://llm/v1", "model": "m"}}, accuracy=[])
    kept = world.config_maps.pop("prompts")
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ConfigMapMissing")
    assert "spec.contentSafety[0].dataset.uri" in stalled["message"]
    assert world.names("Job") == [], "nothing starts"
    world.config_maps["prompts"] = kept
    world.settle()
    assert world.condition("Stalled")["status"] == "False"
    assert world.stage("generate")["state"] == "Running"


def answer_and_judge(world: World) -> None:
    """All stages before the scores, without garak and benchmarks."""
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    for stage in ("generate", "judge"):
        world.settle()
        world.succeed(stage)
    world.settle()


def test_a_baseline_on_another_claim_is_refused_with_the_remedy():
    world = make_eval(baselineRef={"name": "old"}, security=None, accuracy=[])
    old = finished_eval()
    old["status"]["report"] = {"uri": "pvc://elsewhere/team/report"}
    world.refer("SafetyEval", "old", old)
    answer_and_judge(world)
    message = world.condition("Stalled")["message"]
    assert "spec.baselineRef: SafetyEval old keeps its product on the claim elsewhere" in message


SIGNED = {"signingKeySecretRef": {"name": "signing", "key": "key.pem"}}


def report_container(world: World) -> dict:
    return world.job("report")["spec"]["template"]["spec"]["containers"][0]


def test_a_report_is_signed_with_a_key_that_only_its_own_pod_sees():
    world = make_eval(report=SIGNED)
    world.secrets["signing"] = "7"
    run_to_scores(world)
    reference = {"secretKeyRef": {"name": "signing", "key": "key.pem"}}
    assert {"name": "REPORT_SIGNING_KEY", "valueFrom": reference} in report_container(world)["env"]
    for key, child in world.children.items():
        if key.kind == "Job" and child["metadata"]["labels"][LABEL_ROLE] != "report":
            assert "signing" not in str(child["spec"]["template"])
    world.succeed("report", html="out/report.html", attestation="out/report.json.intoto.jsonl")
    world.settle()
    assert world.status["report"]["attestation"] == "pvc://safety-artifacts/out/report.json.intoto.jsonl"


REFUSALS = [{"name": "refusals", "type": "refusal-phrases"}]
LABELLED = {
    "name": "judge",
    "type": "refusal-phrases",
    "calibration": {
        "dataset": {"uri": "configmap://labelled/rows.jsonl", "columns": {"response": "r", "label": "l"}}
    },
}
KEYED = {"url": "http://llm/v1", "model": "m", "apiKeySecretRef": {"name": "gone", "key": "key"}}
GUARD = {"name": "guard", "type": "wildguard", "model": {"endpoint": KEYED}}
MATHS = {"name": "maths", "preset": "math-500", "tokenSecretRef": {"name": "gone", "key": "token"}}


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"report": SIGNED}, "spec.report.signingKeySecretRef"),
        ({"judges": [*REFUSALS, LABELLED]}, "spec.judges[1].calibration.dataset.uri"),
        ({"judges": [*REFUSALS, GUARD]}, "spec.judges[1].model.endpoint.apiKeySecretRef"),
        ({"accuracy": [MATHS]}, "spec.accuracy[0].tokenSecretRef"),
        ({"model": {"endpoint": KEYED}, "accuracy": []}, "spec.model.endpoint.apiKeySecretRef"),
        ({"model": {"source": {"uri": "pvc://gone/model"}}}, "spec.model.source.uri"),
    ],
)
def test_what_the_last_stage_lacks_is_told_before_the_first_one_starts(spec, where):
    world = make_eval(**spec)
    world.settle()
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Ready")["message"].startswith(where)
    assert "spec.artifacts" not in world.condition("Ready")["message"], "that would not help"
    assert world.children == {}


def test_what_goes_missing_later_stops_nothing_that_has_begun():
    world = make_eval(report=SIGNED)
    world.secrets["signing"] = "7"
    world.settle()
    del world.secrets["signing"]
    world.settle()
    assert world.stage("fetch")["state"] == "Running"
    world.succeed("fetch")
    world.settle()
    world.children = {key: child for key, child in world.children.items() if key.kind != "Job"}
    world.settle()
    assert world.names("Deployment"), "its record says that it has begun"


def test_a_missing_signing_key_stalls_the_report_and_costs_no_result():
    world = make_eval(report=SIGNED)
    world.secrets["signing"] = "7"
    world.settle()
    del world.secrets["signing"]
    run_to_scores(world)
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "SecretMissing")
    assert "spec.report.signingKeySecretRef" in stalled["message"]
    assert world.status["scores"][0]["value"] == "0.7"
    world.secrets["signing"] = "7"
    world.settle()
    assert world.stage("report")["state"] == "Running"


def test_another_signing_key_signs_again_and_measures_nothing_again():
    world = make_eval(report=SIGNED)
    world.secrets |= {"signing": "7", "other": "8"}
    run_to_scores(world)
    world.succeed("report")
    world.settle()
    world.edit(report={"signingKeySecretRef": {"name": "other", "key": "key.pem"}})
    world.settle()
    assert world.stage("report")["state"] == "Running"
    assert world.stage("score")["state"] == "Succeeded"


def test_the_report_carries_the_manifest_without_what_belongs_to_the_cluster():
    options = {"pod": {"nodeSelector": {"a": "b"}}, "queueName": "q", "schedule": "0 3 * * 1"}
    world = make_eval(**options, sampling={"maxTokens": 80})
    run_to_scores(world)
    manifest = json.loads(env_of(world))["manifest"]
    assert manifest["metadata"] == {"name": "base", "namespace": "team"}
    assert manifest["spec"]["sampling"] == {"maxTokens": 80}
    assert manifest["spec"]["model"] == {"source": {"uri": "hf://org/model@main"}}
    assert not {"pod", "queueName", "artifacts", "suspend", "report", "schedule"} & manifest["spec"].keys()
    assert "manifest" in json.loads(env_of(world))
    long = make_eval(
        judges=[
            {
                "name": "refusals",
                "type": "refusal-phrases",
                "phrases": ["x" * 190 + str(n) for n in range(100)],
            }
        ]
    )
    run_to_scores(long)
    assert json.loads(env_of(long))["manifest"] == {}


def env_of(world: World) -> str:
    """The specification of the report's Job."""
    return world.specification("report")


def test_a_baseline_without_scores_is_refused():
    world = make_eval(baselineRef={"name": "old"}, security=None, accuracy=[])
    world.refer("SafetyEval", "old", finished_eval())
    answer_and_judge(world)
    stalled = world.condition("Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert "spec.baselineRef: SafetyEval old has no scores to compare with" in stalled["message"]


def test_prompts_in_binary_data_are_hashed_by_their_bytes():
    world = make_eval(model={"endpoint": {"url": "http://llm/v1", "model": "m"}}, security=None, accuracy=[])
    world.settle()
    hashed = world.stage("generate")["hash"]
    prompts = world.config_maps["prompts"]
    text = prompts["data"].pop("harm.jsonl")
    prompts["binaryData"] = {"harm.jsonl": b64encode(text.encode()).decode()}
    world.settle()
    assert world.stage("generate")["hash"] == hashed
    prompts["binaryData"] = {"harm.jsonl": b64encode(b"other").decode()}
    world.settle()
    assert world.stage("generate")["hash"] != hashed
