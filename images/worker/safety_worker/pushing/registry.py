"""Pushing to ``oci://``: an image that image volumes mount and that fetching reads (``/models`` in it).

A layer for each file, a tar that is not compressed, since weights hardly shrink; all of it is made from the
files alone, so that the same model has the same digest everywhere. A registry keeps no blob that is not what
its digest says. https, but for a registry on this very host, as container runtimes have it.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from safety_records.push import RegistryTag, parse_registry_tag
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.pushing.bounded_answers import MAX_ANSWER_BYTES, AnswerTooLargeError, bound_answer
from safety_worker.pushing.registry_auth import RegistryAuth, registry_login
from safety_worker.pushing.target import LocalFile, Seen
from safety_worker.transport.download import TRY_AGAIN
from safety_worker.transport.meter import Meter

FOLDER = "models"
"""Where the model is in the image, as KServe and others look for it."""

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
TITLE = "org.opencontainers.image.title"

KNOWN = (
    f"{MANIFEST}, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
"""What may be at a tag."""

CHUNK_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 300.0
"""Longest silence: a registry reads a whole blob again before it answers."""

LOCAL = frozenset({"localhost", "127.0.0.1"})
"""Registries that are asked by http."""


@dataclass(frozen=True)
class Layer:
    """A file as a layer."""

    file: LocalFile
    digest: str
    size: int


class RegistryTarget:
    """A tag of a repository.

    Parameters
    ----------
    uri
        ``oci://registry/repository:tag``.
    secret
        Docker's configuration with ``auths``; empty: no credentials.

    Raises
    ------
    InputError
        If the credentials are malformed, or not of this registry.
    """

    def __init__(self, uri: str, secret: str, _environment: Mapping[str, str]) -> None:
        self._uri = uri
        self._tag: RegistryTag = parse_registry_tag(uri)
        scheme = "http" if self._tag.host.partition(":")[0] in LOCAL else "https"
        self._base = f"{scheme}://{self._tag.host}/v2/{self._tag.repository}"
        self._auth = RegistryAuth(registry_login(secret, self._tag.registry), self._tag.repository)
        self._layers: tuple[Layer, ...] = ()

    def look(self, files: Sequence[LocalFile]) -> Seen:
        """Compare the digest at the tag with that of the image that the files make."""
        self._layers = self._layers or tuple(_layer(file) for file in files)
        wanted = _digest(_manifest(self._layers))
        with self._client() as client:
            answer = self._ask(client, "GET", f"/manifests/{self._tag.tag}", headers={"Accept": KNOWN})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return Seen(absent=True)
        if _digest(answer.content) == wanted:
            return Seen(frozenset(file.name for file in files), revision=wanted)
        return Seen(other=(f"the tag {self._tag.tag}",))

    def send(self, files: Sequence[LocalFile], seen: Seen, meter: Meter) -> None:
        """Send layers that the repository lacks, and the tag last."""
        del files, seen  # the layers are of these files, and the registry says which it has
        manifest, config = _manifest(self._layers), _config(self._layers)
        with self._client() as client:
            for layer in self._layers:
                self._put_blob(client, layer.digest, layer.size, _tar(layer.file), meter)
            self._put_blob(client, _digest(config), len(config), iter((config,)), meter)
            headers = {"Content-Type": MANIFEST}
            self._ask(client, "PUT", f"/manifests/{self._tag.tag}", content=manifest, headers=headers)

    def pinned(self, revision: str) -> str:
        """With the digest of the image."""
        return f"oci://{self._tag.registry}/{self._tag.repository}@{revision}"

    def _put_blob(
        self, client: httpx.Client, digest: str, size: int, content: Iterator[bytes], meter: Meter
    ) -> None:
        if self._ask(client, "HEAD", f"/blobs/{digest}").is_success:
            meter.found(size)
            return
        begun = self._ask(client, "POST", "/blobs/uploads/", content=b"")
        if "Location" not in begun.headers:
            raise self._refused(begun)
        place = httpx.URL(f"{self._base}/blobs/uploads/").join(begun.headers["Location"])
        self._ask(
            client,
            "PUT",
            str(place.copy_merge_params({"digest": digest})),
            content=_counted(content, meter),
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        )

    def _client(self) -> httpx.Client:
        return httpx.Client(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [bound_answer]},
        )

    def _ask(self, client: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the registry; what it does not have is an answer, too. Other hosts get no credentials."""
        url = path if "://" in path else f"{self._base}{path}"
        own = httpx.URL(url).netloc == httpx.URL(self._base).netloc
        try:
            answer = client.request(method, url, auth=self._auth if own else None, **more)
        except AnswerTooLargeError:
            message = (
                f"{self._uri}: an answer of more than {MAX_ANSWER_BYTES // 2**20} MiB, or a packed one, as no"
                " registry gives: check that a registry is there, and not the page of a proxy"
            )
            raise InfrastructureError("NotARegistry", message) from None
        except httpx.HTTPError as error:
            message = f"{self._uri}: {type(error).__name__} while talking to the registry: check the network"
            raise InfrastructureError("RegistryUnreachable", message) from None
        if answer.is_success or (method in {"GET", "HEAD"} and answer.status_code == httpx.codes.NOT_FOUND):
            return answer
        raise self._refused(answer)

    def _refused(self, answer: httpx.Response) -> WorkerError:
        status = answer.status_code
        if "quota" in answer.text.lower() or status in (413, 507):
            message = "the registry has no room for it, or takes no layer of this size"
            return InputError("TargetFull", f"{self._uri}: {message} (HTTP {status}): free some, or raise it")
        if status in (401, 403):
            return InputError(
                "NotWritable",
                f"{self._uri} may not be written (HTTP {status}): let tokenSecretRef name the configuration "
                f"of Docker with a login of {self._tag.registry} that may push to {self._tag.repository}",
            )
        if status == httpx.codes.NOT_FOUND:
            message = f"{self._uri}: the registry has no such repository: create it, or correct its name"
            return InputError("TargetNotFound", message)
        if status in TRY_AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return InfrastructureError("RegistryUnreachable", f"{self._uri}: HTTP {status}")
        message = f"{self._uri}: the registry refuses it (HTTP {status}): check the name"
        return InputError("PushRefused", message)


