"""Gauges say what the statuses of the known resources say, and nothing of those that are gone."""

from typing import Any

from prometheus_client import CollectorRegistry

from safety_operator.handlers.observe import StatusMetrics
from safety_operator.state.keys import Key

BASE, OTHER = Key("SafetyEval", "team", "base"), Key("SafetyEval", "team", "other")
WHERE = {"namespace": "team", "name": "base"}


def value(statuses: dict[Key, Any], metric_: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StatusMetrics({key: {"status": status} for key, status in statuses.items()}))
    return registry.get_sample_value(metric_, labels)


def test_a_resource_is_counted_under_its_present_state_only():
    both = {BASE: {"state": "Succeeded"}, OTHER: {"state": "Running"}}
    assert value(both, "safety_resources", kind="SafetyEval", state="Running") == 1
    assert value(both, "safety_resources", kind="SafetyEval", state="Succeeded") == 1
    assert value({BASE: None}, "safety_resources", kind="SafetyEval", state="Pending") == 1
    assert value({}, "safety_resources", kind="SafetyEval", state="Running") is None


def test_progress_is_that_of_the_running_stage():
    def share(stage: str, **progress: Any) -> float | None:
        status = {"progress": {"stage": "judge"} | progress}
        return value({BASE: status}, "safety_stage_progress_ratio", kind="SafetyEval", **WHERE, stage=stage)

    assert share("judge", done=1, total=4) == 0.25
    assert share("judge", total=4) == 0
    assert share("generate", done=1, total=4) is None
    assert share("judge") is share("judge", done=0, total=0) is None


def test_a_missing_score_has_no_value():
    found = {
        BASE: {"scores": [{"metric": "contentSafety", "value": "0.9"}, {"metric": "accuracy", "value": ""}]}
    }
    assert value(found, "safety_score", **WHERE, metric="contentSafety") == 0.9
    assert value(found, "safety_score", **WHERE, metric="accuracy") is None


def test_a_status_that_a_person_wrote_harms_no_other_metric():
    odd = {
        "state": 3,
        "progress": "half",
        "scores": [None, {"metric": "a", "value": "high"}, {"value": "nan"}],
    }
    found = {BASE: odd, OTHER: {"state": "Running"}}
    assert value(found, "safety_resources", kind="SafetyEval", state="Running") == 1
    assert value(found, "safety_score", **WHERE, metric="a") is None


def test_a_training_shows_what_its_status_has_and_nothing_that_is_missing():
    tuned = Key("SafetyFinetune", "team", "tuned")
    found = {
        tuned: {"loss": "0.75", "learningRate": "5e-7", "memoryBytes": 1000, "mfu": ""},
        BASE: {"loss": "9"},
    }
    where = {"namespace": "team", "name": "tuned"}
    assert value(found, "safety_training_loss", **where) == 0.75
    assert value(found, "safety_training_learning_rate", **where) == 5e-7
    assert value(found, "safety_training_gpu_memory_bytes", **where) == 1000
    assert value(found, "safety_training_mfu_ratio", **where) is None
    assert value(found, "safety_training_loss", **WHERE) is None
