"""The chart of a release: versions agree, and its values name this release's images by digest."""

import shutil
from pathlib import Path

import pytest
import yaml
from hack.release.chart import CHART, IMAGES, ReleaseError, find_version, read_digests, write_images
from tests.unit.docs.markdown import REPO

VALUES = (REPO / CHART / "values.yaml").read_text(encoding="utf-8")
DIGESTS = {name: f"sha256:{number:064x}" for number, name in enumerate(IMAGES)}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that hold the version."""
    for name in ("pyproject.toml", f"{CHART}/Chart.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    return tmp_path


def test_a_tag_is_of_the_version_that_everything_has(copy: Path):
    version = find_version(copy)
    assert find_version(copy, f"v{version}") == version
    with pytest.raises(ReleaseError, match=r"the tag is v9\.9\.9"):
        find_version(copy, "v9.9.9")


@pytest.mark.parametrize("field", ["version", "appVersion"])
def test_a_chart_of_another_version_is_not_released(copy: Path, field: str):
    file = copy / CHART / "Chart.yaml"
    chart = yaml.safe_load(file.read_text()) | {field: "7.7.7"}
    file.write_text(yaml.safe_dump(chart))
    with pytest.raises(ReleaseError, match=f"chart's {field} is 7.7.7"):
        find_version(copy)


def test_registry_and_digest_of_each_image_are_written_and_nothing_else_changes():
    written = write_images(VALUES, "registry.example.org/team", DIGESTS)
    before, after = yaml.safe_load(VALUES), yaml.safe_load(written)
    for name, value in IMAGES.items():
        image = after["images"].pop(value)
        assert image["registry"] == "registry.example.org/team"
        assert image["digest"] == DIGESTS[name]
        assert image["repository"] == before["images"].pop(value)["repository"] == f"model-safety/{name}"
    assert after == before
    changed = [a for a, b in zip(VALUES.splitlines(), written.splitlines(), strict=True) if a != b]
    assert len(changed) == len(IMAGES)


def test_values_without_a_line_for_an_image_are_an_error():
    with pytest.raises(ReleaseError, match=r"0 lines for images\.workerGpu"):
        write_images(VALUES.replace("  workerGpu:", "  gpuWorker:"), "registry.example.org", DIGESTS)


@pytest.mark.parametrize("text", ["", "sha256:abc", "latest", f"sha256:{'A' * 64}"])
def test_what_is_no_digest_is_not_released(tmp_path: Path, text: str):
    for name, digest in DIGESTS.items():
        (tmp_path / name).write_text(f"{digest}\n")
    assert read_digests(tmp_path) == DIGESTS
    (tmp_path / "worker-gpu").write_text(text)
    with pytest.raises(ReleaseError, match="worker-gpu: no digest"):
        read_digests(tmp_path)
