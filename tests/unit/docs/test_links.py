"""Links of the documentation lead somewhere: files exist, and headings for anchors."""

import re
import subprocess
from posixpath import dirname, join, normpath

import pytest
from tests.unit.docs.markdown import REPO, anchors, links, pages

FOLDERS = ("operator", "images", "charts", "examples", "hack")


def _broken(page: str, link: str) -> str:
    """Why a link leads nowhere; empty: it leads somewhere, or outside of the repository."""
    if link.startswith(("http://", "https://")):
        return ""
    path, _, anchor = link.partition("#")
    target = normpath(join(dirname(page), path)) if path else page
    if not (REPO / target).exists():
        return f"{link}: no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: no such heading"
    return ""


@pytest.mark.parametrize("page", pages())
def test_relative_links_and_anchors_exist(page: str):
    assert [text for link in links(page) if (text := _broken(page, link))] == []


def test_pages_that_code_and_charts_name_exist():
    command = ["git", "grep", "-hoE", r"(^|[^/[:alnum:]])docs/[a-z/-]+\.md(#[a-z-]+)?", "--", *FOLDERS]
    found = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
    named = {line[line.index("docs/") :] for line in found.splitlines()}
    assert named
    assert [text for link in sorted(named) if (text := _broken("README.md", link))] == []


def test_every_page_of_the_documentation_is_in_its_index():
    listed = {normpath(join("docs", link.partition("#")[0])) for link in links("docs/README.md")}
    own = {page for page in pages() if re.fullmatch(r"docs/(?!README)[^/]+\.md", page)}
    assert sorted(own - listed) == []
