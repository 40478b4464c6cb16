"""Secrets that resources may not use: whose, and without which label."""

from dataclasses import replace

import pytest
from tests.unit.planning.examples import make_blend, make_eval, make_finetune, make_guarded
from tests.unit.planning.world import SETTINGS

from safety_operator.planning.engine.secrets import why_withheld
from safety_operator.state.labels import LABEL_ROLE

USABLE = "modelsafety.dev/usable=true"
OURS = {"app.kubernetes.io/managed-by": "model-safety-operator"}


def secret(labels=None, annotations=None):
    meta = {"name": "s", "namespace": "team", "labels": labels, "annotations": annotations}
    return {"metadata": {key: value for key, value in meta.items() if value is not None}}


@pytest.mark.parametrize(
    ("labels", "required"),
    [
        (None, ""),
        ({"a": "b"}, ""),
        ({"modelsafety.dev/usable": "true"}, USABLE),
        ({"modelsafety.dev/usable": ""}, "modelsafety.dev/usable"),
        ({"modelsafety.dev/usable": "no"}, "modelsafety.dev/usable"),
        ({"usable": ""}, "usable="),
    ],
)
def test_a_secret_with_the_label_that_is_asked_for_is_usable(labels, required):
    assert why_withheld(secret(labels), required) == ""


@pytest.mark.parametrize(
    ("labels", "required"),
    [
        (None, USABLE),
        ({}, USABLE),
        ({"modelsafety.dev/usable": "false"}, USABLE),
        ({"modelsafety.dev/usable": "True"}, USABLE),
        ({"x/modelsafety.dev/usable": "true"}, USABLE),
    ],
)
def test_one_without_it_is_withheld_with_the_command_that_gives_it(labels, required):
    words = why_withheld(secret(labels), required)
    assert "kubectl label secret s -n team modelsafety.dev/usable=true" in words


def test_a_name_alone_is_given_some_value():
    assert why_withheld(secret(), "usable").endswith("kubectl label secret s -n team usable=true")


@pytest.mark.parametrize("required", ["", USABLE])
def test_tokens_of_service_accounts_and_the_operators_keys_are_never_usable(required):
    labels = {"modelsafety.dev/usable": "true"}
    account = {"kubernetes.io/service-account.name": "admin"}
    assert "service account" in why_withheld(secret(labels, account), required)
    assert "the operator's own" in why_withheld(secret(labels | OURS), required)


KEY = {"name": "k", "key": "token"}
ENDPOINT = {"url": "https://host/v1", "model": "m", "apiKeySecretRef": KEY}
GATED = {"source": {"uri": "hf://org/model@main", "tokenSecretRef": KEY}}
GUARD = {"name": "g", "type": "wildguard", "model": {"endpoint": ENDPOINT}}


@pytest.mark.parametrize(
    ("make", "spec", "field"),
    [
        (make_eval, {"model": {"endpoint": ENDPOINT}, "accuracy": []}, "spec.model.endpoint.apiKeySecretRef"),
        (make_eval, {"model": GATED}, "spec.model.source.tokenSecretRef"),
        (
            make_eval,
            {
                "model": {
                    "source": {"uri": "hf://org/lora", "base": {"uri": "s3://b/m", "tokenSecretRef": KEY}}
                }
            },
            "spec.model.source.base.tokenSecretRef",
        ),
        (make_eval, {"report": {"signingKeySecretRef": KEY}}, "spec.report.signingKeySecretRef"),
        (
            make_eval,
            {"accuracy": [{"name": "gpqa", "preset": "gpqa-diamond", "tokenSecretRef": KEY}]},
            "spec.accuracy[0].tokenSecretRef",
        ),
        (
            make_eval,
            {
                "contentSafety": [
                    {
                        "name": "harm",
                        "dataset": {"preset": "wildguard-test", "tokenSecretRef": KEY},
                        "judge": "refusals",
                    }
                ]
            },
            "spec.contentSafety[0].dataset.tokenSecretRef",
        ),
        (make_blend, {"judges": [{"name": "r", "type": "refusal-phrases"}, GUARD]}, "spec.judges[1].model"),
        (make_blend, {"onPolicy": {"model": GATED}}, "spec.onPolicy.model.source.tokenSecretRef"),
        (
            make_blend,
            {"sources": [{"name": "harm", "uri": "hf://org/data/a.jsonl", "tokenSecretRef": KEY}]},
            "spec.sources[0].tokenSecretRef",
        ),
        (make_finetune, {"model": GATED}, "spec.model.source.tokenSecretRef"),
        (make_guarded, {"model": GATED, "gate": {"none": True}}, "spec.model.source.tokenSecretRef"),
        (
            make_guarded,
            {"guardrails": {"contentSafety": {"model": {"endpoint": ENDPOINT}}}},
            "spec.guardrails.contentSafety.model.endpoint.apiKeySecretRef",
        ),
        (make_guarded, {"pod": {"imagePullSecrets": [{"name": "k"}]}}, "spec.pod.imagePullSecrets[0]"),
    ],
)
def test_no_field_takes_a_secret_that_is_withheld(make, spec, field):
    world = make(**spec)
    world.settings = replace(SETTINGS, secret_label=USABLE)
    world.secrets["k"] = "1"
    world.withheld["k"] = "lacks the label"
    world.settle()
    for job in [child for child in world.children.values() if child["kind"] == "Job"]:
        # A blend's other stages go on meanwhile.
        world.succeed(job["metadata"]["labels"][LABEL_ROLE])
        world.settle()
    condition = world.condition("Stalled")
    assert condition["status"] == "True"
    assert condition["reason"] == "SecretWithheld"
    assert condition["message"].startswith(field)
    assert "the Secret k lacks the label" in condition["message"]
    assert "secretKeyRef': {'name': 'k'" not in str(world.children)


def test_a_suspended_resource_is_stopped_whatever_its_secrets_are():
    world = make_finetune(pod={"imagePullSecrets": [{"name": "k"}]})
    world.settings = replace(SETTINGS, secret_label=USABLE)
    world.secrets["k"] = "1"
    world.settle()
    assert world.names("Job")
    world.withheld["k"] = "lacks the label"
    world.edit(suspend=True)
    world.settle()
    assert not world.names("Job")
    assert world.condition("Ready")["reason"] == "Suspended"


def test_what_waits_goes_on_once_the_label_is_there():
    world = make_finetune(model=GATED)
    world.secrets["k"], world.withheld["k"] = "1", "lacks the label"
    world.settle()
    world.secrets["k"], world.withheld = "2", {}
    world.settle()
    assert world.job("fetch")
    assert world.condition("Stalled")["status"] == "False"
