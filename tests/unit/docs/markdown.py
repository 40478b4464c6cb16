"""What the documentation's tests read out of Markdown: files, headings, links and code blocks."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).parents[3]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced code block."""

    page: str
    language: str
    text: str


@cache
def pages() -> tuple[str, ...]:
    """Markdown files that are part of the repository, or about to be, relative to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout.split()
    return tuple(name for name in names if (REPO / name).is_file())


@cache
def read(page: str) -> str:
    return (REPO / page).read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[Block]:
    """Fenced blocks of all pages in a language."""
    for page in pages():
        for found, text in FENCE.findall(read(page)):
            if found == language:
                yield Block(page, found, text)


def links(page: str) -> list[str]:
    """Targets of links and pictures outside of code."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", read(page)))
    return [link or picture for link, picture in LINK.findall(text)]


@cache
def anchors(page: str) -> frozenset[str]:
    """Anchors of headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", read(page)), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)
