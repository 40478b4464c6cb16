"""The life of a SafetyBlend."""

from typing import Any

import pytest
from tests.unit.planning.examples import make_blend
from tests.unit.planning.world import World

from safety_operator.state.labels import ANNOTATION_HASH
from safety_records.base import shared
from safety_records.blend_stages import AnchorsStage, AssembleStage, ChoosingRule, ScreenStage
from safety_records.result import Counts, ScreeningResult
from safety_records.stages import StageSpec, parse_stage_spec


def spec_of(world: World, stage: str) -> StageSpec:
    """What the Job of a stage is to do."""
    return parse_stage_spec(world.specification(stage))


def test_collecting_and_fetching_run_at_the_same_time_and_the_server_starts_early():
    world = make_blend()
    world.settle()
    assert world.stage("collect")["state"] == world.stage("fetch")["state"] == "Running"
    world.succeed("fetch")
    world.settle()
    assert len(world.names("Deployment")) == 1
    world.serve("target-server")
    world.settle()
    assert world.stage("answer")["state"] == "Pending"
    world.succeed("collect")
    world.settle()
    assert world.stage("answer")["state"] == "Running"


def test_it_ends_with_rows_counts_and_lineage():
    world = make_blend()
    world.settle()
    world.succeed("fetch", output="model")
    world.succeed("collect")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("answer")
    world.settle()
    assert world.names("Deployment") == []
    world.succeed("judge")
    world.settle()
    assert world.stage("screen")["state"] == "Skipped"
    assemble = spec_of(world, "assemble")
    assert (assemble.screened, assemble.selection) == ("", None)
    counts = (Counts(source="harm", read=9, sampled=8, generated=8, unsafe=2, kept=6),)
    world.succeed("assemble", train_rows=14, validation_rows=2, tokens=999, counts=counts)
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.status["summary"] == {"rows": 16, "kept": "6/8", "screened": "none"}
    assert world.status["output"]["trainRows"] == 14
    assert world.status["counts"][0]["unsafe"] == 2
    assert {"model", "collect", "configmap://prompts/harm.jsonl"} <= set(world.status["lineage"])


def test_the_lineage_has_what_only_the_worker_knows():
    world = make_blend()
    world.settle()
    read = {"source harm": "sha256:1", "evaluation set aegis-v2-test": "sha256:2"}
    world.succeed("fetch", output="model")
    world.succeed("collect", inputs=read)
    world.settle()
    world.serve("target-server")
    world.settle()
    for stage in ("answer", "judge"):
        world.succeed(stage, output=stage)
        world.settle()
    spec = spec_of(world, "assemble")
    assert isinstance(spec, AssembleStage)
    assert spec.lineage.items() >= read.items()
    world.succeed("assemble", output="assemble", train_rows=9, validation_rows=1)
    world.settle()
    assert world.status["lineage"].items() >= read.items()


def test_a_source_that_has_changed_is_a_warning_and_no_failure():
    world = make_blend()
    world.settle()
    text = "source aegis: 29 records, but 30007 were published: it has changed"
    world.succeed("collect", warnings=(text,))
    made = world.plan()
    assert [(item.type, item.message) for item in made.events if item.reason == "DataWarning"] == [
        ("Warning", text)
    ]
    last = world.settle()
    assert "DataWarning" not in {item.reason for item in last.events}, "it is told once"
    assert world.status["warnings"] == [text]
    assert world.condition("Stalled")["status"] == "False"


def test_the_mix_of_safety_and_retained_rows_is_shown():
    world = make_blend(retain=[{"name": "own", "uri": "configmap://prompts/facts.jsonl"}])
    world.settle()
    name = world.resource["spec"]["sources"][0]["name"]
    counts = (Counts(source=name, read=90, sampled=40), Counts(source="own", read=70, sampled=60))
    world.succeed("collect", counts=counts)
    world.settle()
    assert world.status["mix"] == "40 safety, 60 retained, 1.50"


def test_filters_ratios_subsets_and_near_duplicates_reach_the_worker():
    world = make_blend(
        sources=[
            {
                "name": "gretel",
                "preset": "gretel-safety-alignment",
                "filters": [{"column": "judge_safe_response_score", "atMost": "1"}],
            },
            {"name": "tasks", "preset": "harmful-tasks"},
        ],
        retain=[
            {"name": "nemotron", "preset": "llama-nemotron", "subsets": {"math": 5}, "maxRecords": 9},
            {"name": "own", "uri": "configmap://prompts/facts.jsonl", "ratio": "0.5"},
        ],
        sample={"size": 5, "by": "column", "column": "tactic"},
        dedupe={"near": {"threshold": "0.7"}},
    )
    world.settle()
    spec = spec_of(world, "collect")
    assert spec.sources[0].dataset.filters[0].at_most == 1.0
    assert spec.sources[1].dataset.uri.endswith("/integrated.yaml")
    assert [source.subsets for source in spec.retain] == [{"math": 5}, {}]
    assert [source.ratio for source in spec.retain] == [None, 0.5]
    assert [source.dataset.max_records for source in spec.retain] == [9, None]
    assert "maxRecords" not in spec.sources[0].to_json(), "what is not bounded keeps its hash"
    assert (spec.by, spec.column, spec.near) == ("column", "tactic", 0.7)


