"""The grammar of URIs: the one place for it, which schemas, planning and the worker ask.

``hf://[datasets/|models/]organisation/name[@revision][/path]``. A revision may hold slashes: those that hubs
make themselves (``refs/convert/parquet``, ``refs/pr/1``) are known, about others the hub is asked, and
``%2F`` stands for a slash of the revision in any case. An ``@`` behind the name belongs to the path.

``oci://registry/repository[:tag][@sha256:digest][/path]``: an image, with a tag or a digest.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

HUB_URI = rf"hf://((datasets|models)/)?{_NAME}/{_NAME}(@[^/\s][^\s]*)?(/[^\s]*)?"
"""As the regular expressions of Kubernetes know it (RE2)."""

MODEL_URI = rf"^({HUB_URI}|(pvc|s3|gs|package|oci)://[^/\s]+/[^\s]+|file:///[^\s]+)$"
DATA_URI = rf"^({HUB_URI}|(pvc|s3|gs|https?|package|configmap)://[^/\s]+/[^\s]+|file:///[^\s]+)$"

MAX_PARTS = 6
"""Parts of a path that may belong to a revision."""

_HUB_REF = re.compile(r"refs/(convert/[\w.-]+|pr/\d+)(?=/|$)")
_HUBS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_OTHER_KINDS = {
    "spaces": "a Space",
    "buckets": "a bucket",
    "collections": "a collection",
    "papers": "a paper",
}
_BROWSER = re.compile(r"(tree|blob|resolve|raw|blame)/(?P<rest>.+)")
_WRITE = "write hf://organisation/name[@revision][/path]"

_OCI = re.compile(
    r"oci://(?P<reference>[A-Za-z0-9.-]+(:\d{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
    r"(?=[:@])(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?)(/(?P<path>.*))?"
)
MAX_REFERENCE = 200
"""Characters of an image's reference: it is part of a path."""

Kind = Literal["", "model", "dataset"]


class OciName(NamedTuple):
    """An image URI taken apart."""

    reference: str
    """As a container runtime knows it."""
    path: str
    """Folder in it; empty: its root, or ``models`` there."""

    @property
    def is_pinned(self) -> bool:
        """Whether its content can never change."""
        return "@" in self.reference


def parse_oci(uri: str) -> OciName:
    """The image that a URI names.

    Raises
    ------
    ValueError
        If it names none, with what to write.
    """
    found = _OCI.fullmatch(uri)
    if found is None or len(found["reference"]) > MAX_REFERENCE:
        raise ValueError(
            f"write oci://registry/repository@sha256:digest, or :tag, in {MAX_REFERENCE} characters, and a "
            "folder of the image behind it where the model is in one"
        )
    return OciName(found["reference"], (found["path"] or "").strip("/"))


class HubName(NamedTuple):
    """A hub URI taken apart."""

    repository: str
    revision: str = "main"
    path: str = ""
    """File or folder inside the repository; empty: all of it."""
    kind: Kind = ""
    """What the URI says that the repository is; empty: nothing."""

    @property
    def uri(self) -> str:
        """The URI in its shortest form."""
        prefix = f"{self.kind}s/" if self.kind else ""
        path = f"/{self.path}" if self.path else ""
        return f"hf://{prefix}{self.repository}@{self.revision.replace('/', '%2F')}{path}"


def parse_hub(uri: str) -> list[HubName]:
    """What a hub URI may name, the likeliest first: slashes behind ``@`` may belong to the revision.

    Raises
    ------
    ValueError
        If it names no repository, with what to write.
    """
    problem, kind, parts = _hub_parts(uri)
    if problem:
        raise ValueError(problem)
    organisation, name, *rest = parts
    name, at, first = name.partition("@")
    repository, path = f"{organisation}/{name}", [part for part in rest if part]
    if not at:
        return [HubName(repository, "main", "/".join(path), kind)]
    return [HubName(repository, revision, below, kind) for revision, below in _splits([first, *path])]


def _splits(parts: Sequence[str]) -> list[tuple[str, str]]:
    """Revisions and paths that the parts behind ``@`` may be."""
    known = _HUB_REF.match("/".join(parts))
    lengths = [known[0].count("/") + 1] if known else range(1, min(len(parts), MAX_PARTS) + 1)
    return [(unquote("/".join(parts[:length])), "/".join(parts[length:])) for length in lengths]


