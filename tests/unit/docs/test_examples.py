"""Every example says what it is for, what it needs and how long it takes, and is in the list."""

import pytest
import yaml
from tests.unit.docs.markdown import REPO, links, read

EXAMPLES = sorted(path for path in (REPO / "examples").iterdir() if path.is_dir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_its_purpose_needs_time_and_files(example):
    page = read(f"examples/{example.name}/README.md")
    assert "**Needs**" in page
    assert "**Takes**" in page
    assert "## What came out" in page or "## What comes out" in page
    kustomization = yaml.safe_load((example / "kustomization.yaml").read_text(encoding="utf-8"))
    assert [name for name in kustomization["resources"] if f"`{name}`" not in page] == []
    manifests = {path.name for path in example.glob("*.yaml")} - {"kustomization.yaml"}
    assert manifests == {name for name in kustomization["resources"] if name.endswith(".yaml")}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_manifest_of_an_example_begins_with_what_it_is_for(example):
    for path in example.rglob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# "), path.name


def test_every_example_is_in_the_list():
    listed = {link.partition("/")[0] for link in links("examples/README.md") if not link.startswith("..")}
    assert listed == {example.name for example in EXAMPLES}
