"""The signed statement about a report: an in-toto Statement v1 whose subject is the evaluated model.

Formats: https://github.com/in-toto/attestation/tree/main/spec/v1 (statement, resource descriptor, bundle) and
https://github.com/secure-systems-lab/dsse (envelope). Written and verified by the worker; the published
schema in docs/reference is generated from these models. Fields that a verifier does not know are passed
over, as the format asks.
"""

from typing import Literal

from pydantic import AwareDatetime, Field

from safety_records.base import Published
from safety_records.eval_stages import ThresholdVerdict
from safety_records.result import Score, Truth

ATTESTATION_NAME = "report.json.intoto.jsonl"
"""File next to the report: a bundle, as in-toto names it after the file that it is about."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""Payload type of the envelope."""
StatementType = Literal["https://in-toto.io/Statement/v1"]
PredicateType = Literal["https://modelsafety.dev/attestation/safety-report/v1"]

STATEMENT_TYPE: StatementType = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: PredicateType = "https://modelsafety.dev/attestation/safety-report/v1"


class ResourceDescriptor(Published):
    """Something that is known by its digest."""

    name: str
    digest: dict[str, str] = Field(min_length=1)
    """Hexadecimal digits by algorithm. A model's ``sha256`` is its folder's: over the sorted
    ``path NUL sha256 LF`` lines of its files."""


class SafetyReportPredicate(Published):
    """What the evaluation found."""

    namespace: str
    name: str
    """The SafetyEval."""
    created_at: AwareDatetime
    verdict: Truth
    """SafetyPassed: Unknown is no pass."""
    thresholds: tuple[ThresholdVerdict, ...]
    scores: tuple[Score, ...]
    files: tuple[ResourceDescriptor, ...]
    """The report's files by their names, ``report.json`` first."""
    inputs: tuple[ResourceDescriptor, ...] = ()
    """Folders of the artifact store that the report was made from."""
    versions: dict[str, str] = {}


class SafetyStatement(Published):
    """An in-toto Statement about one model."""

    type: StatementType = Field(default=STATEMENT_TYPE, alias="_type")
    subject: tuple[ResourceDescriptor, ...] = Field(min_length=1)
    predicate_type: PredicateType = PREDICATE_TYPE
    predicate: SafetyReportPredicate