def _hub_parts(uri: str) -> tuple[str, Kind, list[str]]:
    """Why a hub URI names no repository, what it says the repository is, and the parts from its name on."""
    rest = uri.partition("://")[2]
    parts = rest.strip("/").split("/")
    if parts[0] in _HUBS or rest.startswith(("http://", "https://")):
        return f"this is an address of a browser: {_from_browser(rest) or _WRITE}", "", []
    if parts[0] in _OTHER_KINDS:
        return f"this names {_OTHER_KINDS[parts[0]]}, only models and data sets are read", "", []
    kind: Kind = "dataset" if parts[0] == "datasets" else "model" if parts[0] == "models" else ""
    names = parts[1:] if kind else parts
    if re.fullmatch(HUB_URI, f"hf://{'/'.join(names)}") is None:
        return _WRITE, "", []
    return "", kind, names


def browser_address(name: HubName) -> str:
    """What to write in place of an address that was copied from a browser; empty where it is none."""
    found = _BROWSER.fullmatch(name.path)
    if found is None:
        return ""
    revision, path = _splits(found["rest"].split("/"))[0]
    return f"write {name._replace(revision=revision, path=path).uri}"


def find_problem(uri: str, wanted: Kind = "") -> str:
    """What is wrong with a URI that its schema lets through, and what to write; empty: nothing.

    Parameters
    ----------
    uri
        Of a model or of data.
    wanted
        What a hub's repository has to be; empty: either.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in {"http", "https"}:
        if not _is_address(uri):
            return "this is no address: write https://host/path, with a port up to 65535"
        better = _from_browser(uri)
        return f"this is a page for browsers, not a file: {better}" if better else ""
    if ".." in unquote(rest).split("/"):
        return "'..' leads out of the place that is named: write the path itself"
    if "*" in rest:
        return "patterns are not read: name a folder, whose data files are all read, or a file"
    if scheme == "oci":
        return _oci_problem(uri)
    return _hub_problem(uri, wanted) if scheme == "hf" else ""


def _oci_problem(uri: str) -> str:
    try:
        parse_oci(uri)
    except ValueError as error:
        return str(error)
    return ""


def _is_address(uri: str) -> bool:
    try:
        found = urlsplit(uri)
        return bool(found.hostname) and found.port != 0
    except ValueError:
        return False


def _hub_problem(uri: str, wanted: Kind) -> str:
    try:
        name = parse_hub(uri)[0]
    except ValueError as error:
        return str(error)
    if wanted and name.kind not in {"", wanted}:
        what = {"dataset": "a data set", "model": "a model"}
        return f"this names {what[name.kind]}, {what[wanted]} is wanted"
    at_main = name.path.split("/")[1:2] == ["main"] and "@" not in uri
    better = browser_address(name) if at_main else ""
    return f"this is an address of a browser: {better}" if better else ""


def _from_browser(address: str) -> str:
    """What to write in place of the address of a page that shows a file; empty where it may be a file."""
    found = urlsplit(address if "://" in address else f"https://{address}")
    parts = [part for part in found.path.split("/") if part]
    if found.hostname in _HUBS and not {"resolve", "raw"} & set(parts):
        return _from_hub(parts)
    if "raw=" in found.query:
        return ""
    if found.hostname == "github.com" and len(parts) > 4 and parts[2] == "blob":  # noqa: PLR2004
        return f"write https://raw.githubusercontent.com/{'/'.join([*parts[:2], *parts[3:]])}"
    if "/-/blob/" in found.path:
        return f"write {address.replace('/-/blob/', '/-/raw/')}"
    return ""


def _from_hub(parts: list[str]) -> str:
    kind: Kind = "dataset" if parts[:1] == ["datasets"] else "model" if parts[:1] == ["models"] else ""
    names = parts[1:] if kind else parts
    if (parts[:1] and parts[0] in _OTHER_KINDS) or len(names) < 2:  # noqa: PLR2004
        return _WRITE
    name = HubName("/".join(names[:2]), "main", "/".join(names[2:]), kind)
    return browser_address(name) or f"write hf://{'/'.join(parts)}"
