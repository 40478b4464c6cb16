"""From a data set's URI to local files."""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from safety_worker.artifacts.bucket import BucketPlace
from safety_worker.artifacts.hub import HubPlace
from safety_worker.artifacts.places import Place, bring_files
from safety_worker.artifacts.web import WebPlace
from safety_worker.context import StageContext
from safety_worker.datasets.readers import READERS, is_data_file
from safety_worker.errors import InputError
from safety_worker.uris import hub_token, local_path, parse_hub, scheme_of

HUB_TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - the name of a variable
"""Token for gated data sets, where the pod has one."""


@dataclass(frozen=True)
class DataFile:
    """A file and the name that rows remember it by."""

    path: Path
    name: str


def resolve_files(uri: str, context: StageContext, token_env: str = "", only: str = "*") -> list[DataFile]:
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

    Raises
    ------
    InputError
        If there are none, or the URI names nothing.
    """
    match scheme_of(uri):
        case "hf":
            path = _from_hub(uri, context, token_env or HUB_TOKEN_VARIABLE, only)
        case "s3" | "gs" | "memory":
            bucket = BucketPlace(uri, context.secret(token_env), context.environment)
            path = _bring(uri, bucket, context, only=only)
        case "https":
            web = WebPlace(uri, context.secret(token_env))
            path = _bring(uri, web, context) / web.name
        case _:
            path = local_path(uri, context.inputs)
    if path.is_file():
        return [DataFile(path, path.name)]
    files = [
        DataFile(file, file.relative_to(path).as_posix())
        for file in sorted(path.rglob("*"))
        if file.is_file() and _fits(file, uri, only)
    ]
    if not files:
        raise InputError("NoDataFiles", f"{uri} holds no file that {_wanted(only)}")
    return files


def _from_hub(uri: str, context: StageContext, variable: str, only: str) -> Path:
    name = parse_hub(uri)
    token = hub_token(context.environment, variable)
    place = HubPlace.at(name, "dataset", token, context.environment)
    folder = _bring(f"{uri}#{place.commit}", place, context, name.path, only)
    return folder / name.path if name.path else folder


def _bring(uri: str, place: Place, context: StageContext, below: str = "", only: str = "*") -> Path:
    """Bring the data files of a place, or of a file or folder in it, into a folder of their own."""
    folder = context.scratch / "data" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    listed = place.files()
    files = [
        file
        for file in listed
        if file.name == below
        or (_fits(Path(file.name), uri, only) and (not below or file.name.startswith(f"{below}/")))
    ]
    shown = uri.partition("#")[0].partition("?")[0]
    if not files:
        raise InputError("NoDataFiles", f"{shown} has {len(listed)} files, none of them {_wanted(only)}")
    bring_files(shown, place, files, folder)
    return folder


def _fits(file: Path, uri: str, only: str) -> bool:
    """Whether a file is wanted; one that the URI itself names is, however it is called."""
    return is_data_file(file) and (fnmatchcase(file.name, only) or uri.endswith(f"/{file.name}"))


def _wanted(only: str) -> str:
    named = "" if only == "*" else f"is called {only} and "
    return f"{named}ends in one of {', '.join(sorted(READERS))}"
