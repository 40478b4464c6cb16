"""The audit trail on the claim of the artifacts."""

import re

from tests.unit.planning.guarded_deployment.guarded import container, deployment, make_open

MOUNT = {"name": "audit", "mountPath": "/audit", "subPath": "audit.trails/team/assistant"}


def test_the_guardrails_write_the_trail_into_one_folder_of_the_claim_and_reach_nothing_else_of_it():
    world = make_open(audit={"claim": True})
    world.settle()
    pod = container(world, "guardrails")
    assert pod["args"][-2:] == ["--audit", "/audit"]
    volumes = deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
    claims = [item for item in volumes if "persistentVolumeClaim" in item]
    assert claims == [{"name": "audit", "persistentVolumeClaim": {"claimName": "safety-artifacts"}}]
    assert [item for item in pod["volumeMounts"] if item["name"] == "audit"] == [MOUNT]
    assert not any(item["name"] == "audit" for item in container(world, "model")["volumeMounts"])


def test_it_is_off_unless_asked_for():
    world = make_open()
    world.settle()
    assert "--audit" not in container(world, "guardrails")["args"]
    volumes = deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
    assert not any("persistentVolumeClaim" in item for item in volumes)


def test_no_namespace_has_the_name_of_the_trails_folder_so_no_artifacts_are_there():
    world = make_open(audit={"claim": True})
    world.settle()
    (mount,) = (item for item in container(world, "guardrails")["volumeMounts"] if item["name"] == "audit")
    assert not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", mount["subPath"].split("/")[0])


def test_files_stay_for_ever_unless_the_spec_names_their_age():
    for audit, days in (
        ({"claim": True}, []),
        ({"claim": True, "retentionDays": 90}, ["--audit-days", "90"]),
    ):
        world = make_open(audit=audit)
        world.settle()
        args = container(world, "guardrails")["args"]
        assert args[args.index("/audit") + 1 :] == days
