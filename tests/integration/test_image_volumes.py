"""Models in images, before a real API server: one that knows image volumes, and one that drops them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.apiserver import running_apiserver
from tests.unit.planning.examples import make_eval

REFERENCE = "registry.example.org/models/small@sha256:" + "cd" * 32
MOUNTED = "/inputs/oci/"


def fetch_job() -> dict[str, Any]:
    """The Job that fetches a model out of an image."""
    world = make_eval(model={"source": {"uri": f"oci://{REFERENCE}"}})
    world.settle()
    job = world.job("fetch")
    metadata = {"name": job["metadata"]["name"], "namespace": "default"}
    return {**job, "metadata": metadata}


@pytest.mark.parametrize("known", [True, False], ids=["gate on", "gate off, as up to 1.34"])
def test_an_image_is_a_volume_where_the_api_server_knows_them(known: bool, tmp_path: Path) -> None:
    gate = f"--feature-gates=ImageVolume={str(known).lower()}"
    with running_apiserver(tmp_path / "server", "--", gate) as server:
        text = json.dumps(fetch_job())
        made = json.loads(server.kubectl("create", "--validate=strict", "-f", "-", "-o", "json", stdin=text))
    pod = made["spec"]["template"]["spec"]
    images = [volume["image"] for volume in pod["volumes"] if "image" in volume]
    mounts = [m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"].startswith(MOUNTED)]
    assert images == ([{"reference": REFERENCE, "pullPolicy": "IfNotPresent"}] if known else [])
    assert [mount["readOnly"] for mount in mounts] == ([True] if known else [])


def test_a_restricted_namespace_takes_a_pod_with_an_image_volume(tmp_path: Path) -> None:
    with running_apiserver(tmp_path / "server", "--", "--feature-gates=ImageVolume=true") as server:
        server.kubectl("create", "namespace", "strict")
        label = "pod-security.kubernetes.io/enforce=restricted"
        server.kubectl("label", "namespace", "strict", label)
        template = fetch_job()["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fetch"}, "spec": template["spec"]}
        made = server.kubectl("-n", "strict", "create", "-f", "-", "-o", "name", stdin=json.dumps(pod))
    assert made.strip() == "pod/fetch"
