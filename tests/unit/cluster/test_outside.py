"""Probes from another namespace, against a fake API server."""

from typing import Any

import pytest
from tests.unit.cluster.fake_cluster import FakeCluster
from tests.unit.cluster.objects import ended, make_child, make_resource

from safety_operator.children.metadata import owner_of
from safety_operator.children.probe_job import build_probe_job, probe_label
from safety_operator.cluster.outside import OutsideProbes
from safety_operator.errors import ApiError, ApiUnreachableError, ForbiddenError, NotFoundError
from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.labels import LABEL_PROBE_OF, LABEL_ROLE
from safety_operator.state.observed import Outside
from safety_operator.state.plan import Plan
from safety_operator.state.settings import DEFAULT_PODS, Images
from safety_records.result import OutsideProbe, StageResult
from safety_records.stage_base import ServedModel
from safety_records.stages import ProbeStage

KEY = Key("GuardedDeployment", "team", "g")
RESOURCE = make_resource("g", kind="GuardedDeployment")
PROVE = {ObjectKey("Job", "g-prove-1"): make_child("g-prove-1", owner=KEY, labels={LABEL_ROLE: "prove"})}
OWNER = owner_of(RESOURCE)
SPEC = ProbeStage(
    namespace="team",
    kind=KEY.kind,
    name="g",
    inputs_hash="h",
    root="file:///tmp/probe",
    out="probe",
    guarded_url="http://g.team.svc",
    direct=ServedModel(base_url="http://m.team.svc:8000/v1", model="model"),
    pods_url="",
    from_namespace="system",
)
JOB = build_probe_job(OWNER, "system", SPEC, images=Images("w", "s", "g"), pods=DEFAULT_PODS)
NAME = JOB["metadata"]["name"]
DENIED = ForbiddenError(403, "Forbidden", 'jobs.batch is forbidden: User "u" cannot create resource "jobs"')


def probes(cluster: FakeCluster, namespace: str = "system") -> OutsideProbes:
    return OutsideProbes(cluster, namespace)  # type: ignore[arg-type]


async def test_a_job_is_made_once_found_with_what_its_pod_said_and_removed():
    cluster = FakeCluster()
    outside = probes(cluster)
    await outside.make(KEY, Plan({}, outside=JOB))
    await probes(cluster).make(KEY, Plan({}, outside=JOB))
    (live,) = (obj for (kind, _), obj in cluster.objects.items() if kind == "Job")
    record = StageResult(
        stage="probe", inputs_hash="h", outside=OutsideProbe(namespace="system", closed=True)
    )
    for name, uid in (("mine", live["metadata"]["uid"]), ("forged", "another")):
        pod = make_child(name, uid=uid, labels={LABEL_PROBE_OF: probe_label(OWNER)})
        message = record.to_json() if name == "mine" else ""
        cluster.put("Pod", pod | {"status": ended(0 if message else 1, message)})
    found = (await outside.look(KEY, RESOURCE, PROVE)).jobs[NAME]
    assert found.result == record
    assert found.failure is None, "the other pod is no pod of this Job"
    await outside.clean_up(KEY, Plan({}, outside_over=(found.job,)))
    assert (await outside.look(KEY, RESOURCE, PROVE)) == Outside()


@pytest.mark.parametrize("namespace", ["", "system"])
async def test_nothing_is_asked_where_no_proof_runs(namespace: str):
    cluster = FakeCluster()
    outside = probes(cluster, namespace)
    stage = {"name": "prove", "job": "g-prove-1", "hash": "x"}
    proved = RESOURCE | {"status": {"stages": [stage]}}
    for key, resource, children in (
        (KEY, RESOURCE, {}),
        (KEY, proved, PROVE),
        (KEY._replace(kind="SafetyEval"), RESOURCE, PROVE),
    ):
        assert await outside.look(key, resource, children) == Outside()
    await outside.make(KEY, Plan({}))
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("error", "no_right"),
    [
        (DENIED, True),
        (ForbiddenError(403, "Forbidden", "jobs.batch is forbidden: exceeded quota: q"), False),
        (NotFoundError(404, "NotFound", 'namespaces "system" not found'), False),
        (ApiError(500, "InternalError", "failed calling webhook: connection refused"), False),
    ],
)
async def test_what_is_refused_is_told_and_not_tried_again_for_this_proof(error: ApiError, no_right: bool):
    cluster = FakeCluster()
    cluster.refuse["Job"] = error
    outside = probes(cluster)
    for _ in range(2):
        await outside.make(KEY, Plan({}, outside=JOB))
    assert cluster.calls == ["create Job"]
    (refusal,) = (await outside.look(KEY, RESOURCE, PROVE)).refusals.values()
    assert (refusal.message, refusal.no_right) == (error.message, no_right)
    outside.forget(KEY)
    assert (await outside.look(KEY, RESOURCE, PROVE)).refusals == {}


async def test_a_server_that_is_away_is_an_error_like_any_other():
    cluster = FakeCluster()
    cluster.away = True
    for call in (
        probes(cluster).make(KEY, Plan({}, outside=JOB)),
        probes(cluster).look(KEY, RESOURCE, PROVE),
    ):
        with pytest.raises(ApiUnreachableError):
            await call


async def test_without_the_right_to_look_a_refusal_to_make_it_is_still_known():
    cluster = FakeCluster()
    cluster.refuse["Job"] = DENIED
    cluster.refused_reads["Job", "list"] = ForbiddenError(403, "Forbidden", 'User "u" cannot list resource')
    outside = probes(cluster)
    await outside.make(KEY, Plan({}, outside=JOB))
    seen: Any = await outside.look(KEY, RESOURCE, PROVE)
    assert seen.refusals[NAME].no_right
