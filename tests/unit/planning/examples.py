"""Resources that tests start from: small, complete, one of each kind."""

from typing import Any

from tests.unit.planning.world import World, digest_of, ready_conditions

API = "modelsafety.dev/v1alpha1"
SOURCE = {"source": {"uri": "hf://org/model@main"}}


def make_eval(**spec: Any) -> World:
    base = {
        "model": SOURCE,
        "judges": [{"name": "refusals", "type": "refusal-phrases"}],
        "contentSafety": [
            {"name": "harm", "dataset": {"uri": "configmap://prompts/harm.jsonl"}, "judge": "refusals"}
        ],
        "security": {"garak": {"probes": ["dan.Dan_11_0"]}},
        "accuracy": [{"name": "facts", "dataset": "configmap://prompts/facts.jsonl"}],
        "thresholds": [{"metric": "contentSafety.harm", "min": "0.5"}],
    }
    return _world("SafetyEval", "base", base | spec)


def make_blend(**spec: Any) -> World:
    base = {
        "sources": [{"name": "harm", "uri": "configmap://prompts/harm.jsonl"}],
        "retain": [{"name": "benign", "uri": "configmap://prompts/facts.jsonl", "size": 10}],
        "onPolicy": {"model": SOURCE},
        "judges": [{"name": "refusals", "type": "refusal-phrases"}],
    }
    return _world("SafetyBlend", "blend", base | spec)


def make_finetune(**spec: Any) -> World:
    base = {
        "model": SOURCE,
        "data": {"blendRef": {"name": "blend"}},
        "batch": {"global": 8, "micro": 8, "maxSequenceLength": 256},
    }
    return _world("SafetyFinetune", "hardened", base | spec)


def make_guarded(**spec: Any) -> World:
    base = {
        "model": {"finetuneRef": {"name": "hardened"}},
        "gate": {"evalRefs": [{"name": "hardened"}]},
        "guardrails": {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}},
    }
    return _world("GuardedDeployment", "assistant", base | spec)


def _world(kind: str, name: str, spec: dict[str, Any]) -> World:
    resource = {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}
    config_map = {
        "metadata": {"name": "prompts", "resourceVersion": "7"},
        "data": {"harm.jsonl": '{"prompt": "a"}\n', "facts.jsonl": '{"prompt": "b"}\n'},
    }
    return World(resource, config_maps={"prompts": config_map})


def finished_blend(rows: int = 100) -> dict[str, Any]:
    return {
        "kind": "SafetyBlend",
        "metadata": {"name": "blend", "generation": 2},
        "spec": {},
        "status": {
            "conditions": ready_conditions(2, "Ready", "Succeeded"),
            "output": {
                "uri": "pvc://safety-artifacts/team/safetyblend/blend/1/assemble",
                "digest": digest_of("blend"),
                "trainRows": rows,
                "validationRows": 5,
            },
        },
    }


def finished_finetune(product: str = "product") -> dict[str, Any]:
    return {
        "kind": "SafetyFinetune",
        "metadata": {"name": "hardened", "generation": 1},
        "status": {
            "conditions": ready_conditions(1, "Ready", "Succeeded"),
            "output": {
                "uri": "pvc://safety-artifacts/team/safetyfinetune/hardened/1/train",
                "digest": digest_of(product),
            },
        },
    }


def finished_eval(product: str = "product", *, passed: bool = True) -> dict[str, Any]:
    conditions = ready_conditions(3, "Ready", "Succeeded", "SafetyPassed")
    if not passed:
        conditions[2] |= {
            "status": "False",
            "reason": "ThresholdNotMet",
            "message": "contentSafety: too low.",
        }
    return {
        "kind": "SafetyEval",
        "metadata": {"name": "hardened", "generation": 3},
        "status": {
            "conditions": conditions,
            "state": "Succeeded",
            "target": {"uri": f"safetyfinetune://{product}", "digest": digest_of(product)},
        },
    }


def guarded_deployment(
    *,
    model: str = "product",
    rails: str = "rails-1",
    wanted: tuple[str, str] | None = None,
    ready: bool = True,
    gate: str = "hardened",
    claim: str = "safety-artifacts",
) -> dict[str, Any]:
    """A deployment in service; ``wanted``: model and rails that are being rolled out instead."""
    next_model, next_rails = wanted or (model, rails)
    return {
        "kind": "GuardedDeployment",
        "metadata": {"name": "assistant", "generation": 3},
        "spec": {
            "model": {"finetuneRef": {"name": "hardened"}},
            "gate": {"evalRefs": [{"name": gate}]},
            "serving": {"device": "cpu", "maxModelLen": 1024, "placement": "concurrent"},
        },
        "status": {
            "conditions": ready_conditions(3, "Ready") if ready else [],
            "state": "Serving" if ready else "Running",
            "endpoint": "http://assistant.team.svc:8000/v1",
            "served": {
                "modelDigest": digest_of(model),
                "modelUri": f"pvc://{claim}/team/models/{model}",
                "wantedModelDigest": digest_of(next_model),
                "configHash": rails,
                "wantedConfigHash": next_rails,
            },
        },
    }
