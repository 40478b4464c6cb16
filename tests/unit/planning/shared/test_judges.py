"""Judges that are models: at endpoints, fetched and served, voting, calibrated."""

import json
from typing import Any

import pytest
from tests.unit.planning.examples import make_blend, make_eval
from tests.unit.planning.world import World

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH
from safety_records.eval_stages import GenerateStage, JudgeStage, ReportStage
from safety_records.result import JudgeAgreement
from safety_records.stages import parse_stage_spec

ENDPOINT = {
    "url": "https://judge.example/v1",
    "model": "allenai/wildguard",
    "apiKeySecretRef": {"name": "judge-key", "key": "key"},
}
WILDGUARD = {"name": "wild", "type": "wildguard", "model": {"endpoint": ENDPOINT}}
NEMOGUARD = {
    "name": "nemo",
    "type": "aegis",
    "variant": "v3",
    "model": {"source": {"uri": "hf://nvidia/guard@main", "tokenSecretRef": {"name": "hub", "key": "token"}}},
    "serving": {"maxModelLen": 4096},
}
SUITE = {"name": "harm", "dataset": {"uri": "configmap://prompts/harm.jsonl"}}
ONLY = {"security": None, "accuracy": []}


def env_of(job: dict[str, Any]) -> dict[str, Any]:
    container = job["spec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item for item in container["env"]}


def stage_of(world: World, name: str) -> Any:
    return parse_stage_spec(world.specification(name))


def with_secrets(world: World) -> World:
    world.secrets = {"judge-key": "1", "hub": "1"}
    return world


def generated(world: World) -> World:
    """The model is fetched and asked; nothing is judged yet."""
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    return world


def test_an_endpoint_judges_with_its_key_and_the_way_out():
    world = generated(with_secrets(make_eval(judges=[WILDGUARD], contentSafety=[SUITE | {"judge": "wild"}])))
    spec = stage_of(world, "judge")
    assert isinstance(spec, JudgeStage)
    (judge,) = spec.judges
    assert (judge.type, judge.variant) == ("wildguard", None)
    assert judge.served is not None
    assert (judge.served.base_url, judge.served.model) == ("https://judge.example/v1", "allenai/wildguard")
    assert judge.served.api_key_env == "JUDGE_0_API_KEY"
    job = world.job("judge")
    reference = env_of(job)["JUDGE_0_API_KEY"]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == ("judge-key", "key")
    assert "internet" in json.dumps(job["spec"]["template"]["metadata"]["labels"])


def test_a_judge_without_its_secret_is_waited_for_with_words():
    world = make_eval(judges=[WILDGUARD], contentSafety=[SUITE | {"judge": "wild"}])
    world.settle()
    assert world.names("Job") == []
    assert world.condition("Ready")["message"].startswith(
        "spec.judges[0].model.endpoint.apiKeySecretRef: the Secret judge-key does not exist"
    )


def test_a_blend_collects_nothing_before_its_judges_secret_is_there():
    world = make_blend(judges=[WILDGUARD])
    world.settle()
    assert world.names("Job") == []
    world.secrets["judge-key"] = "1"
    world.settle()
    assert world.stage("collect")["state"] == "Running"


def test_a_judges_model_is_fetched_and_served_next_to_the_target():
    world = with_secrets(make_eval(judges=[NEMOGUARD], contentSafety=[SUITE | {"judge": "nemo"}], **ONLY))
    world.settle()
    assert world.stage("fetch-judge-0")["state"] == "Running"
    assert env_of(world.job("fetch-judge-0"))["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "hub"
    world.succeed("fetch-judge-0", max_length=8192)
    world.succeed("fetch")
    world.settle()
    assert {name.split("-")[1] for name in world.names("Deployment")} == {"judge", "target"}
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    assert world.stage("judge")["state"] == "Pending", "its server is not ready"
    assert [name.split("-")[1] for name in world.names("Deployment")] == ["judge"]
    world.serve("judge-server")
    world.settle()
    (judge,) = stage_of(world, "judge").judges
    assert judge.variant == "v3"
    assert judge.served.digest.startswith("sha256:")
    assert judge.served.base_url.startswith("http://base-judge-server-")
    assert judge.served.max_length == 4096
    world.succeed("judge")
    world.settle()
    assert world.names("Deployment") == []
    assert isinstance(stage_of(world, "score").suites, tuple)


def test_a_judges_model_that_is_not_wanted_any_more_is_not_fetched_on():
    model = {"source": {"uri": "hf://allenai/wildguard"}}
    world = make_eval(
        judges=[{"name": "wild", "type": "wildguard", "model": model}],
        contentSafety=[SUITE | {"judge": "wild"}],
    )
    world.settle()
    assert len(world.names("Job")) == 2
    world.edit(
        judges=[{"name": "refusals", "type": "refusal-phrases"}],
        contentSafety=[SUITE | {"judge": "refusals"}],
    )
    world.settle()
    assert [world.stage("fetch")["job"]] == world.names("Job")


def test_a_guard_that_is_asked_with_raw_prompts_needs_no_chat_template():
    raw = NEMOGUARD | {"name": "wild", "type": "wildguard", "variant": None}
    world = with_secrets(make_eval(judges=[NEMOGUARD, raw], contentSafety=[SUITE | {"judge": "wild"}]))
    world.settle()
    assert [stage_of(world, f"fetch{end}").chat for end in ("", "-judge-0", "-judge-1")] == [
        True,
        True,
        False,
    ]


def test_a_classifier_of_ones_own_is_fetched_and_read_in_the_judges_pod():
    judge = {
        "name": "own",
        "type": "classifier",
        "model": {"source": {"uri": "hf://org/classifier@main"}},
        "unsafeLabels": ["toxic"],
    }
    world = make_eval(judges=[judge], contentSafety=[SUITE | {"judge": "own"}], **ONLY)
    world.settle()
    fetch = stage_of(world, "fetch-judge-0")
    assert (fetch.chat, fetch.classifier) == (False, True)
    world.succeed("fetch-judge-0", output="classifier")
    generated(world)
    assert world.names("Deployment") == []
    (spec,) = stage_of(world, "judge").judges
    assert (spec.served, spec.classifier, spec.unsafe_labels) == (None, None, ("toxic",))
    assert spec.path.startswith("out/fetch-judge-0")
    assert spec.digest.startswith("sha256:")


def test_in_sequence_the_judge_starts_when_the_models_work_is_done():
    spec = {"judges": [NEMOGUARD], "contentSafety": [SUITE | {"judge": "nemo"}], "accuracy": []}
    world = with_secrets(make_eval(serving={"placement": "sequential"}, **spec))
    world.settle()
    world.succeed("fetch-judge-0")
    world.succeed("fetch")
    world.settle()
    assert [name.split("-")[1] for name in world.names("Deployment")] == ["target"]
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    assert [name.split("-")[1] for name in world.names("Deployment")] == ["target"], "garak still asks it"
    assert world.condition("Stalled")["status"] != "True"
    world.succeed("scan")
    world.settle()
    assert [name.split("-")[1] for name in world.names("Deployment")] == ["judge"]


def test_two_served_judges_have_two_servers_and_share_a_policy():
    other = NEMOGUARD | {"name": "other", "serving": {"maxModelLen": 2048}}
    suite = SUITE | {"judges": ["nemo", "other"], "agreement": "majority"}
    world = with_secrets(make_eval(judges=[NEMOGUARD, other], contentSafety=[suite], **ONLY))
    world.settle()
    for stage in ("fetch", "fetch-judge-0", "fetch-judge-1"):
        world.succeed(stage, output=stage[:5])
    made = world.settle()
    names = [
        (child.manifest["kind"], child.manifest["metadata"]["name"])
        for child in [*made.apply, *world.plan().apply]
    ]
    assert len(set(names)) * 2 == len(names)
    assert len(world.names("Deployment")) == 3
    world.serve("target-server")
    world.settle()
    world.succeed("generate")
    world.settle()
    world.serve("judge-server")
    world.settle()
    (voting,) = stage_of(world, "judge").suites
    assert voting.judge == "nemo+other"
    assert (voting.voters, voting.agreement, voting.max_unparsed) == (("nemo", "other"), "majority", 0.02)


def test_calibration_reaches_the_worker_and_the_status():
    judge = {
        "name": "wild",
        "type": "refusal-phrases",
        "calibration": {
            "dataset": {
                "uri": "configmap://prompts/facts.jsonl",
                "columns": {"response": "answer", "label": "human"},
            },
            "labels": {"bad": "unsafe"},
            "minAgreement": "0.9",
            "limit": 100,
        },
    }
    world = generated(make_eval(judges=[judge], contentSafety=[SUITE | {"judge": "wild"}], **ONLY))
    (spec,) = stage_of(world, "judge").judges
    assert spec.calibration.min_agreement == 0.9
    assert spec.calibration.labels == {"bad": "unsafe"}
    assert (spec.calibration.dataset.columns.label, spec.calibration.dataset.limit) == ("human", 100)
    mounts = json.dumps(world.job("judge")["spec"]["template"]["spec"]["volumes"])
    assert '"prompts"' in mounts
    agreement = JudgeAgreement(
        judge="wild",
        samples=100,
        unparsed=2,
        agreement=0.85,
        agreement_lower=0.77,
        agreement_upper=0.91,
        kappa=0.7,
        kappa_lower=0.56,
        kappa_upper=0.84,
        false_safe=0.125,
        false_safe_lower=0.05,
        false_safe_upper=0.25,
        min_agreement=0.9,
    )
    world.succeed("judge", calibration=(agreement,))
    world.settle()
    assert world.status["judges"] == [
        {
            "judge": "wild",
            "samples": 100,
            "unparsed": 2,
            "agreement": "0.85",
            "agreementLower": "0.77",
            "agreementUpper": "0.91",
            "kappa": "0.7",
            "kappaLower": "0.56",
            "kappaUpper": "0.84",
            "falseSafe": "0.125",
            "falseSafeLower": "0.05",
            "falseSafeUpper": "0.25",
            "minAgreement": "0.9",
            "trusted": False,
        }
    ]


def test_changed_labelled_rows_judge_again():
    judge = {
        "name": "wild",
        "type": "refusal-phrases",
        "calibration": {"dataset": {"uri": "configmap://prompts/facts.jsonl", "columns": {"label": "l"}}},
    }
    hashes = []
    for text in ("a", "b"):
        world = make_eval(judges=[judge], contentSafety=[SUITE | {"judge": "wild"}], **ONLY)
        world.config_maps["prompts"]["data"]["facts.jsonl"] = text
        generated(world)
        hashes.append(world.stage("judge")["hash"])
    assert hashes[0] != hashes[1]


def test_a_gated_preset_reaches_the_hub_with_its_token():
    dataset = {"preset": "wildguard-test", "tokenSecretRef": {"name": "hub", "key": "token"}}
    suite = {"name": "wild", "dataset": dataset, "judge": "refusals"}
    world = with_secrets(make_eval(contentSafety=[suite], thresholds=[], **ONLY))
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    (spec,) = stage_of(world, "generate").suites
    assert spec.dataset.preset == "wildguard-test"
    assert spec.dataset.uri == "hf://allenai/wildguardmix/test/wildguard_test.parquet"
    job = world.job("generate")
    assert env_of(job)[spec.dataset.token_env]["valueFrom"]["secretKeyRef"]["name"] == "hub"
    assert "internet" in json.dumps(job["spec"]["template"]["metadata"]["labels"])


def test_data_of_a_site_are_reached_with_their_token():
    dataset = {"uri": "https://data.example.org/p.jsonl", "tokenSecretRef": {"name": "hub", "key": "token"}}
    world = with_secrets(
        make_eval(contentSafety=[SUITE | {"dataset": dataset, "judge": "refusals"}], thresholds=[], **ONLY)
    )
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    (spec,) = stage_of(world, "generate").suites
    job = world.job("generate")
    assert env_of(job)[spec.dataset.token_env]["valueFrom"]["secretKeyRef"]["name"] == "hub"
    assert "internet" in json.dumps(job["spec"]["template"]["metadata"]["labels"])


def test_a_copy_of_a_preset_needs_no_way_out():
    dataset = {"preset": "wildguard-test", "uri": "configmap://prompts/harm.jsonl"}
    world = make_eval(contentSafety=[SUITE | {"dataset": dataset, "judge": "refusals"}], **ONLY)
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    (spec,) = stage_of(world, "generate").suites
    assert (spec.dataset.preset, spec.dataset.uri) == ("wildguard-test", "configmap://prompts/harm.jsonl")
    assert "internet" not in json.dumps(world.job("generate")["spec"]["template"]["metadata"]["labels"])


def test_the_report_knows_the_judges_too():
    world = generated(
        with_secrets(make_eval(judges=[WILDGUARD], contentSafety=[SUITE | {"judge": "wild"}], **ONLY))
    )
    world.succeed("judge")
    world.settle()
    world.succeed("score", scores=())
    world.settle()
    spec = stage_of(world, "report")
    assert isinstance(spec, ReportStage)
    assert spec.judges[0].type == "wildguard"


def test_a_blend_is_judged_by_models_too():
    world = with_secrets(make_blend(judges=[NEMOGUARD, WILDGUARD]))
    world.settle()
    for stage in ("collect", "fetch", "fetch-judge-0"):
        world.succeed(stage)
    world.settle()
    world.serve("target-server")
    world.settle()
    world.succeed("answer")
    world.settle()
    world.serve("judge-server")
    world.settle()
    nemo, wild = stage_of(world, "judge").judges
    assert nemo.served.digest
    assert wild.served.api_key_env == "JUDGE_1_API_KEY"


CUSTOM = {"template": "{{ answer }}", "parser": {"regex": "x"}, "labels": {"x": "safe"}}


def test_several_replicas_are_found_by_name_and_asked_evenly():
    world = make_eval(serving={"replicas": 3}, security=None, accuracy=[])
    world.settle()
    world.succeed("fetch", output="model")
    world.settle()
    server = next(name for name in world.names("Deployment"))
    pods = world.children[ObjectKey("Service", f"{server}-pods")]
    assert pods["spec"]["clusterIP"] == "None"
    world.serve("target-server")
    world.settle()
    spec = parse_stage_spec(world.specification("generate"))
    assert isinstance(spec, GenerateStage)
    assert spec.target.pods_url == f"http://{server}-pods.team.svc:8000/v1"
    world.edit(serving={"replicas": 1})
    world.settle()
    assert ObjectKey("Service", f"{server}-pods") in world.children, "the pod that runs still asks for it"
    world.succeed("generate")
    world.settle()
    assert not world.names("Service")


def test_the_number_of_a_judges_replicas_changes_no_verdict():
    def judge_hash(replicas: int) -> str:
        model = {"source": {"uri": "hf://org/guard"}}
        judge = {"name": "refusals", "type": "wildguard", "model": model, "serving": {"replicas": replicas}}
        world = make_eval(security=None, accuracy=[], judges=[judge])
        world.settle()
        world.succeed("fetch", output="model")
        world.succeed("fetch-judge-0", output="guard")
        world.settle()
        world.serve("target-server")
        world.settle()
        world.serve("judge-server")
        world.start("generate")
        world.settle()
        return str(world.job("judge")["metadata"]["annotations"][ANNOTATION_HASH])

    assert judge_hash(1) == judge_hash(2)


@pytest.mark.parametrize(
    ("regex", "words"), [("(yes|no", "missing ), unterminated subpattern"), ("(yes)|(no)", "2 groups")]
)
def test_a_pattern_that_is_none_is_told_before_a_judge_is_served(regex: str, words: str):
    custom = CUSTOM | {"parser": {"regex": regex}}
    world = make_eval(
        judges=[{"name": "refusals", "type": "custom", "custom": custom, "model": {"endpoint": ENDPOINT}}]
    )
    world.settle()
    assert f"spec.judges[0].custom.parser.regex: {words}" in world.condition("Stalled")["message"]
    assert world.names("Job") == []
