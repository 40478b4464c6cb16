"""Which Secrets resources may use, by the Secrets' metadata: contents are never looked at.

Whoever may create the four kinds has a Secret's content sent to a server of his own by naming it as that
server's key. So some Secrets are withheld always, and all that lack a label where the chart asks for one.
"""

from typing import Any

from safety_operator.state.keys import Manifest
from safety_operator.state.labels import LABEL_MANAGED_BY, MANAGED_BY
from safety_operator.state.reading import value_at

SERVICE_ACCOUNT = "kubernetes.io/service-account.name"
"""Annotation that every Secret with the token of a service account has."""


def why_withheld(secret: Manifest, required: str) -> str:
    """Why resources may not use a Secret, as a sentence's end that says what to do; empty if they may.

    Parameters
    ----------
    secret
        The Secret's metadata.
    required
        Label that it needs, ``name=value`` or ``name``; empty for none.
    """
    labels: Any = value_at(secret, "metadata", "labels", default={})
    if labels.get(LABEL_MANAGED_BY) == MANAGED_BY:
        return "is a key of the operator's own, which no resource may use: name another"
    if SERVICE_ACCOUNT in value_at(secret, "metadata", "annotations", default={}):
        return "holds the token of a service account, which no resource may use: make a Secret of its own"
    name, equals, value = required.partition("=")
    if not required or (name in labels and (not equals or labels[name] == value)):
        return ""
    text = f"{name}={value}" if equals else f"{name}=true"
    meta = value_at(secret, "metadata", default={})
    place = f"{meta.get('name', '')} -n {meta.get('namespace', '')}"
    return (
        f"lacks the label {required}, without which no resource may use a Secret here: whoever decides about "
        f"it runs kubectl label secret {place} {text}"
    )


UNREADABLE_LABELS = (
    "cannot be looked at, and this installation asks for a label: set rbac.secrets in the operator's chart"
)
"""Why a Secret is withheld whose metadata the operator may not read."""