def test_a_template_that_is_missing_stalls_at_once_with_the_keys_that_there_are():
    world = make_blend(
        onPolicy={
            "model": {"source": {"uri": "hf://org/model"}},
            "refusal": {"template": {"name": "prompts", "key": "wrapper"}},
        }
    )
    world.settle()
    assert world.names("Job") == []
    message = world.condition("Stalled")["message"]
    assert "spec.onPolicy.refusal.template" in message
    assert "facts.jsonl, harm.jsonl" in message


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("Please refuse politely.", "does not use {{ prompt }}"),
        ("{{ prompt }}" + "x" * 16384, "has 16396 characters, a template has 16384 at most"),
    ],
)
def test_a_template_that_cannot_work_is_told_before_anything_starts(template: str, why: str):
    world = make_blend(
        onPolicy={
            "model": {"source": {"uri": "hf://org/model"}},
            "refusal": {"template": {"name": "refusal", "key": "t.jinja"}},
        }
    )
    world.config_maps["refusal"] = {"data": {"t.jinja": template}}
    world.settle()
    assert world.names("Job") == []
    assert why in world.condition("Stalled")["message"]
    assert world.condition("Stalled")["reason"] == "InvalidSpec"


def test_what_is_asked_and_kept_reaches_the_stages():
    world = make_blend(
        onPolicy={
            "model": {"source": {"uri": "hf://org/model"}},
            "sampling": {"temperature": "0.6", "maxTokens": 512, "reasoningEnd": "</think>"},
            "candidates": 4,
            "pick": "best",
            "fallback": "source",
            "regenerate": {"maxTokens": 4096},
        },
        filter={"reasoning": "keep"},
    )
    world.settle()
    world.succeed("fetch", output="model")
    world.succeed("collect")
    world.settle()
    world.serve("target-server")
    world.settle()
    answer = spec_of(world, "answer")
    assert (answer.candidates, answer.fallback, answer.more_tokens) == (4, "source", 4096)
    world.succeed("answer")
    world.settle()
    world.succeed("judge")
    world.settle()
    assemble = spec_of(world, "assemble")
    assert (assemble.candidates, assemble.pick) == (4, "best")
    assert (assemble.reasoning, assemble.reasoning_end) == ("keep", "</think>")


def test_a_source_on_a_plain_web_server_is_reached():
    plain = {"name": "harm", "uri": "http://files.team.svc/harm.jsonl"}
    world = make_blend(sources=[plain])
    world.settle()
    assert world.stage("collect")["state"] == "Running"
    assert any("egress-internet" in name for name in world.names("NetworkPolicy"))


SCREENING = {"method": "representation", "topFraction": "0.1"}


def screened_world(on_policy: dict[str, Any] | None = None, **screening: Any) -> World:
    """A blend whose screen stage is the next to run."""
    world = make_blend(screening=SCREENING | screening, **({"onPolicy": on_policy} if on_policy else {}))
    world.settle()
    world.succeed("fetch", output="model")
    world.succeed("collect")
    world.succeed("anchors", output="anchors")
    world.settle()
    world.serve("target-server")
    world.settle()
    for stage in ("answer", "judge"):
        world.succeed(stage, output=stage)
        world.settle()
    return world


def screen_spec(world: World) -> ScreenStage:
    spec = spec_of(world, "screen")
    assert isinstance(spec, ScreenStage)
    return spec


def test_screening_runs_behind_the_judges_without_a_server():
    world = screened_world()
    assert world.names("Deployment") == []
    spec = screen_spec(world)
    assert spec.methods == ("representation",)
    assert spec.parts == ("retain",)
    assert spec.model.startswith("team/models/")
    assert spec.anchors.startswith("out/anchors-")
    job = world.job("screen")
    assert "completionMode" not in job["spec"]
    assert "limits" not in job["spec"]["template"]["spec"]["containers"][0]["resources"]


