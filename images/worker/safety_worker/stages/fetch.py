"""The fetch stage: a model gets into the store once, under its digest.

``<namespace>/models/<digest hex>/`` holds the files and a manifest; ``<namespace>/models/by-source/`` holds a
pointer for each source whose content cannot change, so that a second resource downloads nothing.
"""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safety_records.manifest import MANIFEST_NAME, Manifest
from safety_records.progress import Progress
from safety_records.result import Artifact, StageResult
from safety_records.stages import FetchStage
from safety_worker.artifacts.digests import TEMPORARY_PREFIX, build_manifest
from safety_worker.artifacts.files import atomic_write_text, fsync_path
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.models.chat_template import check_given_template, install_template, read_given_template
from safety_worker.models.model_folder import check_model, model_files
from safety_worker.models.sources import ModelSource, fetch_model, fingerprint, pointer_name
from safety_worker.transport.uris import local_path

LOCK_POLL_SECONDS = 1.0
"""Time between two looks at whether the other pod is done."""


def run(spec: FetchStage, context: StageContext) -> StageResult:
    """Fetch the model of the specification; a model that is there already is only pointed to."""
    source = ModelSource(spec.uri, spec.token_env, spec.classifier)
    models = f"{spec.namespace}/models"
    _report(context, f"looking at {spec.uri}")
    template = _given_template(spec, context)
    identity = fingerprint(source, context)
    if not identity:
        return _result(spec, *_fetch(spec, source, context, models, template))
    identity += f"#template {hashlib.sha256(template.encode()).hexdigest()}" if template else ""
    pointer = f"{models}/by-source/{pointer_name(identity)}"
    waiting = "another pod is fetching the same model; waiting for it"
    with model_lock(context.store.path(f"{pointer}.lock"), lambda: _report(context, waiting)):
        known = context.store.read_json(pointer)
        manifest = _stored(context, known["path"]) if known else None
        if manifest is not None:
            # It may have been fetched for something that needed less.
            folder = context.store.path(known["path"])
            check_model(folder, spec.uri, chat=spec.chat, classifier=spec.classifier)
            return _result(spec, known["path"], manifest, known["maxLength"])
        path, manifest, length = _fetch(spec, source, context, models, template)
        context.store.write_json(
            pointer, {"uri": spec.uri, "digest": manifest.digest, "path": path, "maxLength": length}
        )
    return _result(spec, path, manifest, length)


def _given_template(spec: FetchStage, context: StageContext) -> str:
    """The chat template that takes the place of the model's own; empty: none does."""
    if not spec.chat_template:
        return ""
    return read_given_template(local_path(spec.chat_template, context.inputs), spec.chat_template)


def _report(context: StageContext, message: str, done: int = 0, total: int = 0) -> None:
    context.report_progress(
        Progress(stage="fetch", done=done, total=total, unit="files", message=message[:200])
    )


def _stored(context: StageContext, path: str) -> Manifest | None:
    """The manifest of a model all of whose files are there, with their sizes; None: it has to be fetched."""
    manifest, folder = context.store.manifest(path), context.store.path(path)
    sizes = {file.path: file.size for file in manifest.files} if manifest else {}
    there = {name: (folder / name).stat().st_size for name in sizes if (folder / name).is_file()}
    return manifest if there == sizes else None


@contextmanager
def model_lock(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let one pod at a time fetch a model; the kernel frees the lock of a pod that died.

    Only saves work: on a file system without locks every pod fetches the model, with the same outcome.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                time.sleep(LOCK_POLL_SECONDS)
            except OSError:
                break
            else:
                break
        yield


def _fetch(
    spec: FetchStage, source: ModelSource, context: StageContext, models: str, template: str
) -> tuple[str, Manifest, int | None]:
    # The name depends on the stage alone: a restarted pod continues its own download.
    name = hashlib.sha256(spec.out.encode()).hexdigest()[:16]
    incoming = context.store.path(f"{models}/{TEMPORARY_PREFIX}{name}")
    incoming.mkdir(parents=True, exist_ok=True)
    try:
        _report(context, "fetching the model")
        fetch_model(source, incoming, context)
        if template:
            install_template(incoming, template)
            check_given_template(incoming, spec.chat_template)
        length = check_model(incoming, spec.uri, chat=spec.chat, classifier=spec.classifier)
        files = model_files(incoming)
        _report(context, "hashing the model's files", 0, len(files))
        manifest = build_manifest(incoming, paths=files)
        path = f"{models}/{manifest.digest.removeprefix('sha256:')}"
        if _stored(context, path) is None:
            _install(incoming, context, path, manifest)
        _report(context, "model is in the store", len(files), len(files))
    except InputError:
        shutil.rmtree(incoming)
        raise
    shutil.rmtree(incoming, ignore_errors=True)
    return path, manifest, length


def _install(incoming: Path, context: StageContext, path: str, manifest: Manifest) -> None:
    """Rename the folder to its digest; a damaged folder, or one of a killed try, is replaced."""
    wanted = {file.path for file in manifest.files}
    for leftover in incoming.iterdir():
        if leftover.name not in wanted:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for file in manifest.files:
        (incoming / file.path).chmod(0o644)
        fsync_path(incoming / file.path)
    incoming.chmod(0o755)
    target = context.store.path(path)
    if target.exists():
        shutil.rmtree(target)
    atomic_write_text(incoming / MANIFEST_NAME, manifest.to_json())
    incoming.rename(target)
    fsync_path(target.parent)


def _result(spec: FetchStage, path: str, manifest: Manifest, length: int | None) -> StageResult:
    return StageResult(
        stage="fetch",
        inputs_hash=spec.inputs_hash,
        output=Artifact(uri=path, digest=manifest.digest, bytes=sum(file.size for file in manifest.files)),
        rows=len(manifest.files),
        max_length=length,
    )
