"""CHANGELOG.md keeps the form of keepachangelog.com, and entries that one reads at a glance."""

import re
from pathlib import Path

LINES = (Path(__file__).parents[3] / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
VERSION = re.compile(r"## (\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2})")
MAX_COLUMNS = 118


def test_versions_and_sections_have_the_names_of_the_form():
    versions = [line for line in LINES if line.startswith("## ")]
    assert versions[0] == "## [Unreleased]"
    assert all(VERSION.fullmatch(line) for line in versions)
    assert {line[4:] for line in LINES if line.startswith("### ")} <= SECTIONS


def test_an_entry_has_two_lines_at_most():
    entries = re.findall(r"^- .*(?:\n  .*)*", "\n".join(LINES), re.MULTILINE)
    assert len(entries) > 10
    assert [entry for entry in entries if entry.count("\n") > 1] == []
    assert [line for line in LINES if len(line) > MAX_COLUMNS] == []
