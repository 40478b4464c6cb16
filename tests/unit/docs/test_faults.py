"""The page of faults: each row has tests that exist, and no kind of fault that users reported is missing."""

import re
from typing import NamedTuple

import pytest
from tests.unit.docs.markdown import REPO, read

WORKER = REPO / "tests/unit/worker"


class Fault(NamedTuple):
    """A row of the page."""

    what: str
    outcome: str
    tests: tuple[str, ...]


def _faults() -> list[Fault]:
    rows = [line.strip("| ").split(" | ") for line in read("docs/faults.md").splitlines() if line[:2] == "| "]
    found = [row for row in rows if row[0] != "fault"]
    assert {len(row) for row in found} == {3}
    return [Fault(what, outcome, tuple(re.findall(r"`([^`]+)`", tests))) for what, outcome, tests in found]


FAULTS = _faults()

KINDS = (
    # numbers and data that nobody should trust
    "label, flag or category that is 0 or false",
    "answers without text",
    "idioms, quotations",
    "generation prompt opens `<think>`",
    "a library warns of what decides the outcome",
    "name of lm-eval is a group, a tag",
    "script without spaces, with vowel signs",
    "labels that contradict each other",
    # files and servers as they come
    "pointer of Git LFS",
    "splits that `datasets` does not list",
    "a shard short",
    "training files that are compressed",
    "revision with slashes",
    "list of models is missing, forbidden",
    "refuses a parameter",
    "contents in parts, null for every optional field",
    "judge decorates its verdict",
    "a value that Python has no type for",
    # the cluster as it is
    "refused by a quota, a LimitRange, Pod Security",
    "volume that cannot be attached or mounted",
    "an update does not come up",
    "only GPU serves the version before",
    "quota of limits",
    "users and groups of the cluster's choice",
    "resolver that listens at another port",
    "an object has the name of one that a resource needs",
    "a mesh or an agent injects a container",
    "a proof does not finish",
    "own CPU and memory for a server",
    "flag that the operator sets",
    "`pod.labels` or annotations of the operator's",
    "resources that wait for each other",
    "`queueName`",
    "probes of garak that need downloads",
    "stage specification larger than",
    # the first hour, and the guarded endpoint
    "`make demo` and `make test`",
    "under Argo CD",
    "Secret that is the operator's own",
    "text beyond 16,000 characters, or in another script",
    "a guard or the model refuses and quotes",
    "a client leaves, while model or guard work",
    "to the gateway's own request",
    "answer ends at its limit behind the rails",
    "`HTTP_PROXY` is set in the guardrails pod",
    "stream whose answer takes long",
    "a guard or a model hangs",
    "half a UTF-16 pair, an endless number, fields that are null",
)
"""What users of such tools reported, by words of the row that is about it."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_fault_that_users_reported_has_a_row(kind: str):
    assert [fault.what for fault in FAULTS if kind in fault.what] != []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what[:60])
def test_a_fault_has_an_outcome_and_tests_that_exist(fault: Fault):
    assert fault.outcome
    assert fault.tests
    assert [name for name in fault.tests if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    """Whether the repository has it; names without ``tests/`` in front are below the worker's tests."""
    return (REPO / name).exists() if name.startswith("tests/") else len([*WORKER.rglob(name)]) == 1
