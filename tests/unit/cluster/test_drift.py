"""Whether a child is what it should be, without a request."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from safety_operator.cluster.drift import is_current, is_subset, mark_of
from safety_operator.state.labels import ANNOTATION_HASH

WANTED: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"name": "a", "labels": {"x": "y"}, "annotations": {ANNOTATION_HASH: "h1"}},
    "spec": {"ports": [{"port": 8000}], "selector": {}},
}


def live(*, version: str = "5", generation: int | None = None, **spec: Any) -> dict[str, Any]:
    found = copy.deepcopy(WANTED)
    found["metadata"] |= {"uid": "u", "resourceVersion": version}
    if generation is not None:
        found["metadata"]["generation"] = generation
    found["spec"] |= {"clusterIP": "10.0.0.1"} | spec
    return found


def test_what_is_absent_is_applied():
    assert not is_current(WANTED, None, None)


def test_what_we_wrote_is_current():
    assert is_current(WANTED, live(), mark_of(live(), WANTED))


def test_another_version_is_applied_again_where_there_is_no_generation():
    assert not is_current(WANTED, live(version="6"), mark_of(live(), WANTED))


def test_a_changed_status_is_no_drift_where_there_is_a_generation():
    assert is_current(WANTED, live(version="6", generation=1), mark_of(live(generation=1), WANTED))


def test_another_generation_is_applied_again_though_all_wanted_fields_are_there():
    assert not is_current(
        WANTED, live(version="6", generation=2, extra=1), mark_of(live(generation=1), WANTED)
    )


def test_a_lost_label_is_applied_again():
    bare = live(version="6", generation=1)
    bare["metadata"]["labels"] = {}
    assert not is_current(WANTED, bare, mark_of(live(generation=1), WANTED))


def test_another_wanted_manifest_is_applied():
    other = copy.deepcopy(WANTED)
    other["metadata"]["annotations"][ANNOTATION_HASH] = "h2"
    assert not is_current(other, live(), mark_of(live(), WANTED))


def test_after_a_restart_what_has_all_wanted_fields_is_current():
    assert is_current(WANTED, live(), None)
    assert not is_current(WANTED, live(ports=[{"port": 9}]), None)


def test_after_a_restart_a_network_policy_is_applied_once():
    assert not is_current(WANTED | {"kind": "NetworkPolicy"}, live() | {"kind": "NetworkPolicy"}, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_everything_is_a_subset_of_itself(value: Any):
    assert is_subset(value, copy.deepcopy(value))


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.text(min_size=4), JSON)
def test_defaults_of_the_api_server_are_no_drift(wanted: dict[str, Any], name: str, value: Any):
    assert is_subset(wanted, wanted | {name: value})
