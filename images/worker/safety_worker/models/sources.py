"""Model sources: fetch what a URI names into a folder, and say what identifies it."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from safety_records.in_place import stays_in_place
from safety_records.progress import Progress
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.lazy import load
from safety_worker.models.adapter import is_adapter
from safety_worker.models.gguf_header import check_gguf
from safety_worker.models.model_folder import check_weights, choose_files
from safety_worker.models.model_store import link_files
from safety_worker.models.weights import check_files, check_shards
from safety_worker.transport.bucket import BucketPlace
from safety_worker.transport.hub import HubPlace
from safety_worker.transport.meter import Meter
from safety_worker.transport.places import (
    FolderPlace,
    Place,
    RemoteFile,
    bytes_in,
    check_links,
    check_space,
    fetch_files,
)
from safety_worker.transport.uris import (
    check_uri,
    hub_names,
    local_path,
    no_image_volume,
    package_version,
    scheme_of,
    shown_uri,
)

WEIGHTS = (".safetensors", ".onnx", ".onnx_data", ".data")
"""Endings of what is large."""

GIB, MIB = 1024**3, 1024**2

ONNX_FOLDER = "onnx/"
"""Where repositories of a hub keep the graphs of a model."""


@dataclass(frozen=True)
class ModelSource:
    """A model's URI and the variable with the token or credentials for it."""

    uri: str
    token_env: str = ""
    classifier: bool = False
    """Whether it is a text classifier, which may be an ONNX graph instead of safetensors."""
    part: str = ""
    """Which model of a stage it is, where there are several."""


def fingerprint(source: ModelSource, context: StageContext) -> str:
    """What identifies the content behind the URI now, without reading it; empty if only reading tells.

    A hub's commit and a package's version never change their content; files do.
    """
    match scheme_of(source.uri):
        case "hf":
            commit = _hub(source, context).commit
            return f"{source.uri}#{commit}{'#classifier' if source.classifier else ''}"
        case "package":
            version = package_version(source.uri.partition("://")[2].partition("/")[0])
            return f"{source.uri}#{version}" if version else ""
        case _:
            return ""


def pinned_uri(source: ModelSource, context: StageContext) -> str:
    """The URI with what its revision stands for now, where that never changes."""
    if scheme_of(source.uri) != "hf":
        return shown_uri(source.uri)
    hub = _hub(source, context)
    return hub.name._replace(revision=hub.commit).uri


def fetch_model(source: ModelSource, target: Path, context: StageContext) -> None:
    """Fill a folder with the model's files.

    Raises
    ------
    InputError
        If the URI names nothing that can be a model.
    """
    check_uri(source.uri, "model")
    match scheme_of(source.uri):
        case "hf":
            place: Place = _hub(source, context)
        case "s3" | "gs" | "memory":
            place = BucketPlace(source.uri, context.secret(source.token_env), context.environment)
        case "file" | "pvc" | "package" | "oci":
            path = local_path(source.uri, context.inputs)
            if scheme_of(source.uri) == "oci":
                path = folder_of_image(source.uri, path)
            if path.is_file() and path.suffix == ".gguf":
                check_gguf(path)
                load("safety_worker.models.gguf:convert_gguf")(path, target)
                return
            if not path.is_dir():
                raise InputError("NotAModel", f"{source.uri} is neither a folder nor a .gguf file")
            place = FolderPlace(snapshot_of(path))
            check_links(source.uri, place, lambda name: name in choose_files([name]))
        case scheme:
            raise InputError("UnknownScheme", f"{source.uri}: a model cannot come from {scheme or 'here'}://")
    files = place.files()
    if not files:
        raise InputError(
            "NotFound", f"{source.uri} holds no files: check the bucket and the prefix, or the folder"
        )
    chosen = choose_source_files(source, files)
    if isinstance(place, FolderPlace):
        check_files(source.uri, place.folder, [file.name for file in chosen])
        if stays_in_place(source.uri) and not is_adapter(top_names(files)):
            link_files(place.folder, [file.name for file in chosen], target)
            _lift_graphs(chosen, target)
            return
    check_space(source.uri, target, sum(file.size for file in chosen) - bytes_in(target))
    small = [file for file in chosen if not file.name.endswith(WEIGHTS)]
    meter = Meter(partial(_tell, context), sum(file.size for file in chosen))
    fetch_files(source.uri, place, small, target, meter)
    check_shards(source.uri, target, [file.name for file in chosen])  # before what takes hours
    large = [file for file in chosen if file.name.endswith(WEIGHTS)]
    fetch_files(source.uri, place, large, target, meter)
    _lift_graphs(chosen, target)


