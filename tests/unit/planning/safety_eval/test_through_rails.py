"""A SafetyEval of a GuardedDeployment: through its rails, and against the same model without them."""

from typing import Any

import pytest
from tests.unit.planning.examples import guarded_deployment, make_eval, make_guarded
from tests.unit.planning.guarded_deployment.guarded import make_serving
from tests.unit.planning.restricted import violations
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_EGRESS, LABEL_ROLE
from safety_records.eval_stages import GenerateStage, JudgeStage, ReportStage, ScoreStage
from safety_records.result import Latency, Paired, RailsEffect, Score, Share
from safety_records.stages import StageSpec, parse_stage_spec

THROUGH = {"model": {"guardedDeploymentRef": {"name": "assistant"}}, "accuracy": []}


def make_world(deployment: dict[str, Any] | None = None, **spec: Any) -> World:
    world = make_eval(**THROUGH | spec)
    if deployment is not None:
        refer(world, deployment)
    return world


def refer(world: World, deployment: dict[str, Any]) -> None:
    world.refer("GuardedDeployment", "assistant", deployment)


def spec_of(world: World, stage: str) -> StageSpec:
    return parse_stage_spec(world.specification(stage))


def jobs(world: World) -> set[str]:
    return {
        child["metadata"]["labels"][LABEL_ROLE] for key, child in world.children.items() if key.kind == "Job"
    }


def servers(world: World) -> list[str]:
    return [key.name for key in world.children if key.kind == "Deployment"]


def state(world: World) -> tuple[str, str]:
    ready = next(item for item in world.status["conditions"] if item["type"] == "Ready")
    return ready["reason"], ready["message"]


def finish(world: World, *stages: str) -> None:
    for stage in stages:
        world.settle()
        if stage.startswith("generate-"):
            world.serve("target-server")
            world.settle()
        world.succeed(stage, output=stage)
    world.settle()


@pytest.mark.parametrize(("end", "searched"), [("</think>", ""), ("[/THINK]", "[/THINK]")])
def test_answers_through_rails_are_not_searched_for_reasoning_that_rails_leave_out(end, searched):
    world = make_world(guarded_deployment(), sampling={"reasoningEnd": end})
    world.settle()
    assert spec_of(world, "scan").reasoning_end == searched


def test_it_waits_for_a_deployment_that_does_not_exist_yet():
    world = make_world()
    world.settle()
    assert jobs(world) == set()
    assert state(world) == ("WaitingForReference", "Waiting for GuardedDeployment assistant to be created.")
    refer(world, guarded_deployment())
    world.settle()
    assert jobs(world) == {"generate", "scan"}


def test_it_waits_for_a_deployment_that_is_not_ready():
    world = make_world(guarded_deployment(ready=False))
    world.settle()
    assert jobs(world) == set()
    assert state(world)[0] == "WaitingForReference"


def test_the_guarded_endpoint_is_asked_by_the_models_name_and_no_server_is_started():
    world = make_world(guarded_deployment())
    world.settle()
    spec = spec_of(world, "generate")
    assert isinstance(spec, GenerateStage)
    assert (spec.target.base_url, spec.target.model) == (
        "http://assistant.team.svc:8000/v1",
        "assistant",
    )
    assert spec.rails
    assert servers(world) == []


def test_a_served_name_of_the_deployments_own_is_asked_for_and_is_no_other_target():
    named, plain = guarded_deployment(), guarded_deployment()
    named["spec"]["serving"] |= {"servedName": "org/chat-1", "updateStrategy": {"type": "Recreate"}}
    targets = []
    for deployment in (named, plain):
        world = make_world(deployment)
        world.settle()
        spec = spec_of(world, "generate")
        assert isinstance(spec, GenerateStage)
        targets.append(spec.target)
    assert [target.model for target in targets] == ["org/chat-1", "assistant"]
    assert targets[0].digest == targets[1].digest


def test_its_pods_stay_inside_the_namespace():
    world = make_world(guarded_deployment())
    world.settle()
    for stage in ("generate", "scan"):
        template = world.job(stage)["spec"]["template"]
        assert template["metadata"]["labels"][LABEL_EGRESS] == "namespace"
        assert list(violations(template)) == []


def test_the_digest_is_of_model_and_rails_and_no_models():
    digests = set()
    for deployment in (
        guarded_deployment(),
        guarded_deployment(model="other"),
        guarded_deployment(rails="rails-2"),
    ):
        world = make_world(deployment)
        world.settle()
        digests.add(world.status["target"]["digest"])
        assert world.status["target"]["guarded"]["name"] == "assistant"
    assert len(digests) == 3
    assert digests.isdisjoint({digest_of("product"), digest_of("other")})


