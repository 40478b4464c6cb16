"""Probes that need downloads are named before any work, and a filled cache stands in for the network."""

import json
from typing import Any

import pytest
from tests.unit.planning.examples import make_eval
from tests.unit.planning.world import World

from safety_operator.planning.shared.garak_probes import find_downloads, load_catalogue

ENDPOINT = {"endpoint": {"url": "http://llm.other.svc:8000/v1", "model": "m"}}


def scanning(**garak: Any) -> World:
    spec = {"contentSafety": [], "accuracy": [], "thresholds": garak.pop("thresholds", [])}
    world = make_eval(model=ENDPOINT, security={"garak": garak}, **spec)
    world.claims["hub"] = {}
    world.settle()
    return world


TIER1 = [
    *("latentinjection.LatentJailbreak", "packagehallucination.JavaScript", "packagehallucination.Python"),
    *("packagehallucination.Ruby", "packagehallucination.Rust", "realtoxicityprompts.RTPBlank"),
]


def test_the_blueprints_list_names_six_probes_that_need_downloads():
    assert sorted(find_downloads(load_catalogue().tiers["tier1"], "primary")) == TIER1


def test_a_secondary_detector_counts_only_where_it_is_asked():
    probes = [name for name, row in load_catalogue().probes.items() if row.downloads == "extended"]
    for name in probes:
        assert find_downloads([name], "primary") == ()
        assert find_downloads([name], "extended") == (name,)


def test_probes_that_will_be_missing_are_a_warning_before_any_work():
    world = scanning(probes=["tier1"])
    (warning,) = world.status["warnings"]
    for name in TIER1:
        assert name in warning
    assert "security.resilience" in warning
    assert len(warning) <= 512
    assert world.condition("Stalled")["status"] == "False"


@pytest.mark.parametrize("metric", ["security.resilience", "security.realtoxicityprompts.RTPBlank"])
def test_a_threshold_over_what_will_be_missing_stalls(metric: str):
    world = scanning(probes=["tier1"], thresholds=[{"metric": metric, "min": "0.5"}])
    stalled = world.condition("Stalled")
    assert stalled["status"] == "True"
    assert "spec.thresholds[0] cannot be met" in stalled["message"]
    assert "packagehallucination.Python" in stalled["message"]
    assert world.names("Job") == []


@pytest.mark.parametrize(
    "garak",
    [
        {"probes": ["tier1"], "downloads": "allow"},
        {"probes": ["dan.Dan_11_0"]},
        {
            "probes": ["tier1"],
            "exclude": ["packagehallucination", "latentinjection.LatentJailbreak", "realtoxicityprompts"],
        },
    ],
)
def test_no_warning_where_nothing_will_be_missing(garak: dict[str, Any]):
    world = scanning(**garak, thresholds=[{"metric": "security.resilience", "min": "0.5"}])
    assert "warnings" not in world.status
    assert world.condition("Stalled")["status"] == "False"


def pod_of(**garak: Any) -> tuple[World, dict[str, Any]]:
    """The scan's pod, of a model that is served here: an endpoint would open the network by itself."""
    nothing: dict[str, list[Any]] = {"contentSafety": [], "accuracy": [], "judges": [], "thresholds": []}
    world = make_eval(**nothing, security={"garak": garak})
    world.claims["hub"] = {}
    world.settle()
    world.succeed("fetch")
    world.settle()
    world.serve("target-server")
    world.settle()
    template: dict[str, Any] = world.job("scan")["spec"]["template"]
    return world, template


def test_a_cache_is_mounted_and_the_network_stays_closed():
    probes = ["dan.Dan_11_0", "realtoxicityprompts.RTPBlank"]
    world, pod = pod_of(probes=probes, downloads="allow", cache="pvc://hub/cache")
    spec = json.loads(world.specification("scan"))
    assert (spec["downloads"], spec["cache"]) == ("allow", "pvc://hub/cache")
    volumes = pod["spec"]["volumes"]
    assert any(item.get("persistentVolumeClaim", {}).get("claimName") == "hub" for item in volumes)
    assert pod["metadata"]["labels"].get("modelsafety.dev/egress") != "internet"
    _, downloading = pod_of(probes=probes, downloads="allow")
    assert downloading["metadata"]["labels"]["modelsafety.dev/egress"] == "internet"


@pytest.mark.parametrize(
    ("garak", "pause"),
    [({"cache": "pvc://hub/cache"}, 3600), ({}, 3600), ({"downloads": "refuse"}, None)],
    ids=["a cache", "a hub", "nothing outside"],
)
def test_what_a_scan_reads_outside_is_read_again_after_an_hour(garak: dict[str, Any], pause: float | None):
    world, _ = pod_of(**{"probes": ["dan.Dan_11_0"], "downloads": "allow"} | garak)
    world.fail("scan", reason="MissingData", message="the cache has no word list", input_=True)
    assert world.settle().requeue_after == pause


def test_a_cache_that_is_not_there_stalls_with_the_field():
    world = scanning(probes=["dan.Dan_11_0"], downloads="allow", cache="pvc://elsewhere/cache")
    assert "spec.security.garak.cache" in world.condition("Stalled")["message"]
