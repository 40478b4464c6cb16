"""Patches that change only what differs."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.objects import make_resource

from safety_operator.api.conditions import Reason
from safety_operator.cluster.apply import RefusedChild
from safety_operator.cluster.status import merge_patch, with_refusals
from safety_operator.state.keys import ObjectKey

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEAF = st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
TREE = st.recursive(
    st.dictionaries(st.text(max_size=2), LEAF, max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), LEAF | inner, max_size=3),
    max_leaves=8,
)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(TREE, TREE)
def test_the_patch_turns_one_status_into_the_other(current: dict[str, Any], wanted: dict[str, Any]):
    assert merged(current, merge_patch(current, wanted)) == wanted


@given(TREE)
def test_equal_statuses_need_no_patch(status: dict[str, Any]):
    assert merge_patch(status, status) == {}


def test_only_what_differs_is_sent():
    current = {"state": "Running", "progress": {"done": 1, "total": 9}, "gone": 1}
    wanted = {"state": "Running", "progress": {"done": 2, "total": 9}}
    assert merge_patch(current, wanted) == {"progress": {"done": 2}, "gone": None}


def test_a_refused_child_stalls_and_keeps_its_time():
    refusal = RefusedChild(ObjectKey("Job", "base-fetch"), "spec.template: invalid", retryable=False)
    resource = make_resource()
    status = {
        "conditions": [{"type": "Ready", "status": "Unknown"}, {"type": "Succeeded", "status": "Unknown"}]
    }
    first = with_refusals(status, [refusal], resource, NOW)
    by_type = {c["type"]: c for c in first["conditions"]}
    assert by_type["Stalled"]["status"] == "True"
    assert by_type["Ready"]["status"] == "False"
    assert by_type["Ready"]["reason"] == Reason.CHILD_REFUSED
    assert "spec.template: invalid" in by_type["Ready"]["message"]
    later = with_refusals(status, [refusal], resource | {"status": first}, NOW.replace(hour=13))
    assert later == first
