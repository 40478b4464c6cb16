"""What is made of an object's events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_operator.cluster.event_words import (
    MAX_MESSAGE,
    find_newest,
    find_trouble,
    find_workload,
    words_of,
)


def event(
    reason: str, at: int = 0, message: str = "words", type_: str = "Warning", **more: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "e"},
        "involvedObject": {"name": "x-fetch-1a2b"},
        "type": type_,
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-21T12:{at // 60:02}:{at % 60:02}Z",
    } | more


def normal(reason: str, at: int = 0, message: str = "words") -> dict[str, Any]:
    return event(reason, at, message, "Normal")


def reason(*events: dict[str, Any]) -> str:
    found = find_trouble(events)
    return found.reason if found else ""


def test_the_newest_warning_counts_whatever_the_order():
    assert reason(event("FailedMount", 9), event("FailedScheduling", 1)) == "FailedMount"
    assert reason() == reason(normal("Pulling")) == ""


def test_a_provisioner_may_take_a_moment():
    slow = normal("ExternalProvisioning", 60)
    assert reason(slow) == reason(slow | {"firstTimestamp": "2026-11-21T12:00:30Z"}) == ""
    assert reason(slow | {"firstTimestamp": "2026-11-21T12:00:00Z"}) == "ExternalProvisioning"
    assert reason(normal("WaitForFirstConsumer", 90)) == ""


@pytest.mark.parametrize(
    ("trouble", "after", "over"),
    [
        ("FailedScheduling", "Scheduled", True),
        ("FailedScheduling", "Pulling", True),
        ("FailedAttachVolume", "SuccessfulAttachVolume", True),
        ("FailedMount", "SuccessfulAttachVolume", False),
        ("FailedMount", "Pulling", True),
        ("FailedCreatePodSandBox", "SandboxChanged", False),
        ("FailedCreate", "SuccessfulCreate", True),
        ("ProvisioningFailed", "ProvisioningSucceeded", True),
        ("SomethingNew", "Scheduled", True),
    ],
)
def test_a_warning_is_over_when_the_pod_went_further(trouble, after, over):
    assert reason(event(trouble, 1), normal(after, 2)) == ("" if over else trouble)
    assert reason(event(trouble, 2), normal(after, 1)) == trouble


def test_a_warning_that_comes_again_counts_with_its_last_time():
    again = event("FailedMount", 1, series={"count": 4, "lastObservedTime": "2026-11-21T12:30:00.000000Z"})
    assert reason(again, normal("Pulling", 5)) == "FailedMount"


def test_an_event_of_the_new_kind_has_its_time_elsewhere():
    old = event("FailedScheduling", lastTimestamp=None, eventTime="2026-11-21T12:00:01.123456Z")
    assert reason(old, normal("Scheduled", 5)) == ""
    assert reason(old | {"eventTime": None}, normal("Pulling")) == ""


def test_what_stops_nothing_is_no_trouble_and_a_claim_that_waits_for_somebody_is():
    for harmless in ("DNSConfigForming", "PolicyViolation", "FailedToRetrieveImagePullSecret"):
        assert reason(event(harmless)) == ""
    assert reason(normal("FailedBinding")) == "FailedBinding"


def test_each_try_has_the_same_words():
    quota = 'Error creating: pods "x-fetch-1a2b-{}" is forbidden: exceeded quota: q'
    first, second = (words_of(event("FailedCreate", message=quota.format(end))) for end in ("w452v", "g8nzk"))
    assert first == second
    assert first.message == 'Error creating: pods "x-fetch-1a2b" is forbidden: exceeded quota: q'
    many = words_of(event("FailedCreate", message="(combined from similar events): " + quota.format("aaaaa")))
    assert many == first
    indexed = words_of(event("FailedCreate", message=quota.format("1-w452v")))
    assert '"x-fetch-1a2b-1"' in indexed.message
    sandbox = "network for sandbox {}: no addresses"
    one, two = (words_of(event("F", message=sandbox.format(c * 64))).message for c in "ab")
    assert one == two == "network for sandbox …: no addresses"


def test_the_workload_that_kueue_made_is_found_by_its_name():
    assert (
        find_workload([normal("CreatedWorkload", message="Created Workload: team/job-x-19797")])
        == "job-x-19797"
    )
    for message in ("Created Workload: team/../secrets", "", "Created Workload: team/a,type=Normal"):
        assert find_workload([normal("CreatedWorkload", message=message)]) in {"", "a"}
    assert find_workload([]) == ""


@given(st.text(), st.text())
def test_any_text_becomes_a_bounded_one_without_control_characters(reason, message):
    words = words_of(event(reason, message=message * 3))
    assert words.reason.isalnum()
    assert len(words.reason) <= 64
    assert len(words.message) <= MAX_MESSAGE
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in words.message)


@pytest.mark.parametrize(
    "broken", [{"message": None}, {"reason": None}, {"involvedObject": {}}, {"series": None}]
)
def test_an_event_that_lacks_something_is_read_all_the_same(broken):
    assert find_newest([event("Failed") | broken]) is not None


@pytest.mark.parametrize("group", ["", "-head", "-nodes-worker", "-0"])
def test_the_random_end_of_a_pods_name_is_left_out(group: str):
    refused = event("FailedCreate", message=f'pods "r-x7{group}-8chqh" is forbidden')
    refused["involvedObject"] = {"name": "r-x7"}
    assert words_of(refused).message == f'pods "r-x7{group}" is forbidden'
