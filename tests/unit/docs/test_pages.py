"""The pages of the documentation are complete: reasons, conditions, metrics, fields and render output."""

import ast
import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from tests.unit.docs.markdown import REPO, blocks, read

from safety_cli.main import main
from safety_gateway.metrics import Metrics as GatewayMetrics
from safety_operator import metrics
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.kinds import KINDS
from safety_operator.handlers.observe import StatusMetrics

SECTIONS = ("A minimal manifest", "The fields that matter", "Status and conditions", "Output", "Limits")
PAGES = {kind.kind: f"docs/{kind.kind.lower()}.md" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_pages_of_the_kinds_have_one_form(kind):
    headings = re.findall(r"^## (.*)$", read(PAGES[kind.kind]), re.MULTILINE)
    wanted = [name for name in SECTIONS if name != "Output" or kind.kind != "GuardedDeployment"]
    assert [name for name in headings if name in wanted] == wanted


def test_every_reason_and_condition_has_what_to_do_about_it():
    text = "".join(read(page) for page in [*PAGES.values(), "docs/troubleshooting.md"])
    names = {member.value for enum in (Reason, ConditionType) for member in enum}
    assert {name for name in names if f"`{name}`" not in text} == {
        "Proven",
        "Serving",
        "ThresholdsMet",
    }


def _reasons_of_workers(files: str = "**/*.py") -> set[str]:
    """First arguments of errors that end a stage, and of what a file turned out to be."""
    raised = ("InputError", "InfrastructureError", "PeerLostError", "Met")
    calls = (
        node
        for path in (REPO / "images/worker/safety_worker").glob(files)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in raised and node.args
    )
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}


def test_every_reason_of_a_worker_has_what_to_do_about_it():
    reasons = _reasons_of_workers()
    assert len(reasons) > 100
    text = "".join(read(page) for page in [*PAGES.values(), "docs/troubleshooting.md"])
    assert sorted(reason for reason in reasons if f"`{reason}`" not in text) == []


def test_every_reason_of_a_training_is_in_a_test():
    reasons = _reasons_of_workers("training/*.py") | _reasons_of_workers("training/trl/*.py")
    assert len(reasons) > 25
    tests = "".join(path.read_text(encoding="utf-8") for path in (REPO / "tests").rglob("test_*.py"))
    assert sorted(reason for reason in reasons if not re.search(rf"\b{reason}\b", tests)) == []


def test_every_metric_is_described_and_none_that_does_not_exist():
    own = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    sources = (*own, StatusMetrics({}), GatewayMetrics().registry)
    families = [family for source in sources for family in source.collect()]
    exported = {family.name + "_total" * (family.type == "counter") for family in families}
    assert set(re.findall(r"safety_[a-z_]+", read("docs/operations.md"))) == exported


def _without_hashes(text: str) -> list[list[str]]:
    return [re.sub(r"-[0-9a-f]{8}\b", "-HASH", line).split() for line in text.strip().splitlines()]


def test_the_rendered_objects_in_the_readme_are_those_of_today(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    manifest = next(
        block.text for block in blocks("yaml") if block.page == "README.md" and "name: llama}" in block.text
    )
    shown = next(block.text for block in blocks("") if "safety render -f llama.yaml -o table" in block.text)
    (tmp_path / "llama.yaml").write_text(manifest, encoding="utf-8")
    assert main(["render", "-f", str(tmp_path / "llama.yaml"), "-o", "table", "-n", "default"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " specification " not in line]
    assert _without_hashes(shown)[1:] == _without_hashes("\n".join(lines))
