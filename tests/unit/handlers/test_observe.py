"""Gauges follow statuses, and go with their resources."""

from prometheus_client import REGISTRY

from safety_operator.handlers.observe import Gauges
from safety_operator.state.keys import Key

KEY = Key("SafetyEval", "metrics-team", "base")


def value(metric_: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric_, labels)


def test_a_resource_is_counted_under_its_present_state_only():
    gauges = Gauges()
    gauges.show(KEY, {"state": "Running"})
    gauges.show(Key("SafetyEval", "metrics-team", "two"), {"state": "Running"})
    gauges.show(KEY, {"state": "Succeeded"})
    assert value("safety_resources", kind="SafetyEval", state="Running") == 1
    assert value("safety_resources", kind="SafetyEval", state="Succeeded") == 1
    gauges.forget(KEY)
    assert value("safety_resources", kind="SafetyEval", state="Succeeded") == 0


def test_progress_moves_from_stage_to_stage_and_ends():
    gauges = Gauges()
    where = {"kind": "SafetyEval", "namespace": "metrics-team", "name": "base"}
    gauges.show(KEY, {"progress": {"stage": "generate", "done": 1, "total": 4}})
    assert value("safety_stage_progress_ratio", **where, stage="generate") == 0.25
    gauges.show(KEY, {"progress": {"stage": "judge", "done": 1, "total": 2}})
    assert value("safety_stage_progress_ratio", **where, stage="generate") is None
    assert value("safety_stage_progress_ratio", **where, stage="judge") == 0.5
    gauges.show(KEY, {"progress": {"stage": "judge", "done": 0, "total": 0}})
    assert value("safety_stage_progress_ratio", **where, stage="judge") is None


def test_a_missing_score_has_no_value():
    gauges = Gauges()
    where = {"namespace": "metrics-team", "name": "base"}
    gauges.show(
        KEY, {"scores": [{"metric": "contentSafety", "value": "0.9"}, {"metric": "accuracy", "value": ""}]}
    )
    assert value("safety_score", **where, metric="contentSafety") == 0.9
    assert value("safety_score", **where, metric="accuracy") is None
    gauges.forget(KEY)
    assert value("safety_score", **where, metric="contentSafety") is None