def _layer(file: LocalFile) -> Layer:
    digest, size = hashlib.sha256(), 0
    for chunk in _tar(file):
        digest.update(chunk)
        size += len(chunk)
    return Layer(file, f"sha256:{digest.hexdigest()}", size)


def _tar(file: LocalFile) -> Iterator[bytes]:
    """An archive with one file, which depends on its name and content alone."""
    folder = tarfile.TarInfo(f"{FOLDER}/")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    entry = tarfile.TarInfo(f"{FOLDER}/{file.name}")
    entry.size, entry.mode = file.size, 0o644
    yield folder.tobuf(tarfile.GNU_FORMAT) + entry.tobuf(tarfile.GNU_FORMAT)
    with file.path.open("rb") as stream:
        yield from iter(partial(stream.read, CHUNK_BYTES), b"")
    yield bytes(-file.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def _counted(content: Iterator[bytes], meter: Meter) -> Iterator[bytes]:
    for chunk in content:
        yield chunk
        meter.arrived(len(chunk))


def _config(layers: Sequence[Layer]) -> bytes:
    """Image configuration; the platform says nothing about files, but has to be there."""
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    return _json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})


def _manifest(layers: Sequence[Layer]) -> bytes:
    config = _config(layers)
    described = [
        {
            "mediaType": LAYER,
            "digest": layer.digest,
            "size": layer.size,
            "annotations": {TITLE: layer.file.name},
        }
        for layer in layers
    ]
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": _digest(config), "size": len(config)},
            "layers": described,
        }
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
