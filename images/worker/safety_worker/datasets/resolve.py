"""From a data set's URI to local files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from safety_records.uris import HubName, browser_address
from safety_worker.context import StageContext
from safety_worker.datasets.first_records import SMALL_BYTES, check_size, take_records
from safety_worker.datasets.layouts import choose_data
from safety_worker.datasets.readers import READERS, check_format
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport.bucket import BucketPlace
from safety_worker.transport.file_kinds import ending_of, is_hidden
from safety_worker.transport.hub import HubPlace
from safety_worker.transport.places import FolderPlace, Place, RemoteFile, bytes_in, check_links, fetch_files
from safety_worker.transport.uris import (
    check_uri,
    hub_names,
    local_path,
    scheme_of,
    shown_uri,
    similar,
    spellings,
)
from safety_worker.transport.web import WebPlace

HUB_TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - the name of a variable
"""Token for gated data sets, where the pod has one."""

ADVICE = (
    "set maxRecords of the SafetyBlend's source to read its beginning only, name fewer subsets or files, or "
    "give a smaller copy"
)
"""What to do about a data set that is too large to be read whole."""


@dataclass(frozen=True)
class DataFile:
    """A file and the name that rows remember it by."""

    path: Path
    name: str
    records: int | None = None
    """Only so many records of it are read, from the first; None: all."""
    cut: bool = False
    """Whether it, or a file behind it, has more than those."""


@dataclass(frozen=True)
class Listed:
    """The data files of a URI, where they are."""

    shown: str
    """The URI without what no message may show."""
    identity: str
    """What is fetched under the same one may be taken for the same."""
    place: Place
    files: list[RemoteFile]
    below: str = ""
    """File or folder of the place that the URI names; empty: all of it."""
    left_out: tuple[str, ...] = ()
    """See :class:`ResolvedData`."""

    def name(self, file: RemoteFile) -> str:
        """A file's name below what the URI names."""
        if file.name == self.below:
            return Path(file.name).name
        return file.name.removeprefix(f"{self.below}/") if self.below else file.name


class ResolvedData(NamedTuple):
    """The data of a URI."""

    files: list[DataFile]
    left_out: tuple[str, ...]
    """What of a folder was left out and why, a sentence for each reason."""


def find_files(
    uri: str, context: StageContext, token_env: str = "", only: str = "*", max_records: int | None = None
) -> ResolvedData:
    """Local files of a data set, sorted by name. Remote ones are downloaded into the scratch folder.

    Parameters
    ----------
    uri
        A file, or a folder of files.
    context
        Where inputs are mounted.
    token_env
        Variable that holds the token of a gated data set on the hub.
    only
        Pattern that the name of a folder's file has to match.
    max_records
        Only the first so many records of all files together are wanted; None: all.

    Raises
    ------
    InputError
        If there are none, the URI names nothing, or what it names is too large to be read whole.
    """
    listed = _list(uri, context, token_env, only)
    bounded = "" if max_records is None else f"#first {max_records}"
    mark = hashlib.sha256(f"{listed.identity}{bounded}".encode()).hexdigest()[:16]
    folder = context.scratch / "data" / mark
    folder.mkdir(parents=True, exist_ok=True)
    if max_records is not None:
        taken = take_records(listed.shown, listed.place, listed.files, folder, max_records)
        begun = [
            DataFile(item.path, listed.name(file), item.records, item.more)
            for item, file in zip(taken, listed.files, strict=False)
        ]
        return ResolvedData(begun, listed.left_out)
    check_size(listed.shown, sum(file.size for file in listed.files), folder, ADVICE)
    if isinstance(listed.place, FolderPlace):
        folder = listed.place.folder
    else:
        _fetch(listed, folder)
    return ResolvedData(
        [DataFile(folder / file.name, listed.name(file)) for file in listed.files], listed.left_out
    )


def _fetch(listed: Listed, folder: Path) -> None:
    """Fetch whole files; where a server does not say how large one is, that may turn out to be too large."""
    try:
        fetch_files(listed.shown, listed.place, listed.files, folder)
    except InfrastructureError as error:
        if error.reason == "ArtifactStoreFull" and bytes_in(folder) > SMALL_BYTES:
            raise InputError("SourceTooLarge", f"{error.message}; or {ADVICE}") from error
        raise


def _list(uri: str, context: StageContext, token_env: str, only: str) -> Listed:
    shown, identity, below = shown_uri(uri), uri, ""
    check_uri(uri)
    match scheme_of(uri):
        case "hf":
            token = context.secret(token_env) or context.environment.get(HUB_TOKEN_VARIABLE, "").strip()
            hub = HubPlace.at(hub_names(uri, "dataset"), token or None, context.environment)
            place: Place = hub
            identity, below = f"{uri}#{hub.commit}", hub.name.path
        case "s3" | "gs" | "memory":
            place = BucketPlace(uri, context.secret(token_env), context.environment)
        case "https" | "http":
            place = WebPlace(uri, context.secret(token_env))
            below = place.name
        case _:
            path = local_path(uri, context.inputs)
            if path.is_file():
                check_format(path.name)
                files = [RemoteFile(path.name, path.stat().st_size)]
                return Listed(shown, identity, FolderPlace(path.parent), files)
            place = FolderPlace(path)
            check_links(shown, place, lambda name: ending_of(name) in READERS and not is_hidden(name))
    everything = place.files()
    if isinstance(place, HubPlace) and below:
        below = _path_there(shown, place.name, [file.name for file in everything])
    if len(everything) == 1 and shown.endswith(f"/{everything[0].name}"):
        below = everything[0].name
    named = [file for file in everything if file.name == below]
    if named:
        check_format(below)
        return Listed(shown, identity, place, named, below)
    inside = f"{below}/" if below else ""
    names = {file.name.removeprefix(inside): file for file in everything if file.name.startswith(inside)}
    chosen = choose_data(shown, place, names, only)
    return Listed(shown, identity, place, chosen.files, below, chosen.left_out)


def _path_there(shown: str, name: HubName, names: list[str]) -> str:
    """A path of a repository as it is spelt there.

    Raises
    ------
    InputError
        If it is not there, with what may have been meant.
    """
    folders = {str(folder) for file in names for folder in PurePosixPath(file).parents}
    there = {*names, *folders}
    found = next((path for path in spellings(name.path) if path in there), None)
    if found is not None:
        return found
    better = browser_address(name)
    meant = f": this is an address of a browser, {better}" if better else similar(name.path, there)
    if any(mark in name.path for mark in "*?["):
        meant = ": patterns are not read, name a folder or a file"
    raise InputError("NotFound", f"{shown}: the repository has no file or folder {name.path}{meant}")