def test_screening_that_was_killed_for_its_memory_says_what_helps_and_waits_for_a_change():
    world = screened_world()
    rules = world.job("screen")["spec"]["podFailurePolicy"]["rules"]
    assert [42, 137] in [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"]
    world.fail("screen")
    world.settle()
    found = world.condition("Stalled")
    assert found["reason"] == "OutOfMemory"
    assert "raise the memory of screening pods" in found["message"]
    assert "Next try" not in found["message"]


def test_what_is_screened_is_what_is_trained_on():
    policy = {"model": {"source": {"uri": "hf://org/model"}}, "candidates": 2, "pick": "best"}
    world = screened_world(on_policy=policy)
    screened = screen_spec(world)
    world.succeed("screen", output="screen", screening=ScreeningResult(method="representation", scored=9))
    world.settle()
    chosen = shared(screened, ChoosingRule)
    assert chosen == shared(spec_of(world, "assemble"), ChoosingRule)
    assert chosen["pick"] == "best"


def test_gradients_take_ten_anchors_and_a_share_of_pods_a_gpu_each_without_a_meeting_place():
    world = screened_world(method="gradient", compute={"device": "gpu", "shards": 3, "batchTokens": 512})
    spec = screen_spec(world)
    assert (spec.shards, spec.batch_tokens, spec.device) == (3, 512, "gpu")
    job = world.job("screen")
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 3)
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert "MASTER_ADDR" not in {item["name"] for item in container["env"]}
    assert world.names("Service") == []


def test_another_share_assembles_again_and_scores_nothing_again():
    world = screened_world()
    world.succeed("screen", output="screen", screening=ScreeningResult(method="representation", scored=9))
    world.settle()
    before = hash_of(world, "assemble")
    scored = world.stage("screen")["hash"]
    for change in (
        {"topFraction": "0.2"},
        {"action": "flag"},
        {"select": "random"},
        {"compute": {"shards": 2}},
    ):
        world.edit(screening=SCREENING | change)
        world.settle()
        assert world.stage("screen")["hash"] == scored, change
        assert (hash_of(world, "assemble") != before) is ("compute" not in change), change
    world.edit(screening=SCREENING | {"average": 3})
    world.settle()
    assert world.stage("screen")["hash"] != scored


def hash_of(world: World, stage: str) -> str:
    return str(world.job(stage)["metadata"]["annotations"][ANNOTATION_HASH])


def anchors_spec(world: World) -> AnchorsStage:
    spec = spec_of(world, "anchors")
    assert isinstance(spec, AnchorsStage)
    return spec


@pytest.mark.parametrize(("method", "limit"), [("representation", 100), ("gradient", 10)])
def test_anchors_are_read_along_with_the_sources_and_before_an_answer_is_asked_for(method: str, limit: int):
    world = make_blend(screening=SCREENING | {"method": method})
    world.settle()
    spec = anchors_spec(world)
    assert (spec.harmful.preset, spec.harmful.limit) == ("illegal-activities", limit)
    assert [item.preset for item in spec.safe] == [
        "illegal-activities-refused",
        "illegal-activities-explained",
    ]
    assert world.stage("collect")["state"] == "Running"
    world.succeed("fetch", output="model")
    world.succeed("collect")
    world.settle()
    assert world.stage("answer")["state"] == "Pending"
    words = "screening.anchors: harmful has no example"
    world.fail(stage="anchors", input_=True, reason="EmptyAnchors", message=words)
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "EmptyAnchors")
    assert words in stalled["message"]
    assert world.names("Deployment") == [], "no server waits for somebody to mend the anchors"


def test_other_anchors_score_again_and_ask_for_no_answer_again():
    world = screened_world()
    answered, scored = world.stage("answer")["hash"], world.stage("screen")["hash"]
    world.edit(screening=SCREENING | {"anchors": {"harmful": {"preset": "hate-speech"}}})
    world.settle()
    world.succeed("anchors", output="others")
    world.settle()
    assert world.stage("answer")["hash"] == answered
    assert world.stage("screen")["hash"] != scored


def test_tokens_of_anchors_and_layer_prompts_reach_the_pod_that_reads_them():
    token = {"name": "hub", "key": "token"}
    own = {"uri": "hf://org/private/harmful.jsonl", "tokenSecretRef": token}
    prompts = {"preset": "advbench", "tokenSecretRef": {"name": "other", "key": "token"}}
    fields = {"method": "larf", "anchors": {"harmful": own}, "layerPrompts": prompts}
    world = make_blend(screening=SCREENING | fields)
    world.settle()
    assert "the Secret hub does not exist" in world.condition("Stalled")["message"]
    world.secrets = {"hub": "1", "other": "1"}
    world.settle()
    spec = anchors_spec(world)
    assert spec.harmful.dataset is not None
    assert spec.layer_prompts is not None
    assert spec.layer_prompts.uri.startswith("hf://walledai/")
    container = world.job("anchors")["spec"]["template"]["spec"]["containers"][0]
    given = {
        item["name"]: item["valueFrom"]["secretKeyRef"]["name"]
        for item in container["env"]
        if item["name"].startswith("DATA_TOKEN")
    }
    assert given == {spec.harmful.dataset.token_env: "hub", spec.layer_prompts.token_env: "other"}


