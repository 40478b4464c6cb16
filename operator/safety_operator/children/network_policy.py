"""NetworkPolicies: what the pods of a resource may reach, and who may reach them.

Each policy selects by labels that the pods carry: whose they are, and for batch pods how far they may go
(LABEL_EGRESS). A policy is worth what the cluster's network plugin makes of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from safety_operator.children.metadata import Owner, child_metadata, with_hash
from safety_operator.children.service import SERVER_PORT
from safety_operator.state.labels import LABEL_EGRESS, LABEL_KIND, LABEL_NAME, LABEL_ROLE

Peer = Mapping[str, Any]


class Reach(NamedTuple):
    """How far the pods of a stage may go."""

    name: str = ""
    """Of the policy, and their label: internet, namespace, or trackers: some other namespaces, too."""
    namespaces: tuple[str, ...] = ()


NOWHERE, NAMESPACE, INTERNET = Reach(), Reach("namespace"), Reach("internet")
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that every namespace has."""

DNS: dict[str, Any] = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
"""Name resolution at its port, wherever the resolver is: on the node's address, on a link-local one."""


def dns_rules(peers: Iterable[Peer]) -> list[dict[str, Any]]:
    """Egress rules for name resolution: at port 53 anywhere, at any port of the resolver's own pods.

    A policy sees the port of the pod behind a Service, which need not be 53.
    """
    own = [dict(peer) for peer in peers]
    return [DNS, {"to": own}] if own else [DNS]


def owner_pods(owner: Owner, role: str = "") -> Peer:
    """The pods of a resource, all or those of one role, as a peer of a rule."""
    labels = {LABEL_KIND: owner.kind, LABEL_NAME: owner.name}
    if role:
        labels[LABEL_ROLE] = role
    return {"podSelector": {"matchLabels": labels}}


def build_policy(
    owner: Owner,
    role: str,
    selector: dict[str, str],
    *,
    ingress: list[dict[str, Any]],
    egress: list[dict[str, Any]],
) -> dict[str, Any]:
    """A policy named ``<owner>-<role>`` on the owner's pods with the labels ``selector``."""
    labels = {LABEL_KIND: owner.kind, LABEL_NAME: owner.name} | selector
    return with_hash(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": child_metadata(owner, role, policy_name(owner, role)),
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": ingress,
                "egress": egress,
            },
        }
    )


def policy_name(owner: Owner, role: str) -> str:
    """Name of a policy: the kind is in it, since resources of two kinds may share a name."""
    return f"{owner.name}-{owner.kind.lower()}-{role}"


def build_stage_policy(owner: Owner, reach: Reach, dns_peers: Iterable[Peer]) -> dict[str, Any]:
    """For the pods of stages: ``internet`` for those that fetch, ``namespace`` for most others."""
    egress: list[dict[str, Any]] = [{}]
    if reach != INTERNET:
        others = [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: name}}} for name in reach.namespaces]
        egress = [*dns_rules(dns_peers), {"to": [{"podSelector": {}}, *others]}]
    return build_policy(
        owner,
        f"egress-{reach.name}",
        {LABEL_EGRESS: reach.name},
        ingress=[{"from": [owner_pods(owner)]}],
        egress=egress,
    )


def build_server_policy(
    owner: Owner, role: str, clients: list[Peer], *, reaches_ngc: bool = False
) -> dict[str, Any]:
    """For a server: only ``clients`` come in, at the server's port, and nothing goes out.

    ``reaches_ngc``: names are resolved and port 443 is reached, as a NIM with a key for NGC wants it.
    """
    rule = {"from": clients, "ports": [{"protocol": "TCP", "port": SERVER_PORT}]}
    egress = [DNS, {"ports": [{"protocol": "TCP", "port": 443}]}] if reaches_ngc else []
    return build_policy(owner, role, {LABEL_ROLE: role}, ingress=[rule], egress=egress)