def _tell(context: StageContext, done: int, total: int, speed: float) -> None:
    message = f"fetching the model: {done / GIB:.2f} of {total / GIB:.2f} GiB"
    message += f", {speed / MIB:.1f} MiB/s" if speed else ""
    context.report_progress(Progress(stage="fetch", done=done, total=total, unit="bytes", message=message))


def _lift_graphs(chosen: list[RemoteFile], target: Path) -> None:
    for file in chosen:
        if file.name.startswith(ONNX_FOLDER):
            (target / file.name).replace(target / file.name.removeprefix(ONNX_FOLDER))


def folder_of_image(uri: str, path: Path) -> Path:
    """The model's folder in an image: its root, or ``models``, where many images have it.

    Raises
    ------
    InputError
        If nothing was mounted: API servers, nodes and runtimes without image volumes say nothing.
    """
    if path.is_dir() and not any(path.iterdir()):
        raise no_image_volume(uri)
    inner = path / "models"
    return inner if (inner / "config.json").exists() and not (path / "config.json").exists() else path


def top_names(files: list[RemoteFile]) -> list[str]:
    """Names of the files that are in no folder."""
    return [file.name for file in files if "/" not in file.name]


def choose_source_files(source: ModelSource, files: list[RemoteFile]) -> list[RemoteFile]:
    """Which of a place's files make the model.

    Raises
    ------
    InputError
        If there are no weights, or no saying which of several graphs is meant.
    """
    named = {file.name: file for file in files}
    top = top_names(files)
    wanted = choose_files(top, classifier=source.classifier)
    graphs = [name for name in named if name.startswith(ONNX_FOLDER) and name.endswith(".onnx")]
    if source.classifier and graphs and not any(name.endswith((".safetensors", ".onnx")) for name in wanted):
        graph = f"{ONNX_FOLDER}model.onnx" if f"{ONNX_FOLDER}model.onnx" in graphs else graphs[0]
        if len(graphs) > 1 and graph != f"{ONNX_FOLDER}model.onnx":
            raise InputError(
                "SeveralGraphs", f"{source.uri} has {len(graphs)} graphs in {ONNX_FOLDER}: none is model.onnx"
            )
        wanted += [
            name for name in named if name == graph or name.startswith((f"{graph}_data", f"{graph}.data"))
        ]
    check_weights([*wanted, *top], source.uri, classifier=source.classifier)
    return [named[name] for name in wanted]


def _hub(source: ModelSource, context: StageContext) -> HubPlace:
    token = context.secret(source.token_env)
    hub = HubPlace.at(hub_names(source.uri, "model"), token or None, context.environment)
    return replace(hub, folder=f"{hub.name.path}/") if hub.name.path else hub


def snapshot_of(folder: Path) -> Path:
    """Of a folder of a hub's cache (``models--ORG--NAME``) the files of ``refs/main``; any other as it is."""
    main, snapshots = folder / "refs" / "main", folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    commit = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    there = sorted(path.name for path in snapshots.iterdir() if path.is_dir())
    if commit not in there and len(there) != 1:
        raise InputError(
            "SeveralSnapshots",
            f"{folder.name} is a hub's cache with {len(there)} commits: name one folder snapshots/COMMIT",
        )
    return snapshots / (commit if commit in there else there[0])


def pointer_name(identity: str) -> str:
    """File name of the by-source pointer of a fingerprint."""
    return hashlib.sha256(identity.encode()).hexdigest() + ".json"
