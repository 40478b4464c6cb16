"""Where the URIs of specifications point to, inside a pod."""

import difflib
import importlib.util
import re
import unicodedata
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

from safety_records.in_place import image_folder
from safety_records.uris import HubName, Kind, find_problem, parse_hub, parse_oci
from safety_worker.artifacts.files import inside
from safety_worker.errors import InputError

SHOWN_NAMES = 3
"""Names that a message suggests."""


_USER = re.compile(r"(?<=://)[^/@]*@")


def shown_uri(uri: str) -> str:
    """The URI for messages and reports: without a user's password, and a query, which may be a signature."""
    return _USER.sub("", uri.partition("#")[0].partition("?")[0])


def scheme_of(uri: str) -> str:
    """The part before ``://``; empty if there is none."""
    scheme, separator, _ = uri.partition("://")
    return scheme if separator else ""


def check_uri(uri: str, wanted: Kind = "") -> None:
    """Refuse a URI that names nothing that could be read; ``wanted`` as of :func:`find_problem`.

    Raises
    ------
    InputError
        With what to write.
    """
    problem = find_problem(uri, wanted)
    if problem:
        raise InputError("InvalidUri", f"{shown_uri(uri)}: {problem}")


def local_path(uri: str, inputs: Path) -> Path:
    """Path of a ``configmap://``, ``pvc://``, ``oci://``, ``file://`` or ``package://`` URI.

    Raises
    ------
    InputError
        If there is nothing at that path, or the URI leaves its place.
    """
    scheme, _, rest = uri.partition("://")
    paths = [_inside(uri, scheme, text, inputs) for text in spellings(rest)]
    found = next((path for path in paths if path.exists()), None)
    if found is not None:
        return found
    if paths[0].is_symlink():
        raise InputError("BrokenLink", f"{uri} is a link to what is not there: copy the file itself (cp -L)")
    raise InputError(
        "NotFound", f"{uri} does not exist: check the name{_hint(scheme)}{_neighbours(paths[0])}"
    )


def spellings(path: str) -> list[str]:
    """A path as it is written, without percent signs, and in the forms of Unicode that file systems keep.

    macOS and some archives take letters apart from their accents, keyboards do not.
    """
    plain = unquote(path)
    forms = (unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain))
    return list(dict.fromkeys((path, plain, *forms)))


def _inside(uri: str, scheme: str, rest: str, inputs: Path) -> Path:
    try:
        match scheme:
            case "configmap" | "pvc":
                return inside(inputs / scheme, rest)
            case "oci":
                return _in_image(uri, inputs)
            case "file":
                return inside(Path("/"), rest.lstrip("/"))
            case "package":
                module, _, inner = rest.partition("/")
                return inside(package_folder(module, uri), inner)
            case _:
                raise InputError("UnknownScheme", f"{uri}: the scheme {scheme!r} is not known here")
    except ValueError as error:
        raise InputError("InvalidUri", f"{uri}: {error}") from error


def _in_image(uri: str, inputs: Path) -> Path:
    reference, path = parse_oci(uri)
    folder = inputs / "oci" / image_folder(reference)
    if not folder.is_dir():
        raise no_image_volume(uri)
    return inside(folder, path)


def no_image_volume(uri: str) -> InputError:
    """That a pod did not get the image that it asked for: most that cannot mount one say nothing."""
    return InputError(
        "NoImageVolumes",
        f"{uri}: the cluster did not mount the image, or it is empty. Image volumes need Kubernetes 1.31 or "
        "newer with the feature gate ImageVolume (on by default from 1.35) in API server and kubelet, and "
        "containerd 2.1 or CRI-O 1.31; else copy the model to a claim and name pvc://claim/path",
    )


def _neighbours(path: Path) -> str:
    """Names that are where a path was looked for, and look like its own."""
    folder = path.parent
    names = [item.name for item in folder.iterdir()] if folder.is_dir() else []
    return similar(path.name, names)


def similar(name: str, names: Iterable[str]) -> str:
    """For messages: names that someone who wrote ``name`` may have meant; empty: none."""
    folded = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), folded, SHOWN_NAMES, 0.7)
    return f"; there is {', '.join(folded[other] for other in close)}" if close else ""


def _hint(scheme: str) -> str:
    return {
        "configmap": " of the ConfigMap and its key",
        "pvc": " of the claim and the path in it",
        "package": " of the file in the Python package",
    }.get(scheme, "")


def package_folder(module: str, uri: str) -> Path:
    """Folder of an installed Python package, found without importing it.

    Raises
    ------
    InputError
        If this image does not have the package.
    """
    found = importlib.util.find_spec(module) if module.isidentifier() else None
    places = list(found.submodule_search_locations or []) if found else []
    if not places:
        raise InputError("MissingPackage", f"{uri}: the worker image has no Python package {module!r}")
    return Path(places[0])


def package_version(module: str) -> str:
    """Version of the distribution that has a module; empty if it says none."""
    names = metadata.packages_distributions().get(module, [])
    return metadata.version(names[0]) if names else ""


def hub_names(uri: str, kind: Kind) -> list[HubName]:
    """What a hub URI may name, the likeliest first.

    Parameters
    ----------
    uri
        ``hf://...``
    kind
        What its repository has to be, unless it says itself.

    Raises
    ------
    InputError
        If it names no such repository.
    """
    check_uri(uri, "model" if kind == "model" else "")
    return [name if name.kind else name._replace(kind=kind) for name in parse_hub(uri)]
