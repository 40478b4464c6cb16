"""A stage's hash changes with each thing that influences its output, and with nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.examples import SOURCE, finished_blend, make_blend, make_eval, make_finetune
from tests.unit.planning.world import World

from safety_operator.state.labels import ANNOTATION_HASH, LABEL_ROLE
from safety_operator.state.settings import Images, PlanSettings
from safety_records.judges import JUDGE_TYPES


def in_order(value: Any) -> str:
    """A test's name that is the same in every process: sets have no order."""
    return str(sorted(value) if isinstance(value, set) else value)


def hashes(world: World) -> dict[str, str]:
    """By stage: the hash of its newest Job."""
    return {
        child["metadata"]["labels"][LABEL_ROLE]: child["metadata"]["annotations"][ANNOTATION_HASH]
        for key, child in world.children.items()
        if key.kind == "Job"
    }


def eval_hashes(change: dict[str, Any] | None = None, **world: Any) -> dict[str, str]:
    """Hashes of all stages; every stage gives the same output whatever its hash.

    A stage goes by the output of those before it, but for judging: it starts before there is a digest of the
    answers, and so goes by what they are made of.
    """
    found = make_eval(**(change or {}))
    found.secrets["signing"] = "1"
    for name, value in world.items():
        setattr(found, name, value)
    found.settle()
    found.succeed("fetch", output="model")
    found.settle()
    found.serve("target-server")
    found.settle()
    for stage in ("generate", "scan", "benchmark", "judge", "score"):
        found.settle()
        found.succeed(stage, output=stage)
    found.settle()
    return hashes(found)


BASE = eval_hashes()
SUITE = {"name": "harm", "dataset": {"uri": "configmap://prompts/harm.jsonl"}, "judge": "refusals"}
GARAK = {"probes": ["dan.Dan_11_0"]}
TASK = {"name": "facts", "dataset": "configmap://prompts/facts.jsonl"}
JUDGE = {"name": "refusals", "type": "refusal-phrases"}
ASKING = {"generate", "judge", "scan", "benchmark"}


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"sampling": {"maxTokens": 99}}, {"generate", "judge"}),
        ({"sampling": {"temperature": "0.5"}}, {"generate", "judge", "scan"}),
        ({"contentSafety": [SUITE | {"limit": 5}]}, {"generate", "judge", "score", "report"}),
        ({"contentSafety": [SUITE | {"expect": "answer"}]}, {"judge", "score", "report"}),
        ({"judges": [JUDGE | {"phrases": ["No"]}]}, {"judge", "report"}),
        ({"security": {"garak": GARAK | {"promptCap": 9}}}, {"scan"}),
        ({"security": {"garak": GARAK | {"detectors": "extended"}}}, {"scan"}),
        ({"security": {"garak": GARAK | {"downloads": "allow"}}}, {"scan"}),
        (
            {"security": {"garak": GARAK | {"generations": 2}}, "sampling": {"temperature": "0.5"}},
            {"generate", "judge", "scan"},
        ),
        ({"thresholds": [{"metric": "security.dan.Dan_11_0", "min": "0"}]}, {"score", "report"}),
        ({"accuracy": [TASK | {"limit": 3}]}, {"benchmark"}),
        ({"accuracy": [TASK | {"numFewshot": 3}]}, {"benchmark"}),
        ({"accuracy": [TASK | {"chatTemplate": True}]}, {"benchmark"}),
        ({"serving": {"maxModelLen": 1024}}, ASKING),
        ({"serving": {"dtype": "float32"}}, ASKING),
        ({"serving": {"image": "other:1"}}, ASKING),
        ({"serving": {"args": ["--x"]}}, ASKING),
        ({"thresholds": []}, {"report"}),
        ({"report": {"signingKeySecretRef": {"name": "signing", "key": "a"}}}, {"report"}),
        ({"model": {"source": {"uri": "hf://org/other"}}}, {"fetch", "report"}),
    ],
    ids=in_order,
)
def test_a_change_that_influences_an_output_changes_just_those_hashes(change, stages):
    changed = eval_hashes(change)
    assert {name for name in BASE if BASE[name] != changed[name]} == stages


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": 7},
        {"security": {"garak": GARAK | {"parallelism": 3}}},
        {"serving": {"resources": {"requests": {"cpu": "2"}}}},
        {"serving": {"replicas": 2}},
        {"serving": {"placement": "sequential"}},
        {"pod": {"nodeSelector": {"a": "b"}, "env": [{"name": "HTTPS_PROXY", "value": "http://p"}]}},
        {"queueName": "q"},
        {"schedule": "0 3 * * 1", "timeZone": "Europe/Zurich"},
    ],
    ids=in_order,
)
def test_a_change_of_speed_or_place_changes_no_hash(change):
    assert eval_hashes(change) == BASE


