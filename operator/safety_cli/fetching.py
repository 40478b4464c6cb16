"""Fetches a report onto this machine, through kubectl's port forwarding.

What comes is compared with the digest in the resource's status before anybody looks at it, so the report
server need not be trusted. Kept in a folder of the user's own, under that digest.
"""

import contextlib
import hashlib
import http.client
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from safety_cli.errors import CliError
from safety_cli.kubectl import NO_KUBECTL, Kubectl, Resource, explain
from safety_cli.resources import label, namespace_of, state_of
from safety_operator.state.reading import digest_at, status_of, value_at
from safety_records.manifest import MANIFEST_NAME, Manifest, ManifestFile, digest_of
from safety_records.report_files import (
    SERVED_NAMES,
    SERVER_NAME,
    SERVER_PORT,
    ReportFolder,
    parse_report_uri,
)

POD = f"{SERVER_NAME}-0"
"""The report server's only pod."""
START_SECONDS = 20.0
"""For kubectl to forward a port."""
ANSWER_SECONDS = 60.0
"""For the next bytes of an answer."""
MAX_BYTES = 1 << 30
"""Of one file; more is no report."""
MAX_MANIFEST_BYTES = 1_000_000
CHUNK_BYTES = 1 << 20

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


def cache_folder() -> Path:
    """Where reports are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "kubectl-safety"


def fetch(kubectl: Kubectl, resource: Resource) -> Path:
    """The folder with the report that a resource names, fetched unless it is there already.

    Raises
    ------
    CliError
        If there is no report, no server, or what came is not what the resource names.
    """
    folder, digest = named_report(resource)
    base = cache_folder()
    kept = base / digest.removeprefix("sha256:")
    if is_whole(kept, digest):
        return kept
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(kept)
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    here = Kubectl(kubectl.kubeconfig, kubectl.context, namespace_of(resource))
    made = Path(tempfile.mkdtemp(prefix=".tmp-", dir=base))
    try:
        with forwarded_port(here) as port:
            _download(port, folder, digest, made)
        with contextlib.suppress(OSError):
            # A copy that another call has made meanwhile is as good.
            made.rename(kept)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if not is_whole(kept, digest):
        raise CliError(f"{kept} could not be written.")
    return kept


def named_report(resource: Resource) -> tuple[ReportFolder, str]:
    """Folder and digest of the report that a SafetyEval or SafetyBlend names. Raises CliError."""
    field = "output" if resource["kind"] == "SafetyBlend" else "report"
    uri = str(value_at(status_of(resource), field, "uri", default=""))
    digest = digest_at(status_of(resource), field, "digest")
    folder = parse_report_uri(uri)
    if not uri or not digest:
        state = state_of(resource)
        raise CliError(f"{label(resource)} has no report yet ({state}). Follow it: kubectl safety watch")
    if folder is None or folder.namespace != namespace_of(resource):
        raise CliError(f"{label(resource)}: status.{field}.uri names no report of this namespace: {uri}")
    return folder, digest


def is_whole(folder: Path, digest: str) -> bool:
    """Whether a folder is the report of a digest, file by file."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        return digest_of(manifest.files) == digest and all(
            _sha256(folder / file.path) == file.sha256 for file in _files(manifest)
        )
    except (OSError, ValidationError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(manifest: Manifest) -> list[ManifestFile]:
    return [file for file in manifest.files if file.path in SERVED_NAMES]


@contextlib.contextmanager
def forwarded_port(kubectl: Kubectl) -> Iterator[int]:
    """A local port that leads to the report server while the block runs. Raises CliError."""
    target = (f"pod/{POD}", f":{SERVER_PORT}")
    command = ["kubectl", *kubectl.options(), "port-forward", "--address=127.0.0.1", *target]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        except FileNotFoundError as error:
            raise CliError(NO_KUBECTL) from error
        with process:
            try:
                yield _await_port(process, errors)
            finally:
                process.terminate()


def _await_port(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> int:
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            chunk = os.read(process.stdout.fileno(), 4096)
            output += chunk
            if found := _FORWARDING.search(output.decode("utf-8", "replace")):
                return int(found.group(1))
            if not chunk:
                process.wait()
                errors.seek(0)
                _explain_refusal(errors.read().decode("utf-8", "replace"))
    raise CliError(f"kubectl did not forward a port to the pod {POD} within {START_SECONDS:.0f} s.")


def _explain_refusal(stderr: str) -> None:
    if "not found" in stderr or "NotFound" in stderr:
        raise CliError(
            f"There is no report server in this namespace (pod {POD}). Whoever installs the chart switches "
            "it on with reports.create: always and this namespace in reports.namespaces."
        )
    if "forbidden" in stderr.lower():
        raise CliError(
            f"You may not forward a port to the report server: ask for the Role {SERVER_NAME}-reader of this "
            "namespace."
        )
    if "not running" in stderr:
        raise CliError(f"The report server does not run yet: kubectl describe pod {POD} tells why.")
    explain(stderr)


def _download(port: int, folder: ReportFolder, digest: str, into: Path) -> None:
    """All files of the report. Raises CliError if one is not as the digest says."""
    text = into / MANIFEST_NAME
    _get(port, folder.url_path(MANIFEST_NAME), text, MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(text.read_bytes())
    except ValidationError as error:
        raise CliError("The report server gave something that is no manifest.") from error
    if digest_of(manifest.files) != digest:
        raise CliError("The report at the server is not the one that the resource names: its digest differs.")
    for file in _files(manifest):
        _get(port, folder.url_path(file.path), into / file.path, min(file.size, MAX_BYTES))
        if _sha256(into / file.path) != file.sha256:
            raise CliError(f"{file.path} arrived changed: its sha256 is not the manifest's.")


def _get(port: int, path: str, target: Path, limit: int) -> None:
    """Fetch a file of at most ``limit`` bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            words = answer.read(500).decode("utf-8", "replace").strip()
            raise CliError(f"The report server answered {answer.status}: {words} ({path})")
        got = 0
        with target.open("wb") as stream:
            while chunk := answer.read(min(CHUNK_BYTES, limit - got + 1)):
                got += len(chunk)
                if got > limit:
                    raise CliError(f"{path} is larger than it should be.")
                stream.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise CliError(f"The connection to the report server broke: {error!r}. Try again.") from error
    finally:
        connection.close()
