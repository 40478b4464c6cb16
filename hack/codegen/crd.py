"""The CustomResourceDefinition of a kind, from its row in ``safety_operator.api.kinds``."""

import json
import re
from typing import Any

import yaml
from hack.codegen.checks import MAX_CRD_BYTES, findings

from safety_operator.api import GROUP, VERSION
from safety_operator.api.kinds import Column, Kind
from safety_operator.schema.resource import resource_schema

HEADER = "# Generated from operator/safety_operator/api by `make generate`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same list may stand at several places."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


_NUMBER = re.compile(r"^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$")


def _quote_numbers(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Quote "5e-7": PyYAML takes it for a word, Kubernetes' parser for a number."""
    style = "'" if _NUMBER.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quote_numbers)


def build_crd(kind: Kind) -> dict[str, Any]:
    """The manifest; raises ValueError with every finding of the checks."""
    schema = resource_schema(kind)
    parts = ("spec", "status")
    found = [line for part in parts for line in findings(schema["properties"][part], f"{kind.kind}.{part}")]
    if found:
        raise ValueError("\n".join(found))
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": _subresources(kind),
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
    }
    names = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
        "shortNames": [kind.short],
        "categories": ["modelsafety"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def render_crd(crd: dict[str, Any]) -> str:
    """YAML, the same bytes for the same input; raises ValueError above the size that can be applied."""
    size = applied_bytes(crd)
    if size >= MAX_CRD_BYTES:
        raise ValueError(f"{crd['metadata']['name']} has {size} bytes, {MAX_CRD_BYTES} is the end")
    return HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def applied_bytes(crd: dict[str, Any]) -> int:
    """Length of the annotation: JSON without blanks, in which Go writes ``<``, ``>`` and ``&`` as escapes."""
    text = json.dumps(crd, separators=(",", ":"), ensure_ascii=False)
    return len(re.sub("[<>&]", r"\\u0000", text).encode())


def _subresources(kind: Kind) -> dict[str, Any]:
    scale = {
        "specReplicasPath": ".spec.serving.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {"status": {}} | ({"scale": scale} if kind.scale else {})


def _column(column: Column) -> dict[str, Any]:
    wide = {"priority": column.priority} if column.priority else {}
    return {"name": column.name, "type": column.type, "jsonPath": column.path} | wide
