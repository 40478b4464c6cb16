"""The fetch stage: a model gets into the store once, under its digest.

``<namespace>/models/<digest hex>/`` holds the files and a manifest (``models/model_store.py``);
``<namespace>/models/by-source/`` holds a pointer for each source whose content cannot change, so that a
second resource downloads nothing, and one for each pair of an adapter and a base that were merged.
"""

import hashlib
import shutil
from pathlib import Path

from safety_records.in_place import volume_of_path
from safety_records.progress import Progress
from safety_records.result import Artifact, MergedModel, ModelOrigin, StageResult
from safety_records.stages import FetchStage
from safety_records.uris import parse_oci
from safety_worker.artifacts.digests import TEMPORARY_PREFIX, build_manifest
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.lazy import load
from safety_worker.models.adapter import EDITION, Adapter, base_uri, is_adapter, read_adapter, refuse_unnamed
from safety_worker.models.chat_template import (
    check_given_template,
    install_template,
    kind_of_template,
    read_given_template,
)
from safety_worker.models.model_folder import check_model, model_files
from safety_worker.models.model_shape import read_shape
from safety_worker.models.model_store import (
    StoredModel,
    find_manifest,
    hash_files,
    incoming_folder,
    install,
    model_lock,
    place_of,
)
from safety_worker.models.sources import ModelSource, fetch_model, fingerprint, pinned_uri, pointer_name
from safety_worker.models.tokenizer_fit import check_tokenizer_fits
from safety_worker.transport.places import check_space
from safety_worker.transport.uris import local_path, scheme_of


def run(spec: FetchStage, context: StageContext) -> StageResult:
    """Fetch the model of the specification; a model that is there already is only pointed to."""
    source = ModelSource(spec.uri, spec.token_env, spec.classifier)
    _report(context, f"looking at {spec.uri}")
    found = _obtain(spec, source, context)
    if isinstance(found, StoredModel):
        return _result(spec, found, context)
    return _merge(spec, found, context)


def _given_template(spec: FetchStage, context: StageContext) -> str:
    """The chat template that takes the place of the model's own; empty: none does."""
    if not spec.chat_template:
        return ""
    return read_given_template(local_path(spec.chat_template, context.inputs), spec.chat_template)


def _template_part(spec: FetchStage, source: ModelSource, context: StageContext) -> str:
    """What a given template adds to what identifies a model; of a base it is none's."""
    template = "" if source.part else _given_template(spec, context)
    return f"#template {hashlib.sha256(template.encode()).hexdigest()}" if template else ""


def _report(context: StageContext, message: str, done: int = 0, total: int = 0) -> None:
    context.report_progress(
        Progress(stage="fetch", done=done, total=total, unit="files", message=message[:200])
    )


def _models(spec: FetchStage) -> str:
    return f"{spec.namespace}/models"


def _obtain(spec: FetchStage, source: ModelSource, context: StageContext) -> StoredModel | Path:
    """The model of a source in the store, or the folder with the files of an adapter."""
    identity = fingerprint(source, context)
    if not identity:
        return _fetch(spec, source, context)
    identity += _template_part(spec, source, context)
    pointer = f"{_models(spec)}/by-source/{pointer_name(identity)}"
    waiting = "another pod is fetching the same model; waiting for it"
    with model_lock(context.store.path(f"{pointer}.lock"), lambda: _report(context, waiting)):
        known = _pointed(context, pointer)
        if known is not None:
            # It may have been fetched for something that needed less.
            folder = context.store.path(known.path)
            check_model(folder, source.uri, chat=_chats(spec, source), classifier=spec.classifier)
            return known
        found = _fetch(spec, source, context)
        if isinstance(found, StoredModel):
            _point(context, pointer, source.uri, found)
        return found


def _chats(spec: FetchStage, source: ModelSource) -> bool:
    """Whether a source has to have a chat template; that of an adapter may be in place of its base's."""
    return spec.chat and not source.part


def _pointed(context: StageContext, pointer: str) -> StoredModel | None:
    known = context.store.read_json(pointer)
    manifest = find_manifest(context.store, known["path"]) if known else None
    return StoredModel(known["path"], manifest, known["maxLength"]) if manifest else None


def _point(context: StageContext, pointer: str, uri: str, found: StoredModel) -> None:
    digest, length = found.manifest.digest, found.max_length
    context.store.write_json(pointer, {"uri": uri, "digest": digest, "path": found.path, "maxLength": length})


def _fetch(spec: FetchStage, source: ModelSource, context: StageContext) -> StoredModel | Path:
    incoming = incoming_folder(context.store, _models(spec), f"{spec.out}{source.part}")
    try:
        _report(context, "fetching the model")
        fetch_model(source, incoming, context)
        if is_adapter(path.name for path in incoming.iterdir()):
            return incoming
        return _keep(spec, source, incoming, context)
    except InputError:
        shutil.rmtree(incoming)
        raise


