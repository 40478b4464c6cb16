"""Which files a report has, where its folder is, and what it is called by the report server.

Written by the worker's report stage, served read-only by ``safety_reports``, fetched by ``kubectl safety``. A
folder has a manifest; who fetches it compares its digest with the one in the resource's status, so that the
server need not be trusted.
"""

import re
from dataclasses import dataclass

from safety_records.attestation import ATTESTATION_NAME

JSON_NAME = "report.json"
"""Everything; schema in :mod:`safety_records.report`."""
HTML_NAME = "report.html"
"""The page for people."""
MARKDOWN_NAME = "report.md"
JUNIT_NAME = "report.junit.xml"
SARIF_NAME = "report.sarif"

REPORT_NAMES = frozenset({JSON_NAME, HTML_NAME, MARKDOWN_NAME, JUNIT_NAME, SARIF_NAME, ATTESTATION_NAME})
"""Files of a report; a report that is not signed has no statement."""
BLEND_HTML_NAME = "blend.html"
BLEND_NAMES = frozenset({BLEND_HTML_NAME, "blend.json", "README.md", "lineage.json"})
"""What a SafetyBlend leaves for people besides its rows: no row is among it."""
FINETUNE_HTML_NAME = "finetune.html"
FINETUNE_JSON_NAME = "finetune.json"
FINETUNE_METRICS_NAME = "metrics.parquet"
FINETUNE_NAMES = frozenset({FINETUNE_HTML_NAME, FINETUNE_JSON_NAME, FINETUNE_METRICS_NAME, "README.md"})
"""What a SafetyFinetune leaves for people besides its model, in a folder of its own."""
SERVED_NAMES = REPORT_NAMES | BLEND_NAMES | FINETUNE_NAMES
"""Files that the report server gives away besides manifests. Rows are in the same folders, and are not."""

SERVER_NAME = "safety-reports"
"""The report server's StatefulSet, in each namespace that has one; its only pod is this and ``-0``."""
SERVER_PORT = 8080
"""Port on the pod's loopback address."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
_FOLDER = re.compile(
    rf"(?P<claim>{_SUBDOMAIN})/(?P<namespace>{_LABEL})/(?P<kind>[a-z]+)/(?P<name>{_SUBDOMAIN})"
    r"/(?P<run>[0-9a-f]{8}|run)/(?P<stage>[a-z]+-[0-9a-f]{8,64})"
)
_STAGES = {"safetyeval": "report", "safetyblend": "assemble", "safetyfinetune": "report"}
"""By kind: the stage whose folder is a report."""
MAX_PATH = 700
"""Characters of a path; longer ones are none of a report."""


@dataclass(frozen=True, slots=True)
class ReportFolder:
    """The folder of one report: every part is a plain name, so that joined they cannot climb anywhere."""

    claim: str
    """PersistentVolumeClaim that holds it."""
    namespace: str
    kind: str
    """``safetyeval``, ``safetyblend`` or ``safetyfinetune``."""
    name: str
    run: str
    """First digits of the resource's UID: a re-made one has reports of its own."""
    stage: str
    """``report-`` or ``assemble-`` and the inputs hash: an edit or a new run of a schedule has its own."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders below the artifact root, outermost first."""
        return (self.namespace, self.kind, self.name, self.run, self.stage)

    def url_path(self, file: str) -> str:
        """Path of a file at the report server."""
        return "/" + "/".join((self.claim, *self.parts, file))


def parse_folder(text: str) -> ReportFolder | None:
    """A folder from ``claim/namespace/kind/name/run/stage``; None if it is anything else."""
    found = _FOLDER.fullmatch(text) if len(text) <= MAX_PATH else None
    if found is None or _STAGES.get(found["kind"]) != found["stage"].partition("-")[0]:
        return None
    return ReportFolder(**found.groupdict())


def parse_report_uri(uri: str) -> ReportFolder | None:
    """The folder of ``status.report.uri``, or of a blend's ``status.output.uri``; None if it is none."""
    return parse_folder(uri.removeprefix("pvc://")) if uri.startswith("pvc://") else None
