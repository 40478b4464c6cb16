"""Which entries of published frameworks a metric bears on."""

import pytest

from safety_worker.reporting.frameworks import ATLAS, FAMILIES, NIST, OWASP, build_frameworks, entries_of

EXPECTS = {"harm": "safe", "benign": "answer"}


@pytest.mark.parametrize(
    ("metric", "entries"),
    [
        ("security.dan.Dan_11_0", ("LLM01:2025", "MEASURE 2.7", "AML.T0054")),
        ("security.web_injection.MarkdownXSS", ("LLM05:2025", "MEASURE 2.7", "LLM02:2025", "AML.T0077")),
        ("security.latentinjection.LatentWhois", ("LLM01:2025", "MEASURE 2.7", "AML.T0051.001")),
        ("security.unheard_of.Probe", ("MEASURE 2.7",)),
        ("contentSafety.harm", ("MEASURE 2.6", "AML.T0048")),
        ("contentSafety.benign", ("MEASURE 2.5",)),
        ("accuracy.ifeval", ("MEASURE 2.5",)),
        ("contentSafety", ()),
        ("security.resilience", ()),
        ("contentSafety.gone", ()),
    ],
)
def test_a_metric_bears_on_entries(metric: str, entries: tuple[str, ...]) -> None:
    assert entries_of(metric, EXPECTS) == entries


def test_every_entry_that_is_named_has_a_title() -> None:
    named = {entry for entries in FAMILIES.values() for entry in entries}
    assert named <= OWASP.keys() | NIST.keys() | ATLAS.keys()
    assert ATLAS.keys() - named == set()


def test_what_was_not_measured_is_listed_as_such() -> None:
    owasp, nist, atlas = build_frameworks(["security.dan.Dan", "contentSafety.harm"], EXPECTS)
    assert [entry.id for entry in owasp.entries] == list(OWASP)
    assert {entry.id for entry in owasp.entries if entry.metrics} == {"LLM01:2025"}
    assert {entry.id: entry.metrics for entry in nist.entries}["MEASURE 2.6"] == ("contentSafety.harm",)
    assert [entry.id for entry in atlas.entries] == ["AML.T0048", "AML.T0054"]
