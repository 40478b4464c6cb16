"""The push stage of a SafetyFinetune: model and card go to a hub, a bucket or a registry, once.

What is there with the same digest is not sent again, so a killed try costs a file; what is there with another
content stays unless the specification says otherwise. At the end the target is compared once more.
"""

from collections.abc import Sequence
from functools import partial
from typing import cast

from safety_records.finetune_stages import PushStage
from safety_records.manifest import MANIFEST_NAME
from safety_records.progress import Progress
from safety_records.push import find_push_problem
from safety_records.result import Pushed, StageResult
from safety_worker.artifacts.digests import build_manifest, sha256_file
from safety_worker.context import StageContext
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.lazy import load
from safety_worker.models.model_folder import model_files
from safety_worker.pushing.target import LocalFile, Seen, Target
from safety_worker.transport.meter import Meter
from safety_worker.transport.places import GIB
from safety_worker.transport.uris import scheme_of

CARD = "README.md"
SHOWN = 3
"""Names in a message."""

TARGETS = {
    "gs": "safety_worker.pushing.bucket:BucketTarget",
    "hf": "safety_worker.pushing.hub:HubTarget",
    "oci": "safety_worker.pushing.registry:RegistryTarget",
    "s3": "safety_worker.pushing.bucket:BucketTarget",
}
"""By scheme."""


def run(spec: PushStage, context: StageContext) -> StageResult:
    """Send the model.

    Raises
    ------
    InputError
        If the target cannot be written, or holds another model that may not be replaced.
    InfrastructureError
        If the model in the store is damaged, or the target does not hold it in the end.
    """
    problem = find_push_problem(spec.uri)
    if problem:
        raise InputError("InvalidUri", f"{spec.uri}: {problem}")
    files = local_files(spec, context)
    target = open_target(spec, context)
    seen = target.look(files)
    _check_free(spec, seen)
    sent = len(files) - len(seen.same)
    if not seen.has_all(files):
        meter = Meter(partial(_tell, context), sum(file.size for file in files))
        target.send(files, seen, meter)
        seen = target.look(files)
    if not seen.has_all(files):
        missing = sorted({file.name for file in files} - seen.same | {*seen.stale})
        raise InfrastructureError(
            "PushNotVerified", f"{spec.uri}: after sending, these differ there: {', '.join(missing[:SHOWN])}"
        )
    pushed = Pushed(uri=target.pinned(seen.revision), revision=seen.revision)
    return StageResult(stage="push", inputs_hash=spec.inputs_hash, rows=sent, pushed=pushed)


def open_target(spec: PushStage, context: StageContext) -> Target:
    """The target of a specification, with its credentials."""
    make = load(TARGETS[scheme_of(spec.uri)])
    return cast("Target", make(spec.uri, context.secret(spec.token_env), context.environment))


def local_files(spec: PushStage, context: StageContext) -> list[LocalFile]:
    """The model's files, its card, and the manifest that says the model's digest.

    Raises
    ------
    InfrastructureError
        If the files are not those of the digest.
    """
    folder = context.store.path(spec.model)
    _report(context, "hashing the model's files")
    manifest = build_manifest(folder, paths=model_files(folder))
    if manifest.digest != spec.digest:
        raise InfrastructureError(
            "DamagedArtifact",
            f"{spec.model} is not the model that was trained: its digest is {manifest.digest}. Restore the "
            "folder, or delete it, so that training runs again",
        )
    stated = context.store.output(spec.out) / "model-manifest.json"
    stated.write_text(manifest.to_json(), encoding="utf-8")
    files = [LocalFile(file.path, folder / file.path, file.size, file.sha256) for file in manifest.files]
    more = {CARD: folder / CARD, MANIFEST_NAME: stated}
    return files + [
        LocalFile(name, path, path.stat().st_size, sha256_file(path))
        for name, path in more.items()
        if path.is_file()
    ]


def _check_free(spec: PushStage, seen: Seen) -> None:
    taken: Sequence[str] = sorted({*seen.other, *seen.stale})
    if taken and not seen.untouched and not spec.replace:
        raise InputError(
            "TargetTaken",
            f"{spec.uri} holds something else ({', '.join(taken[:SHOWN])}): name another target, for example "
            "a branch, prefix or tag of its own, or set output.push.replace to true",
        )


def _tell(context: StageContext, done: int, total: int, _speed: float) -> None:
    _report(context, f"pushing the model: {done / GIB:.2f} of {total / GIB:.2f} GiB", done, total)


def _report(context: StageContext, message: str, done: int = 0, total: int = 0) -> None:
    context.report_progress(Progress(stage="push", done=done, total=total, unit="bytes", message=message))
