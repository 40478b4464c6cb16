"""Models that stay on the claim or in the image that they came in, without a copy.

Such a model has a folder of links in the artifact store (``models/model_store.py`` of the worker). Its path
says which volume the links lead to: whoever reads the model needs that volume at the same place, and the
operator mounts it wherever a specification or a server names the path.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote

from safety_records.uris import parse_oci

INPUTS = "/inputs"
"""Where volumes are mounted that pods read."""

_PATH = re.compile(r"[a-z0-9-]+/models/in-place/(?P<kind>pvc|oci)/(?P<name>[^/]+)/[0-9a-f]{16}/[0-9a-f]{64}")


class Volume(NamedTuple):
    """A volume that a model stays on."""

    kind: Literal["pvc", "oci"]
    name: str
    """Name of the claim, or reference of the image."""

    @property
    def path(self) -> str:
        """Where it is mounted, in every pod that reads it."""
        return f"{INPUTS}/{self.kind}/{self.name if self.kind == 'pvc' else image_folder(self.name)}"


def image_folder(reference: str) -> str:
    """Name of the folder at which an image is mounted: a reference holds what no path should."""
    return hashlib.sha256(reference.encode()).hexdigest()[:16]


def stays_in_place(uri: str) -> bool:
    """Whether a model is used where it is: on a volume that every pod can mount, and in a form of its own."""
    return uri.startswith(("pvc://", "oci://")) and not uri.endswith(".gguf")


def volume_of_uri(uri: str) -> Volume | None:
    """The volume that a model's URI names; None where models are copied from."""
    scheme, _, rest = uri.partition("://")
    if scheme == "pvc":
        return Volume("pvc", rest.partition("/")[0])
    return Volume("oci", parse_oci(uri).reference) if scheme == "oci" else None


def in_place_path(models: str, uri: str, digest: str) -> str:
    """Folder of the links to a model, relative to the artifact root.

    Parameters
    ----------
    models
        The folder of the namespace's models.
    uri
        ``pvc://`` or ``oci://``.
    digest
        Of the model, as ``sha256:`` and hexadecimal digits.
    """
    volume = volume_of_uri(uri)
    if volume is None:
        raise ValueError(uri)
    place = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return f"{models}/in-place/{volume.kind}/{quote(volume.name, safe='')}/{place}/{digest[7:]}"


def volume_of_path(path: str) -> Volume | None:
    """The volume that a model's folder in the store needs; None for one that is a copy."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    return Volume("pvc" if found["kind"] == "pvc" else "oci", unquote(found["name"]))


def volumes_in(value: Any) -> tuple[Volume, ...]:
    """All volumes that paths anywhere in a JSON value need, each once."""
    found = (volume_of_path(text) for text in _texts(value))
    return tuple(sorted({volume for volume in found if volume is not None}))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for item in inner:
            yield from _texts(item)
