"""All generated files, by path."""

import json
from pathlib import Path
from typing import Any

from hack.codegen.argocd import FOLDER, SCRIPT, build_argocd_cm
from hack.codegen.chart import chart_template, kinds_template
from hack.codegen.conditions import build_conditions_page
from hack.codegen.crd import build_crd, render_crd
from hack.codegen.outputs import Outputs
from hack.codegen.reference import COMMON_PAGE, NOTE, build_common, build_reference
from hack.codegen.schemas import SCHEMAS, build_schemas
from hack.codegen.version import build_followers
from hack.figures import results
from hack.refusals import build_outputs as build_judge_figures

from safety_operator.api import GROUP
from safety_operator.api.kinds import KINDS

TEMPLATES = "charts/model-safety-operator/templates"
CHART = f"{TEMPLATES}/crds"
SMALLEST = "tests/data/manifests/smallest"
"""Smallest manifest of each kind: shown in the reference, applied by the integration tests."""

RESULTS = "docs/figures/results.svg"


def build_outputs(repo: Path) -> Outputs:
    """Path relative to the repository, and text; raises ValueError with every finding in the models."""
    outputs: dict[str, str] = {}
    crds: dict[str, Any] = {}
    problems: list[str] = []
    for kind in KINDS:
        name = f"{GROUP}_{kind.plural}.yaml"
        try:
            crd = build_crd(kind)
            text = render_crd(crd)
        except ValueError as error:
            problems.append(str(error))
            continue
        crds[kind.kind] = crd
        outputs[f"crds/{name}"] = text
        outputs[f"{CHART}/{name}"] = chart_template(text)
        smallest = (repo / SMALLEST / f"{kind.plural}.yaml").read_text(encoding="utf-8")
        outputs[f"docs/reference/{kind.kind.lower()}.md"] = build_reference(kind, crd, smallest)
    if problems:
        raise ValueError("\n".join(problems))
    outputs[f"{TEMPLATES}/_kinds.tpl"] = kinds_template()
    outputs[f"{FOLDER}/argocd-cm.yaml"] = build_argocd_cm((repo / SCRIPT).read_text(encoding="utf-8"))
    outputs[f"docs/reference/{COMMON_PAGE}"] = build_common(crds)
    outputs["docs/reference/conditions.md"] = build_conditions_page()
    outputs |= {f"docs/reference/{name}": text for name, text in build_schemas().items()}
    outputs["docs/reference/README.md"] = _index()
    outputs |= build_followers(repo)
    outputs |= build_judge_figures(repo)
    numbers = json.loads((repo / RESULTS).with_suffix(".json").read_text(encoding="utf-8"))
    outputs[RESULTS] = results.draw(numbers)
    return outputs


def _index() -> str:
    rows = "\n".join(f"- [{kind.kind}]({kind.kind.lower()}.md): {_summary(kind.spec)}" for kind in KINDS)
    return (
        f"{NOTE}\n# API reference\n\nGroup `{GROUP}`. `kubectl explain` says the same.\n\n{rows}\n"
        f"- [Fields that all kinds have]({COMMON_PAGE}): options of pods, claim, conditions\n"
        "- [Conditions and reasons](conditions.md)\n\n"
        "What evaluations and blends leave, as JSON schemas (2020-12):\n\n"
        + "".join(f"- [{name}]({name}): {schema.about}\n" for name, schema in SCHEMAS.items())
    )


def _summary(model: type) -> str:
    return " ".join((model.__doc__ or "").split())
