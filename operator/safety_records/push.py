"""Where a trained model may be pushed to: the grammar of targets, which schemas, planning and the worker ask.

``hf://[models/]organisation/name[@branch]``: everything behind ``@`` is the branch; ``main`` where absent.
``s3://bucket/prefix``. ``oci://registry/repository:tag``.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from safety_records.uris import find_problem

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_BRANCH = r"[A-Za-z0-9][A-Za-z0-9._/%-]*"

PUSH_URI = (
    rf"^(hf://(models/)?{_NAME}/{_NAME}(@{_BRANCH})?|s3://[^/\s@?]+/[^\s]+|"
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


def find_push_problem(uri: str) -> str:
    """What is wrong with a target that its schema lets through, and what to write; empty: nothing."""
    try:
        if uri.startswith("hf://"):
            parse_hub_target(uri)
            return ""
        if uri.startswith("oci://"):
            return "registries are not written to yet: push to hf:// or s3://"
    except ValueError as error:
        return str(error)
    return find_problem(uri)