def test_new_rails_are_evaluated_again_and_the_old_results_stay_until_they_serve():
    world = make_world(guarded_deployment())
    finish(world, "generate", "scan", "judge", "score", "report")
    assert world.status["state"] == "Succeeded"
    refer(world, guarded_deployment(ready=False, wanted=("product", "rails-2")))
    world.settle()
    assert world.status["state"] == "Succeeded"
    refer(world, guarded_deployment(rails="rails-2"))
    world.settle()
    assert world.status["state"] == "Running"
    assert world.job("generate")


def test_what_asks_the_old_rails_is_ended_when_new_ones_are_rolled_out():
    world = make_world(guarded_deployment())
    world.settle()
    assert "generate" in jobs(world)
    refer(world, guarded_deployment(ready=False, wanted=("product", "rails-2")))
    world.settle()
    assert jobs(world) == set()


def test_what_asks_goes_on_while_the_same_deployment_recovers():
    world = make_world(guarded_deployment())
    world.settle()
    refer(world, guarded_deployment(ready=False))
    world.settle()
    assert jobs(world) == {"generate", "scan"}


def test_no_gate_takes_an_evaluation_through_rails_for_one_of_the_model():
    world = make_guarded(model={"source": {"uri": "hf://org/model@main"}})
    world.refer(
        "SafetyEval",
        "hardened",
        {
            "kind": "SafetyEval",
            "metadata": {"name": "hardened", "generation": 1},
            "spec": {"model": {"guardedDeploymentRef": {"name": "another"}}},
        },
    )
    world.settle()
    world.succeed("fetch", output="model")
    world.settle()
    gate = next(item for item in world.status["conditions"] if item["type"] == "GatePassed")
    assert gate["status"] == "False"
    assert "Name an evaluation of the model itself" in gate["message"]


def test_a_deployment_names_its_models_files():
    world = make_serving()
    assert world.status["served"]["modelUri"].startswith("pvc://safety-artifacts/")


def compared(**spec: Any) -> World:
    return make_world(guarded_deployment(), **{"compare": "unguarded"} | spec)


def test_without_compare_there_are_no_stages_for_it():
    world = make_world(guarded_deployment())
    world.settle()
    assert not [stage for stage in world.status["stages"] if stage["name"].endswith("-unguarded")]


def test_the_same_model_gets_a_server_of_the_evaluations_own_after_the_rails_were_asked():
    world = compared()
    world.settle()
    assert (jobs(world), servers(world)) == ({"generate"}, [])
    world.succeed("generate", output="generate")
    world.settle()
    (server,) = servers(world)
    container = world.children[ObjectKey("Deployment", server)]["spec"]["template"]["spec"]["containers"][0]
    command = " ".join([*container.get("command", []), *container.get("args", [])])
    assert "/artifacts/team/models/product" in command
    assert "--max-model-len 1024" in command
    world.serve("target-server")
    world.settle()
    spec = spec_of(world, "generate-unguarded")
    assert isinstance(spec, GenerateStage)
    assert server in spec.target.base_url
    assert spec.target.digest == digest_of("product")
    assert (spec.rails, spec.timed) == (False, True)


def test_only_the_evaluations_pods_reach_that_server():
    world = compared()
    finish(world, "generate")
    (policy,) = [
        child
        for key, child in world.children.items()
        if key == ("NetworkPolicy", "base-safetyeval-target-server")
    ]
    (rule,) = policy["spec"]["ingress"]
    labels = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert labels == [{"modelsafety.dev/kind": "SafetyEval", "modelsafety.dev/name": "base"}]
    assert policy["spec"]["egress"] == []


def test_nothing_else_runs_along_with_the_two_that_are_timed():
    world = compared()
    finish(world, "generate")
    assert "scan" not in jobs(world)
    world.serve("target-server")
    world.settle()
    assert jobs(world) == {"generate", "generate-unguarded"}
    world.succeed("generate-unguarded", output="generate-unguarded")
    world.settle()
    assert {"scan", "judge", "judge-unguarded"} <= jobs(world)
    assert servers(world) == []


def test_both_are_judged_by_the_same_judges_and_scored_together():
    world = compared()
    finish(world, "generate", "generate-unguarded")
    first, second = spec_of(world, "judge"), spec_of(world, "judge-unguarded")
    assert isinstance(first, JudgeStage)
    assert isinstance(second, JudgeStage)
    assert first.judges == second.judges
    assert first.generated != second.generated
    finish(world, "judge", "judge-unguarded", "scan")
    score = spec_of(world, "score")
    assert isinstance(score, ScoreStage)
    assert score.rails
    assert (score.unguarded_generated, score.unguarded_judged) == (
        _output(world, "generate-unguarded"),
        _output(world, "judge-unguarded"),
    )


def _output(world: World, stage: str) -> str:
    found = next(item for item in world.status["stages"] if item["name"] == stage)
    return str(found["result"]["output"]["uri"])


