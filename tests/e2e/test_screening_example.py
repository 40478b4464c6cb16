"""``examples/02-screening`` on a real cluster and a real model; the random control costs no new scores."""

from pathlib import Path

import pytest
from tests.e2e.kube import Kube, Object, condition, is_true
from tests.until import until

pytestmark = pytest.mark.cluster

EXAMPLE = Path(__file__).parents[2] / "examples/02-screening"


@pytest.fixture(scope="module")
def screened(kube: Kube) -> Object:
    kube.run("apply", "-k", str(EXAMPLE))
    return ready(kube)


def ready(kube: Kube) -> Object:
    """The blend, once it is finished for its present generation."""

    def look() -> Object | None:
        blend = kube.get("safetyblend", "screened")
        stalled = condition(blend, "Stalled")
        assert stalled.get("status") != "True", stalled
        return blend if is_true(blend, "Ready") else None

    return until(look, "SafetyBlend screened", 1500)


def test_the_share_that_was_asked_for_is_left_out(screened: Object) -> None:
    found = screened["status"]["screening"]
    assert (found["method"], found["scored"], found["selected"]) == ("gradient", 48, 8)
    taken = {item["source"]: item.get("screened", 0) for item in screened["status"]["counts"]}
    assert taken["obliging"] + taken["everyday"] == 8
    assert taken["obliging"] / 8 > taken["everyday"] / 40, "it finds them no better than chance"


def test_the_random_control_takes_as_many_rows_without_new_scores(kube: Kube, screened: Object) -> None:
    before = {job["metadata"]["name"] for job in kube.items("jobs", name="screened", role="screen")}
    patch = '{"spec": {"screening": {"select": "random"}}}'
    kube.run("patch", "safetyblend", "screened", "--type=merge", "-p", patch)
    control = ready(kube)
    assert control["status"]["screening"]["selected"] == 8
    assert control["status"]["screening"]["table"] == screened["status"]["screening"]["table"]
    after = {job["metadata"]["name"] for job in kube.items("jobs", name="screened", role="screen")}
    assert after <= before, "the rows were scored again"
