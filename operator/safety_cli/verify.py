"""``kubectl safety verify``: whether the report of an evaluation is signed, whole, and about its model.

The resource says which model was evaluated and which report came out; the signature says who vouches for it.
Without a resource, as in a pipeline that has no cluster, the command line says which model is meant.
"""

from pathlib import Path

from rich.console import Console
from rich.text import Text
from securesystemslib.signer import Key

from safety_attestation.verification import (
    PublicKeyError,
    VerificationFailedError,
    Verified,
    load_public_key,
    verify,
)
from safety_cli.errors import EXIT_FAILED, CliError, UsageError
from safety_cli.fetching import fetch, is_whole
from safety_cli.kubectl import Kubectl, Resource
from safety_cli.resources import VERDICTS, find_eval, is_unseen, label, namespace_of
from safety_cli.terminal import clean
from safety_operator.state.reading import digest_at, status_of
from safety_records.manifest import MANIFEST_NAME


def show(
    console: Console,
    kubectl: Kubectl,
    name: str,
    *,
    public_key: Path,
    folder: Path | None,
    passed: bool,
    model_digest: str | None = None,
) -> int:
    """Check and print; 0 if everything holds, 1 if not.

    Parameters
    ----------
    name
        The SafetyEval; empty: a folder is verified by itself.
    public_key
        PEM file of the key that has to have signed.
    folder
        Copy of the report's folder; None: the report server is asked.
    passed
        Whether the verdict has to be that the model passed.
    model_digest
        Without a name: the model that the report has to be about; None: any.

    Raises
    ------
    CliError
        If it cannot be tried.
    """
    if name and model_digest:
        raise UsageError("--model-digest: the resource says which model it evaluated: leave it out.")
    resource = find_eval(kubectl, name) if name else None
    wanted = _model_digest(resource) if resource else model_digest or ""
    key = _read_key(public_key)
    if folder is None:
        if resource is None:
            raise UsageError("Name a SafetyEval, or give --folder with a copy of a report.")
        folder = fetch(kubectl, resource)
    try:
        found = verify(folder, key, wanted, passed=passed)
        if resource is not None:
            _same_resource(resource, found)
            _same_report(resource, folder)
    except VerificationFailedError as error:
        console.print(Text.assemble(("NOT VERIFIED", "bold red"), f": {clean(error)}"))
        return EXIT_FAILED
    console.print(Text.assemble(("verified", "bold green"), f": signed by key {found.key_id}"))
    for title, text in _facts(resource, found):
        console.print(f"{title:<9}{clean(text)}", overflow="fold")
    return 0


def _read_key(path: Path) -> Key:
    try:
        return load_public_key(path.read_bytes())
    except OSError as error:
        raise CliError(f"--public-key: {path}: {error.strerror}") from error
    except PublicKeyError as error:
        raise CliError(str(error)) from error


def _model_digest(resource: Resource) -> str:
    digest = digest_at(status_of(resource), "target", "digest")
    if not digest:
        raise CliError(
            f"{label(resource)} does not say which model it evaluated: it is not finished, or its endpoint "
            "states no digest (spec.model.endpoint.digest)."
        )
    return digest


def _same_resource(resource: Resource, found: Verified) -> None:
    """A signed report of another evaluation of the same model is not this one's."""
    predicate = found.statement.predicate
    meant = (namespace_of(resource), resource["metadata"]["name"])
    if (predicate.namespace, predicate.name) != meant:
        raise VerificationFailedError(
            f"the statement is about {predicate.namespace}/{predicate.name}, not about {'/'.join(meant)}"
        )


def _same_report(resource: Resource, folder: Path) -> None:
    """A signed report of another run of the same schedule is not the present one."""
    wanted = digest_at(status_of(resource), "report", "digest")
    if not (folder / MANIFEST_NAME).is_file():
        raise VerificationFailedError(f"{MANIFEST_NAME}, which belongs to the report, is missing")
    if not is_whole(folder, wanted):
        raise VerificationFailedError(
            f"signed and whole, but not the report that {label(resource)} names now "
            f"({wanted or 'it names none'}): another run's?"
        )


def _facts(resource: Resource | None, found: Verified) -> list[tuple[str, str]]:
    predicate = found.statement.predicate
    subjects = (
        f"{item.name} {name}:{value}"
        for item in found.statement.subject
        for name, value in item.digest.items()
    )
    verdict = VERDICTS.get(predicate.verdict, "no verdict")
    facts = [
        ("model:", ", ".join(subjects)),
        ("report:", f"{predicate.namespace}/{predicate.name}, {predicate.created_at.isoformat()}"),
        ("verdict:", f"{verdict} ({len(predicate.thresholds)} thresholds)"),
        ("files:", ", ".join(found.files)),
    ]
    if resource is not None and is_unseen(resource):
        facts.append(("note:", "the spec was changed since; the operator has not looked at it yet"))
    return facts
