"""One place for the version, and metadata of the chart that agree with the CRDs."""

import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from hack.codegen.version import FOLLOWERS, build_followers
from tests.unit.docs.markdown import REPO

CHART = yaml.safe_load((REPO / "charts/model-safety-operator/Chart.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that have to do with the version."""
    for name in ("pyproject.toml", *FOLLOWERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    return tmp_path


def test_everything_follows_the_version_of_the_package(copy: Path):
    package = (copy / "pyproject.toml").read_text(encoding="utf-8")
    now = tomllib.loads(package)["project"]["version"]
    (copy / "pyproject.toml").write_text(package.replace(now, "7.8.9-rc.1", 1), encoding="utf-8")
    followers = build_followers(copy)
    assert all("7.8.9-rc.1" in text for text in followers.values())
    chart = yaml.safe_load(followers["charts/model-safety-operator/Chart.yaml"])
    assert (chart["version"], chart["appVersion"]) == ("7.8.9-rc.1", "7.8.9-rc.1")


def test_a_follower_without_a_place_for_the_version_is_an_error(copy: Path):
    (copy / "images/operator/Containerfile").write_text("FROM scratch\n", encoding="utf-8")
    with pytest.raises(ValueError, match="images/operator/Containerfile"):
        build_followers(copy)


def test_the_chart_lists_the_crds_that_it_brings():
    listed = yaml.safe_load(CHART["annotations"]["artifacthub.io/crds"])
    crds = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (REPO / "crds").glob("*.yaml")]
    assert {(one["name"], one["kind"], one["version"]) for one in listed} == {
        (crd["metadata"]["name"], crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["name"])
        for crd in crds
    }
