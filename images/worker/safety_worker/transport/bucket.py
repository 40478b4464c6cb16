"""Files of a bucket: ``s3://``, ``gs://``, and ``memory://`` for tests."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport.credentials import storage_options
from safety_worker.transport.download import CutOffError, ReadFrom
from safety_worker.transport.meter import Meter
from safety_worker.transport.places import RemoteFile, by_size
from safety_worker.transport.ranges import fetch_large
from safety_worker.transport.uris import scheme_of

T = TypeVar("T")

RANGE_BYTES = 16 * 1024 * 1024
"""Bytes of a request: what is lost at most when a connection breaks."""

CONNECTIONS = 4
"""Files at the same time."""

IDENTITIES = ("ETag", "etag", "md5Hash", "generation", "created", "mtime")
"""What file systems call a property that changes with the content."""


LIBRARIES = frozenset({"botocore", "aiobotocore", "aiohttp", "gcsfs", "google"})
"""Whose own errors may come up."""


def open_bucket(uri: str, secret: str, environment: Mapping[str, str]) -> tuple[Any, str]:
    """The file system of a bucket, and the path in it, without a slash at its end.

    Raises
    ------
    InputError
        If the credentials are malformed, or this image lacks the client library.
    """
    options = storage_options(scheme_of(uri), secret, environment)
    # Read when gcsfs is imported. With it on, each bucket is asked for its kind over gRPC, which no
    # emulator and few proxies answer, without a time limit.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        system, base = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        raise InputError(
            "UnsupportedScheme", f"{uri}: this worker image lacks the client library: {error}"
        ) from error
    return system, str(base).rstrip("/")


def is_refused(error: Exception) -> bool:
    """Whether a store does not let in, in the words of s3fs or of gcsfs."""
    code = getattr(error, "code", None)
    return isinstance(error, PermissionError) or code in (401, 403) or str(error).startswith("Forbidden")


class BucketPlace:
    """What is below a prefix of a bucket.

    Parameters
    ----------
    uri
        Bucket and prefix.
    secret, environment
        See ``credentials.storage_options``.

    Raises
    ------
    InputError
        If the credentials are malformed, or this image lacks the client library.
    """

    def __init__(self, uri: str, secret: str, environment: Mapping[str, str]) -> None:
        self._uri = uri
        self._system, self._base = open_bucket(uri, secret, environment)
        self._keys: dict[str, str] = {}

    def files(self) -> list[RemoteFile]:
        """Everything below the prefix; a prefix that is one object gives that object."""
        found = self._translated(lambda: self._system.find(self._base, detail=True))
        files = []
        for key, info in sorted(found.items()):
            if info.get("type", "file") != "file" or str(key).endswith("/"):
                continue
            name = str(key).removeprefix(self._base).removeprefix("/") or Path(key).name
            self._keys[name] = str(key)
            files.append(RemoteFile(name, int(info["size"])))
        return files

    def get(self, files: Sequence[RemoteFile], target: Path, meter: Meter) -> None:
        """Fetch files that :meth:`files` has listed, some at a time, large ones in ranges."""
        small, large = by_size(files)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for done in [pool.submit(self._get_one, file, target / file.name, meter) for file in small]:
                done.result()
        for file in large:
            self._get_one(file, target / file.name, meter)

    @contextmanager
    def reading(self, file: RemoteFile) -> Iterator[ReadFrom]:
        """Read a file in ranges."""
        identity = self._identity(self._keys[file.name])
        yield lambda offset: self._read(file, offset)
        self._check_unchanged(file, identity)

    def _get_one(self, file: RemoteFile, target: Path, meter: Meter) -> None:
        identity = self._identity(self._keys[file.name])
        where = f"{self._uri}: {file.name}"
        fetch_large(where, partial(self._read, file), file.size, identity, target, meter=meter)
        self._check_unchanged(file, identity, target)

    def _read(self, file: RemoteFile, offset: int, end: int | None = None) -> Iterator[bytes]:
        key, behind = self._keys[file.name], file.size if end is None else end
        for start in range(offset, behind, RANGE_BYTES):
            last = min(start + RANGE_BYTES, behind)
            data = self._translated(partial(self._system.cat_file, key, start=start, end=last))
            yield data
            if len(data) != last - start:
                raise CutOffError(f"{len(data)} bytes came of {last - start}")

    def _check_unchanged(self, file: RemoteFile, identity: str, target: Path | None = None) -> None:
        if self._identity(self._keys[file.name]) != identity:
            if target is not None:
                target.unlink()
            raise InfrastructureError(
                "ChangedWhileRead", f"{self._uri}: {file.name} changed while it was read"
            )

    def _identity(self, key: str) -> str:
        def ask() -> dict[str, Any]:
            self._system.invalidate_cache()
            return dict(self._system.info(key))

        info = self._translated(ask)
        return repr([info["size"], *(str(info[name]) for name in IDENTITIES if info.get(name))])

    def _translated(self, call: Callable[[], T]) -> T:
        """A call with the errors of whichever library is behind it turned into ours."""
        try:
            return call()
        except FileNotFoundError as error:
            raise InputError(
                "NotFound", f"{self._uri} holds no files: check the bucket and the prefix"
            ) from error
        except Exception as error:
            if is_refused(error):
                raise self._not_readable(error) from error
            foreign = type(error).__module__.partition(".")[0] in LIBRARIES
            if isinstance(error, OSError) or foreign:
                raise InfrastructureError("StorageUnreachable", f"{self._uri}: {error}") from error
            raise

    def _not_readable(self, error: Exception) -> InputError:
        return InputError(
            "NotReadable",
            f"{self._uri} may not be read: {error}: check the credentials that tokenSecretRef names",
        )