def test_an_upgrade_of_the_operators_images_changes_no_hash():
    assert eval_hashes(settings=PlanSettings(images=Images("w:2", "s:2", "g:2"), device="cpu")) == BASE


def test_other_rules_of_the_phrase_judge_judge_again_and_ask_no_model_again(monkeypatch):
    other = replace(JUDGE_TYPES["refusal-phrases"], edition="0123456789ab")
    monkeypatch.setitem(JUDGE_TYPES, "refusal-phrases", other)
    changed = eval_hashes()
    assert {name for name in BASE if BASE[name] != changed[name]} == {"judge", "report"}


def test_the_content_of_a_config_map_counts_and_its_version_does_not():
    def with_map(version: str, prompts: str) -> dict[str, str]:
        data = {"harm.jsonl": prompts, "facts.jsonl": '{"prompt": "b"}\n'}
        return eval_hashes(config_maps={"prompts": {"metadata": {"resourceVersion": version}, "data": data}})

    assert with_map("99", '{"prompt": "a"}\n') == BASE
    changed = with_map("7", '{"prompt": "other"}\n')
    assert {name for name in BASE if BASE[name] != changed[name]} == {"generate", "judge"}


def test_the_digest_of_the_model_counts_and_its_folder_does_not():
    def with_model(output: str) -> str:
        world = make_eval()
        world.settle()
        world.succeed("fetch", output=output)
        world.settle()
        world.serve("target-server")
        world.settle()
        return hashes(world)["generate"]

    assert with_model("one") != with_model("two")
    assert with_model("model") == BASE["generate"]


def test_owner_and_namespace_count_for_names_and_not_for_hashes():
    world = make_eval()
    world.resource["metadata"] |= {"name": "other", "uid": "ffff"}
    world.settle()
    assert hashes(world)["fetch"] == BASE["fetch"]


def finetune_hash(change: dict[str, Any] | None = None, blend: dict[str, Any] | None = None) -> str:
    world = make_finetune(**(change or {}))
    world.refer("SafetyBlend", "blend", blend or finished_blend())
    world.settle()
    world.succeed("fetch", output="model")
    world.settle()
    return hashes(world)["train"]


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {"steps": 3}},
        {"schedule": {"epochs": "2"}},
        {"schedule": {"learningRate": "1e-4"}},
        {"batch": {"global": 16, "micro": 8, "maxSequenceLength": 256}},
        {"precision": "fp32"},
        {"seed": 1},
        {"method": {"type": "lora"}},
        {"overrides": {"neftune_noise_alpha": 5}},
    ],
    ids=in_order,
)
def test_training_starts_anew_when_its_settings_change(change):
    assert finetune_hash(change) != finetune_hash()


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": {"everySteps": 3, "keep": 1}},
        {"compute": {"resources": {"requests": {"cpu": 1}}}},
        {"compute": {"gradientCheckpointing": True}},
    ],
)
def test_training_goes_on_when_only_checkpoints_or_resources_change(change):
    assert finetune_hash(change) == finetune_hash()


def test_training_goes_on_with_another_number_of_processes_that_share_the_model_alike():
    batch = {"global": 24, "micro": 2, "maxSequenceLength": 256}
    on = [{"device": "gpu", "gpusPerNode": gpus, "nodes": nodes} for gpus, nodes in ((4, 1), (2, 3), (1, 1))]
    four, six, one = (finetune_hash({"compute": compute, "batch": batch}) for compute in on)
    assert four == six
    assert one != four, "a single process shards nothing"


def test_training_depends_on_the_blends_digest_and_not_on_its_folder():
    moved, other = finished_blend(), finished_blend()
    moved["status"]["output"]["uri"] += "-elsewhere"
    other["status"]["output"]["digest"] = "sha256:" + "9" * 64
    assert finetune_hash(blend=moved) == finetune_hash()
    assert finetune_hash(blend=other) != finetune_hash()


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"sample": {"size": 5}}, False),
        ({"sample": {"seed": 1}}, False),
        ({"filter": {"maxInvalid": "0.5"}}, False),
        ({"onPolicy": {"model": SOURCE, "candidates": 3}}, True),
        ({"split": {"validation": "0.5"}}, True),
    ],
)
def test_collecting_depends_on_sources_and_sample_only(change, same):
    one, two = make_blend(), make_blend(**change)
    one.settle()
    two.settle()
    assert (hashes(one)["collect"] == hashes(two)["collect"]) is same
