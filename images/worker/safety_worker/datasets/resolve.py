"""From a data set's URI to local files."""

import hashlib
from dataclasses import dataclass
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


def resolve_files(uri: str, context: StageContext, token_env: str = "") -> list[DataFile]:
    """Local files of a data set, sorted by name. Remote ones are downloaded into the scratch folder.

    ``token_env`` names the variable that holds the token of a gated data set on the hub.

    Raises
    ------
    InputError
        If there are none, or the URI names nothing.
    """
    match scheme_of(uri):
        case "hf":
            path = _from_hub(uri, context, token_env or HUB_TOKEN_VARIABLE)
        case "s3" | "gs" | "memory":
            path = _bring(uri, BucketPlace(uri, context.secret(token_env), context.environment), context)
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
        if file.is_file() and is_data_file(file)
    ]
    if not files:
        raise InputError("NoDataFiles", f"{uri} holds no file that {_ENDINGS}")
    return files


def _from_hub(uri: str, context: StageContext, variable: str) -> Path:
    name = parse_hub(uri)
    token = hub_token(context.environment, variable)
    place = HubPlace.at(name, "dataset", token, context.environment)
    folder = _bring(f"{uri}#{place.commit}", place, context, name.path)
    return folder / name.path if name.path else folder


def _bring(uri: str, place: Place, context: StageContext, below: str = "") -> Path:
    """Bring the data files of a place, or of a file or folder in it, into a folder of their own."""
    folder = context.scratch / "data" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    listed = place.files()
    files = [
        file
        for file in listed
        if file.name == below
        or (is_data_file(Path(file.name)) and (not below or file.name.startswith(f"{below}/")))
    ]
    shown = uri.partition("#")[0].partition("?")[0]
    if not files:
        raise InputError("NoDataFiles", f"{shown} has {len(listed)} files, none of them {_ENDINGS}")
    bring_files(shown, place, files, folder)
    return folder


_ENDINGS = f"ends in one of {', '.join(sorted(READERS))}"
