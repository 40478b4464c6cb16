"""Accuracy entries: exams, tasks, caches and tokens become the benchmark stage's specification and pod."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.planning.examples import make_eval
from tests.unit.planning.world import World

from safety_operator.api.safety_eval import SafetyEvalSpec

ENDPOINT = {"endpoint": {"url": "http://llm.other.svc:8000/v1", "model": "m"}}
SPEC = {"model": ENDPOINT}
TOKEN = {"tokenSecretRef": {"name": "hub", "key": "token"}}


def measured(*entries: dict[str, Any], **spec: Any) -> World:
    world = make_eval(
        model=ENDPOINT, contentSafety=[], security=None, thresholds=[], accuracy=list(entries), **spec
    )
    world.secrets["hub"] = "1"
    world.claims["hub"] = {}
    world.settle()
    return world


def container(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.job("benchmark")["spec"]["template"]["spec"]["containers"][0]
    return found


def whole_spec(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.specification("benchmark"))
    return found


def stage_spec(world: World) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = whole_spec(world)["accuracy"]
    return entries


def test_an_exam_asks_for_no_more_at_a_time_than_the_spec_allows():
    assert whole_spec(measured({"name": "exam", "preset": "math-500"}, concurrency=3))["concurrency"] == 3


@pytest.mark.parametrize(
    ("preset", "task", "metric"),
    [
        ("gpqa-diamond", "gpqa_diamond_cot_zeroshot", "exact_match.flexible-extract"),
        ("math-500", "minerva_math500", "math_verify"),
        ("ifeval", "ifeval", "prompt_level_strict_acc"),
    ],
)
def test_an_exam_is_a_task_with_its_metric_through_the_chat_template(preset, task, metric):
    (entry,) = stage_spec(measured({"name": "exam", "preset": preset, **TOKEN}))
    assert (entry["tasks"], entry["metric"], entry["chatTemplate"]) == ([task], metric, True)
    assert "numFewshot" not in entry


OWN = {"name": "own", "dataset": "configmap://prompts/facts.jsonl"}


def test_written_answers_to_own_questions_are_as_long_as_those_of_the_suites_and_may_reason():
    sampling = {"maxTokens": 4000, "reasoningEnd": "</think>"}
    entry = OWN | {"answers": "written", "answerPattern": "= (.+)"}
    (found,) = stage_spec(measured(entry, sampling=sampling))
    assert (found["answers"], found["answerPattern"]) == ("written", "= (.+)")
    assert found["generation"] == {"maxTokens": 4000, "stop": []}
    assert (found["chatTemplate"], found["reasoningEnd"]) == (True, "</think>")


@pytest.mark.parametrize(("pattern", "words"), [("= (.+", "missing )"), ("(a)(b)", "2 groups")])
def test_a_pattern_that_is_none_is_told_before_anything_runs(pattern, words):
    world = measured(OWN | {"answers": "written", "answerPattern": pattern})
    assert f"spec.accuracy[0].answerPattern: {words}" in world.condition("Stalled")["message"]


def test_an_exam_leaves_room_for_an_answer_and_for_reasoning():
    (entry,) = stage_spec(measured({"name": "exam", "preset": "math-500"}))
    assert entry["generation"] == {"maxTokens": 2048, "stop": []}
    long = {"maxTokens": 12288, "reasoningEnd": "</think>"}
    (entry,) = stage_spec(measured({"name": "exam", "preset": "math-500"}, sampling=long))
    assert entry["generation"]["maxTokens"] == 12288
    assert entry["reasoningEnd"] == "</think>"
    own = {"name": "exam", "preset": "math-500", "generation": {"maxTokens": 99, "temperature": "0.6"}}
    (entry,) = stage_spec(measured(own, sampling=long))
    assert entry["generation"] == {"maxTokens": 99, "temperature": 0.6, "stop": []}


def test_tasks_keep_what_lm_eval_says_of_them():
    (entry,) = stage_spec(measured({"name": "arc", "tasks": ["arc_easy"]}))
    assert entry == {
        "name": "arc", "tasks": ["arc_easy"], "metric": "", "chatTemplate": False, "reasoningEnd": "",
        "tokenEnv": "", "cache": "", "answers": "choice", "answerPattern": "",
    }  # fmt: skip


def test_each_entry_gets_its_token_from_its_secret():
    world = measured({"name": "open", "tasks": ["arc_easy"]}, {"name": "exam", "preset": "ifeval", **TOKEN})
    first, second = [entry["tokenEnv"] for entry in stage_spec(world)]
    assert first == ""
    (variable,) = [item for item in container(world)["env"] if item["name"] == second]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "token"}}


def test_a_token_without_its_secret_is_named():
    world = measured({"name": "open", "tasks": ["arc_easy"]})
    world.secrets.clear()
    world.edit(accuracy=[{"name": "exam", "preset": "ifeval", **TOKEN}])
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "SecretMissing")
    assert "spec.accuracy[0].tokenSecretRef" in stalled["message"]


def test_a_cache_is_mounted_and_nothing_is_downloaded():
    model = {"source": {"uri": "package://m/model.gguf"}}
    world = make_eval(
        model=model, contentSafety=[], security=None, thresholds=[],
        accuracy=[{"name": "exam", "preset": "ifeval", "cache": "pvc://hub/cache"}],
    )  # fmt: skip
    world.claims["hub"] = {}
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    env = {item["name"]: item.get("value") for item in container(world)["env"]}
    assert env["HF_HUB_OFFLINE"] == "1"
    assert {"name": "pvc-0", "mountPath": "/inputs/pvc/hub", "readOnly": True} in container(world)[
        "volumeMounts"
    ]
    labels = world.job("benchmark")["spec"]["template"]["metadata"]["labels"]
    assert labels["modelsafety.dev/egress"] == "namespace"


def test_a_cache_whose_claim_is_missing_is_named():
    world = make_eval(
        model=ENDPOINT, contentSafety=[], security=None, thresholds=[],
        accuracy=[{"name": "exam", "preset": "ifeval", "cache": "pvc://hub/cache"}],
    )  # fmt: skip
    world.settle()
    assert "spec.accuracy[0].cache" in world.condition("Stalled")["message"]


def test_thresholds_may_name_what_a_tag_or_a_group_stands_for():
    world = measured({"name": "board", "tasks": ["leaderboard"]})
    world.edit(thresholds=[{"metric": "accuracy.board.leaderboard_bbh", "min": "0.5"}])
    world.settle()
    assert stage_spec(world)[0]["tasks"] == ["leaderboard"]


@pytest.mark.parametrize("name", ["arc_*", "arc_[ce]*", "arc,ifeval", "../x.yaml", "mmlu_?", " ", "tasks/x"])
def test_patterns_lists_and_paths_are_no_names_of_lm_eval(name):
    with pytest.raises(ValidationError, match="accuracy"):
        SafetyEvalSpec.model_validate({**SPEC, "accuracy": [{"name": "a", "tasks": [name]}]})


def test_names_of_lm_eval_with_signs_are_taken():
    names = ["egymmlu_arabic_language_(general)", "AraDiCE_social-science_egy", "task.v1", "a@2"]
    spec = SafetyEvalSpec.model_validate({**SPEC, "accuracy": [{"name": "a", "tasks": names}]})
    assert list(spec.accuracy[0].tasks) == names
