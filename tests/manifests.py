"""Manifests that tests apply or check: every document of tests/data/manifests/wrong with what it is told."""

import re
from pathlib import Path
from typing import NamedTuple

MANIFESTS = Path(__file__).parent / "data/manifests"


class Wrong(NamedTuple):
    """A manifest and a part of the answer that it must get."""

    case: str
    kind: str
    expected: str
    manifest: str


def wrong_manifests() -> list[Wrong]:
    """Every wrong document, with the case and the expectation from its comments."""
    found = []
    for path in sorted((MANIFESTS / "wrong").glob("*.yaml")):
        for document in path.read_text().split("\n---\n")[1:]:
            comments = re.match(r"# (.+)\n# expect: (.+)\n", document)
            kind = re.search(r"^kind: (\w+)$", document, re.MULTILINE)
            assert comments, f"{path.name}: a document without '# case' and '# expect: ...': {document[:80]}"
            assert kind, f"{path.name}: a document without a kind: {document[:80]}"
            found.append(Wrong(comments[1], kind[1], comments[2], document))
    return found
