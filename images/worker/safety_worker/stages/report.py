"""The report stage: ``report.json``, what is made from it, and the signed statement about all of them."""

import json
from collections.abc import Callable
from pathlib import Path

from safety_records.attestation import ATTESTATION_NAME
from safety_records.eval_stages import ReportStage
from safety_records.progress import Progress
from safety_records.report import Report
from safety_records.report_files import HTML_NAME, JSON_NAME, JUNIT_NAME, MARKDOWN_NAME, SARIF_NAME
from safety_records.result import StageResult
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.reporting import junit, markdown, page, sarif
from safety_worker.reporting.attestation import build_statement, load_signer, sign
from safety_worker.reporting.document import build_report
from safety_worker.reporting.retention import delete_old_runs, write_folders

RENDERED: dict[str, Callable[[Report], str]] = {
    HTML_NAME: page.render,
    MARKDOWN_NAME: markdown.render,
    JUNIT_NAME: junit.render,
    SARIF_NAME: sarif.render,
}
"""Files that are made from the report."""


def run(spec: ReportStage, context: StageContext) -> StageResult:
    """Write the report of a finished evaluation.

    Raises
    ------
    InputError
        If the key that is to sign it is missing or unusable.
    """
    # First: a key that cannot sign is said before anything is written.
    signer = load_signer(context.secret(spec.signing_key_env)) if spec.signing_key_env else None
    context.report_progress(
        Progress(stage="report", done=0, total=1, unit="reports", message="writing the report")
    )
    report = build_report(spec, context)
    folder = context.store.output(spec.out)
    names = write_report(report, folder)
    write_folders(spec, context)
    if signer is not None:
        statement = build_statement(report, folder, names)
        atomic_write_text(folder / ATTESTATION_NAME, sign(statement, signer))
    delete_old_runs(spec, context)
    context.report_progress(
        Progress(stage="report", done=1, total=1, unit="reports", message="report written")
    )
    return StageResult(
        stage="report",
        inputs_hash=spec.inputs_hash,
        html=f"{spec.out}/{HTML_NAME}",
        drift=report.drift,
        attestation=f"{spec.out}/{ATTESTATION_NAME}" if signer is not None else "",
        versions={"safety-worker": __version__},
    )


def write_report(report: Report, folder: Path) -> list[str]:
    """Write ``report.json`` and everything that is made from it; the names, ``report.json`` first."""
    text = json.dumps(report.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    atomic_write_text(folder / JSON_NAME, text + "\n")
    for name, render in RENDERED.items():
        atomic_write_text(folder / name, render(report))
    return [JSON_NAME, *RENDERED]