def test_the_rails_effect_is_in_the_status_and_the_report_names_what_was_asked():
    world = compared()
    finish(world, "generate", "generate-unguarded", "judge", "judge-unguarded", "scan")
    gained = Paired(
        baseline="unguarded",
        difference=0.5,
        lower=0.4,
        upper=0.6,
        p_value=0.00001,
        test="mcnemar-exact",
        pairs=100,
    )
    effect = RailsEffect(
        blocked_unsafe=Share(count=60, total=100, value=0.6, lower=0.5, upper=0.7),
        unguarded=Score(metric="contentSafety", value=0.4, lower=0.3, upper=0.5, samples=100),
        gained=gained,
        latency=Latency(samples=40, p50=300, p95=900, unguarded_p50=250, added_p50=50),
    )
    world.succeed("score", output="score", rails=effect)
    world.settle()
    rails = world.status["rails"]
    assert rails["blockedUnsafe"]["count"] == 60
    assert (rails["gained"]["difference"], rails["gained"]["pValue"]) == ("0.5", "1.00e-05")
    assert [rails["unguarded"][name] for name in ("value", "lower", "upper")] == ["0.4", "0.3", "0.5"]
    assert (rails["latency"]["unguardedP50"], rails["latency"]["addedP50"]) == (250, 50)
    report = spec_of(world, "report")
    assert isinstance(report, ReportStage)
    assert report.guarded is not None
    assert report.guarded.model_digest == digest_of("product")
    assert report.target_uri == "guardeddeployment://assistant"


def test_the_weights_have_to_be_on_the_evaluations_claim():
    world = make_world(guarded_deployment(claim="elsewhere"), compare="unguarded")
    finish(world, "generate")
    reason, message = state(world)
    assert reason == "InvalidSpec"
    assert "Set spec.artifacts.claimName to elsewhere." in message


def test_a_comparison_that_is_not_wanted_any_more_is_ended():
    world = compared()
    finish(world, "generate")
    world.serve("target-server")
    world.settle()
    assert "generate-unguarded" in jobs(world)
    world.edit(compare=None)
    world.settle()
    assert "generate-unguarded" not in jobs(world)
    assert servers(world) == []
    assert {"scan", "judge"} <= jobs(world)


def test_a_killed_operator_goes_on_where_it_was():
    world = compared()
    finish(world, "generate")
    world.serve("target-server")
    made = world.plan()
    assert any(
        child.manifest["metadata"]["labels"][LABEL_ROLE] == "generate-unguarded" for child in made.apply
    )
    again = world.plan()
    assert made == again


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("served", {}, "to say what it serves"),
        ("endpoint", "", "to say what it serves"),
        ("serving", {"device": "quantum"}, "whose spec.serving or spec.pod is not one of this version"),
    ],
)
def test_a_deployment_that_another_version_wrote_is_waited_for(part: str, value: Any, message: str):
    deployment = guarded_deployment()
    deployment["spec" if part == "serving" else "status"][part] = value
    world = make_world(deployment)
    world.settle()
    assert jobs(world) == set()
    assert state(world)[0] == "WaitingForReference"
    assert message in state(world)[1]


def test_a_comparison_waits_for_the_name_of_the_models_files():
    deployment = guarded_deployment()
    deployment["status"]["served"]["modelUri"] = ""
    world = make_world(deployment, compare="unguarded")
    finish(world, "generate")
    assert "to name its model's files" in world.status["progress"]["text"]
    assert servers(world) == []


def before_endpoint(digest: str = digest_of("product")) -> dict[str, Any]:
    """A deployment whose model others serve."""
    found = guarded_deployment()
    found["spec"]["model"] = {"endpoint": {"url": "https://nim.example.com/v1", "model": "m"}}
    served = found["status"]["served"]
    served |= {"modelDigest": digest, "wantedModelDigest": digest, "modelUri": "https://nim.example.com/v1"}
    return found


def test_rails_before_a_server_of_others_are_evaluated_without_a_word_on_how_it_serves():
    world = make_world(before_endpoint())
    world.settle()
    assert "serving" not in world.status["target"]
    assert "generate" in jobs(world)


@pytest.mark.parametrize(
    ("digest", "spec", "words"),
    [
        ("endpoint:" + "0" * 24, {}, "asks an endpoint without a digest"),
        (digest_of("product"), {"compare": "unguarded"}, "there are no files to serve here: remove compare"),
    ],
)
def test_what_cannot_be_evaluated_of_a_server_of_others_is_told(digest, spec, words):
    world = make_world(before_endpoint(digest), **spec)
    world.settle()
    if spec:
        finish(world, "generate")
    reason, message = state(world)
    assert reason == "InvalidSpec"
    assert words in message
