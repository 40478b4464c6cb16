"""The generated files: of the real kinds, and how differences are found."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.codegen.chart import chart_template
from hack.codegen.conditions import member_docs
from hack.codegen.crd import build_crd, render_crd
from hack.codegen.everything import build_outputs
from hack.codegen.outputs import differences, write

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.kinds import KINDS, Kind

REPO = Path(__file__).parents[3]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


def test_the_committed_files_are_what_the_models_give() -> None:
    assert differences(REPO, build_outputs(REPO)) == []


@every_kind
def test_a_crd_has_what_kubectl_and_its_users_need(kind: Kind) -> None:
    crd = build_crd(kind)
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    assert names["shortNames"] == [kind.short]
    assert names["categories"] == ["modelsafety"]
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert columns[0] == "Ready"
    assert "Age" in columns
    assert version["subresources"]["status"] == {}
    assert ("scale" in version["subresources"]) == (kind.kind == "GuardedDeployment")
    assert version["schema"]["openAPIV3Schema"]["required"] == ["spec"]


@every_kind
def test_every_printer_column_points_at_a_field_of_the_status(kind: Kind) -> None:
    root = build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for column in kind.columns:
        if column.path.startswith(".status."):
            schema: Any = root
            for name in column.path.split("[")[0].strip(".").split("."):
                schema = schema["properties"][name]
            assert schema["type"] in {column.type, "array"}, column.name


def test_decimal_defaults_are_quoted_so_that_kubernetes_reads_strings() -> None:
    finetune = next(kind for kind in KINDS if kind.kind == "SafetyFinetune")
    assert "default: '0.01'" in render_crd(build_crd(finetune))


def test_the_charts_copy_is_governed_by_values_and_otherwise_the_same() -> None:
    text = render_crd(build_crd(KINDS[0]))
    lines = chart_template(text).splitlines()
    assert lines[0] == "{{- if .Values.crds.install }}"
    assert lines[-1] == "{{- end }}"
    plain = [line for line in lines if "{{" not in line and "resource-policy" not in line]
    plain.remove("  annotations:")
    assert yaml.safe_load("\n".join(plain)) == yaml.safe_load(text)


def test_a_description_that_helm_would_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="helm would evaluate"):
        chart_template("metadata:\n  name: '{{ x }}'\n")


@pytest.mark.parametrize("enum", [ConditionType, Reason])
def test_every_condition_and_reason_is_documented(enum: type[ConditionType] | type[Reason]) -> None:
    assert set(member_docs(enum)) == {member.value for member in enum}


def test_a_missing_a_changed_and_an_extra_file_are_differences(tmp_path: Path) -> None:
    outputs = {"crds/a.yaml": "a\n", "crds/b.yaml": "b\n"}
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds/b.yaml").write_text("changed\n")
    (tmp_path / "crds/old.yaml").write_text("old\n")
    assert differences(tmp_path, outputs) == [
        "crds/a.yaml: missing",
        "crds/b.yaml: differs from its source",
        "crds/old.yaml: nothing generates this file",
    ]
    assert write(tmp_path, outputs) == ["crds/old.yaml", "crds/a.yaml", "crds/b.yaml"]
    assert differences(tmp_path, outputs) == []
    assert write(tmp_path, outputs) == []
