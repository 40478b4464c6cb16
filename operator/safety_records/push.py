"""Where a trained model may be pushed to: the grammar of targets, which schemas, planning and the worker ask.

``hf://[models/]organisation/name[@branch]``: everything behind ``@`` is the branch; ``main`` where absent.
``s3://bucket/prefix``, ``gs://bucket/prefix``. ``oci://registry/repository:tag``.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from safety_records.uris import find_problem, parse_oci

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_BRANCH = r"[A-Za-z0-9][A-Za-z0-9._/%-]*"

PUSH_URI = (
    rf"^(hf://(models/)?{_NAME}/{_NAME}(@{_BRANCH})?|(s3|gs)://[^/\s@?]+/[^\s]+|"
    r"oci://[^/\s@?]+/[^\s@?]+:[A-Za-z0-9_][A-Za-z0-9_.-]*)$"
)
"""As the regular expressions of Kubernetes know it (RE2)."""

_HUB = re.compile(rf"hf://(models/)?(?P<repository>{_NAME}/{_NAME})(@(?P<branch>{_BRANCH}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubTarget(NamedTuple):
    """A branch of a repository for models."""

    repository: str
    branch: str


def parse_hub_target(uri: str) -> HubTarget:
    """The branch that a hub URI names.

    Raises
    ------
    ValueError
        If it names none, with what to write.
    """
    found = _HUB.fullmatch(uri)
    if found is None or found["repository"].startswith(("datasets/", "spaces/", "models/")):
        raise ValueError("write hf://organisation/name, or hf://organisation/name@branch")
    branch = unquote(found["branch"] or "main")
    if _COMMIT.fullmatch(branch) or branch.startswith("refs/"):
        raise ValueError(f"{branch} is no branch, and nothing else can be added to: name a branch")
    return HubTarget(found["repository"], branch)


class RegistryTag(NamedTuple):
    """A tag of a repository for images."""

    registry: str
    """As people and container runtimes name it."""
    repository: str
    tag: str

    @property
    def host(self) -> str:
        """Where the registry answers."""
        return "registry-1.docker.io" if self.registry == "docker.io" else self.registry


def parse_registry_tag(uri: str) -> RegistryTag:
    """The tag that an image URI names.

    Raises
    ------
    ValueError
        If it names none, or more than that, with what to write.
    """
    name = parse_oci(uri)
    if name.is_pinned or name.path:
        raise ValueError("digest and folder follow from what is pushed: write oci://registry/repository:tag")
    place, _, tag = name.reference.rpartition(":")
    registry, _, repository = place.partition("/")
    return RegistryTag(registry, repository, tag)


def find_push_problem(uri: str) -> str:
    """What is wrong with a target that its schema lets through, and what to write; empty: nothing."""
    try:
        if uri.startswith("hf://"):
            parse_hub_target(uri)
            return ""
        if uri.startswith("oci://"):
            parse_registry_tag(uri)
            return ""
    except ValueError as error:
        return str(error)
    return find_problem(uri)
