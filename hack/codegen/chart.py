"""What the chart knows of the kinds: copies of the CRDs, and lists for RBAC.

The copies are templates, because helm never upgrades a chart's crds/ folder.
"""

import json

from safety_operator.api.kinds import KINDS

ANNOTATIONS = """metadata:
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def chart_template(crd: str) -> str:
    """A CRD as a template that ``crds.install`` and ``crds.keep`` govern."""
    if "{{" in crd:
        raise ValueError("a description or rule contains '{{', which helm would evaluate")
    body = crd.replace("metadata:\n", ANNOTATIONS, 1)
    return f"{{{{- if .Values.crds.install }}}}\n{body}{{{{- end }}}}\n"


def kinds_template() -> str:
    """Named templates that give the resources of all kinds, and their subresources, as lists."""
    plurals = [kind.plural for kind in KINDS]
    lists = {
        "mso.kinds": plurals,
        "mso.kinds.status": [f"{plural}/status" for plural in plurals],
        "mso.kinds.finalizers": [f"{plural}/finalizers" for plural in plurals],
        "mso.kinds.scale": [f"{kind.plural}/scale" for kind in KINDS if kind.scale],
    }
    head = "{{- /* Generated from operator/safety_operator/api by `make generate`. Do not edit. */}}\n"
    parts = (f'{{{{- define "{name}" }}}}{json.dumps(items)}{{{{ end }}}}\n' for name, items in lists.items())
    return head + "".join(parts)
