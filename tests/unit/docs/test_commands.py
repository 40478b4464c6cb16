"""Commands, targets and paths in the documentation exist."""

import re
import shlex
import subprocess
from functools import cache

import pytest
from tests.unit.docs.markdown import FENCE, REPO, pages, read

from safety_cli.main import build_parser

TOPS = ("operator", "images", "tests", "hack", "charts", "crds", "examples", "docs")
LOG = "docs/experiments.md"
"""Dated: it names what there was."""


def _code(page: str) -> str:
    return "\n".join(text for _, text in FENCE.findall(read(page)))


def _commands(page: str) -> list[str]:
    """Calls of the plugin, without what follows a pipe or a comment."""
    joined = _code(page).replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ )?kubectl safety (?!\.\.\.)(.*)$", joined, re.MULTILINE)
    return [re.split(r" [|#] |\s+#", line)[0].strip() for line in lines]


CALLS = [(page, call) for page in pages() for call in _commands(page)]


@pytest.mark.parametrize(("page", "call"), CALLS)
def test_calls_of_the_plugin_have_a_command_and_options_that_it_knows(page: str, call: str):
    build_parser().parse_args(shlex.split(call))


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name for page in pages() for name in re.findall(r"(?:`|^)make ([a-z-]+)", read(page), re.MULTILINE)
    }
    assert named
    assert named - targets == set()


@pytest.mark.parametrize("page", [page for page in pages() if page != LOG])
def test_paths_of_the_repository_exist(page: str):
    spans = re.findall(r"`([\w.-]+/[\w./-]+)(?:::[\w.]+)?`", read(page))
    named = {span for span in spans if span.split("/")[0] in TOPS or span.endswith((".py", ".sh", ".jinja"))}
    assert [name for name in sorted(named) if not _is_there(name)] == []


@cache
def _files() -> str:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout


def _is_there(name: str) -> bool:
    """Whether the repository has it, or a file whose path ends so: pages shorten what is clear."""
    return (REPO / name).exists() or f"/{name}\n" in _files()