def test_a_screener_of_its_own_is_fetched_at_once():
    own = {"source": {"uri": "hf://org/screener"}}
    world = make_blend(screening=SCREENING | {"model": own})
    world.settle()
    assert world.stage("fetch-screener")["state"] == "Running"
    assert world.stage("fetch")["state"] == "Running"
    plain = make_blend(screening=SCREENING)
    plain.settle()
    assert plain.stage("fetch-screener")["state"] == "Skipped"


def test_anchors_that_are_missing_stall_before_anything_starts():
    world = make_blend(screening=SCREENING | {"anchors": {"harmful": {"uri": "configmap://nowhere/a.jsonl"}}})
    world.settle()
    message = world.condition("Stalled")["message"]
    assert "spec.screening.anchors.harmful.uri" in message
    assert "nowhere" in message
    assert world.names("Job") == world.names("Deployment") == []


@pytest.mark.parametrize("content", ["", "\n"])
def test_anchors_that_are_empty_stall_before_anything_starts(content: str):
    world = make_blend(screening=SCREENING | {"anchors": {"harmful": {"uri": "configmap://anchors/a.jsonl"}}})
    world.config_maps["anchors"] = {"data": {"a.jsonl": content}}
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "EmptyAnchors")
    assert "spec.screening.anchors.harmful.uri: there is nothing in it" in stalled["message"]
    assert world.names("Job") == world.names("Deployment") == []


def test_anchors_that_are_emptied_under_a_run_ask_for_no_answer():
    world = make_blend(screening=SCREENING | {"anchors": {"harmful": {"uri": "configmap://anchors/a.jsonl"}}})
    world.config_maps["anchors"] = {"data": {"a.jsonl": '{"prompt": "p", "response": "r"}'}}
    world.settle()
    world.config_maps["anchors"] = {"data": {"a.jsonl": ""}}
    world.settle()
    world.succeed("fetch", output="model")
    world.succeed("collect")
    world.settle()
    assert world.condition("Stalled")["reason"] == "EmptyAnchors"
    assert world.stage("answer")["state"] == "Pending"
    assert world.names("Deployment") == []


def test_anchors_may_be_conversations():
    talks = {"uri": "configmap://prompts/harm.jsonl", "columns": {"messages": "talk"}}
    world = make_blend(screening=SCREENING | {"anchors": {"harmful": talks, "safe": [talks]}})
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"
    spec = anchors_spec(world)
    assert spec.harmful.dataset is not None
    assert spec.harmful.dataset.columns.messages == "talk"


def test_the_status_says_what_was_found_and_what_was_taken():
    world = screened_world(method="larf", action="flag")
    found = ScreeningResult(method="larf", scored=90, unscored=10, layer=14)
    world.succeed("screen", output="screen", screening=found)
    world.settle()
    assert world.status["screening"]["layer"] == 14
    assert "selected" not in world.status["screening"]
    taken = found.model_copy(update={"selected": 19, "cut": 0.25})
    counts = (Counts(source="benign", read=100, sampled=100, generated=100, kept=100),)
    world.succeed("assemble", train_rows=90, validation_rows=10, counts=counts, screening=taken)
    world.settle()
    screening = world.status["screening"]
    assert (screening["scored"], screening["unscored"], screening["selected"]) == (90, 10, 19)
    assert screening["cut"] == "0.25"
    assert screening["table"]["uri"].startswith("pvc://safety-artifacts/")
    assert world.status["summary"]["screened"] == "19 flagged"
    assert {"anchors", "screen", "screeningModel"} <= set(world.status["lineage"])


def test_data_of_a_source_that_are_missing_hold_everything_back():
    world = make_blend()
    world.config_maps = {}
    world.settle()
    assert world.names("Job") == []
    assert world.condition("Stalled")["reason"] == "ConfigMapMissing"
    assert "spec.sources[0].uri" in world.condition("Stalled")["message"]


def test_a_screener_of_its_own_scores_the_rows():
    world = make_blend(screening=SCREENING | {"model": {"source": {"uri": "hf://org/screener"}}})
    world.settle()
    fetched = world.succeed("fetch-screener", output="screener")
    world.succeed("fetch", output="model")
    world.succeed("collect")
    world.succeed("anchors")
    world.settle()
    world.serve("target-server")
    for stage in ("answer", "judge"):
        world.settle()
        world.succeed(stage)
    world.settle()
    assert fetched.output is not None
    assert screen_spec(world).model == fetched.output.uri