def _keep(spec: FetchStage, source: ModelSource, incoming: Path, context: StageContext) -> StoredModel:
    """Check a folder, and move it to its place in the store."""
    uri, template = source.uri, "" if source.part else _given_template(spec, context)
    if template:
        install_template(incoming, template)
        check_given_template(incoming, spec.chat_template)
    length = check_model(incoming, uri, chat=_chats(spec, source), classifier=spec.classifier)
    files = model_files(incoming)
    _report(context, "hashing the model's files", 0, len(files))
    manifest = hash_files(incoming, files, uri)
    path = place_of(_models(spec), uri, incoming, manifest)
    if find_manifest(context.store, path) is None:
        install(incoming, context.store, path, manifest)
    _report(context, "model is in the store", len(files), len(files))
    shutil.rmtree(incoming, ignore_errors=True)
    return StoredModel(path, manifest, length)


def _merge(spec: FetchStage, folder: Path, context: StageContext) -> StageResult:
    """The model of an adapter and its base; both digests are part of the result."""
    try:
        adapter = read_adapter(folder, spec.uri)
        source = _base(spec, adapter)
        base = _obtain_base(spec, source, context)
        own = ModelSource(spec.uri, spec.token_env)
        adapter_digest = build_manifest(folder, paths=model_files(folder)).digest
        merged = MergedModel(
            adapter=ModelOrigin(uri=pinned_uri(own, context), digest=adapter_digest),
            base=ModelOrigin(uri=pinned_uri(source, context), digest=base.manifest.digest),
        )
        found = _merge_once(spec, adapter, base, merged, context)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return _result(spec, found, context).model_copy(update={"merged": merged})


def _obtain_base(spec: FetchStage, source: ModelSource, context: StageContext) -> StoredModel:
    _report(context, f"looking at the base model {source.uri}")
    found = _obtain(spec, source, context)
    if isinstance(found, StoredModel):
        return found
    shutil.rmtree(found)
    raise InputError("BaseIsAdapter", f"{source.uri}: the base model of an adapter is an adapter itself")


def _base(spec: FetchStage, adapter: Adapter) -> ModelSource:
    """Where the base is: as the specification says, else as an adapter on a hub says."""
    if spec.base_uri:
        return ModelSource(spec.base_uri, spec.base_token_env, part="#base")
    if scheme_of(spec.uri) != "hf":
        refuse_unnamed(adapter)
    return ModelSource(base_uri(adapter), spec.token_env, part="#base")


def _merge_once(
    spec: FetchStage, adapter: Adapter, base: StoredModel, merged: MergedModel, context: StageContext
) -> StoredModel:
    """Merge, unless the same adapter was merged into the same base before: then the digest is the same."""
    identity = f"merged#{EDITION}#{merged.adapter.digest}#{merged.base.digest}"
    identity += _template_part(spec, ModelSource(spec.uri), context)
    pointer = f"{_models(spec)}/by-source/{pointer_name(identity)}"
    waiting = "another pod is merging the same adapter; waiting for it"
    with model_lock(context.store.path(f"{pointer}.lock"), lambda: _report(context, waiting)):
        known = _pointed(context, pointer)
        if known is None:
            known = _merge_now(spec, adapter, base, context)
            _point(context, pointer, spec.uri, known)
        else:
            folder = context.store.path(known.path)
            check_model(folder, spec.uri, chat=spec.chat, classifier=spec.classifier)
    return known


def _merge_now(spec: FetchStage, adapter: Adapter, base: StoredModel, context: StageContext) -> StoredModel:
    target = adapter.folder / f"{TEMPORARY_PREFIX}merged"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()

    def report(done: int, total: int) -> None:
        message = "merging the adapter into its base model"
        context.report_progress(
            Progress(stage="fetch", done=done, total=total, unit="tensors", message=message)
        )

    needed = sum(file.size for file in base.manifest.files)
    check_space(f"{spec.uri}, merged into its base model,", target, needed)
    load("safety_worker.models.adapter_merge:merge_adapter")(
        adapter, context.store.path(base.path), target, report
    )
    return _keep(spec, ModelSource(spec.uri), target, context)


def _result(spec: FetchStage, found: StoredModel, context: StageContext) -> StageResult:
    files, folder = found.manifest.files, context.store.path(found.path)
    return StageResult(
        stage="fetch",
        inputs_hash=spec.inputs_hash,
        output=Artifact(uri=found.path, digest=found.manifest.digest, bytes=sum(file.size for file in files)),
        rows=len(files),
        max_length=found.max_length,
        chat_template=kind_of_template(folder) if spec.chat else None,
        shape=read_shape(folder),
        free_bytes=shutil.disk_usage(folder).free,
        warnings=(*_warnings(spec, found), *check_tokenizer_fits(folder, spec.uri)),
    )


def _warnings(spec: FetchStage, found: StoredModel) -> tuple[str, ...]:
    """What a model that stays in an image may become."""
    volume = volume_of_path(found.path)
    if volume is None or volume.kind != "oci" or parse_oci(spec.uri).is_pinned:
        return ()
    return (f"{spec.uri} names a tag, which may lead to another image later: name its digest (@sha256:...)",)
