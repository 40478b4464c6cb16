"""Pushing to ``s3://`` and ``gs://``. Each object has the sha256 of its content as metadata, for comparing.

A bucket has no transactions: files are sent one by one, the manifest with the model's digest last, and where
another model gives way, that one's manifest is taken away first. So a prefix with a manifest is complete. S3
compares what arrives with a checksum of each request; of Google's store the client compares the MD5.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from fsspec.callbacks import Callback

from safety_records.manifest import MANIFEST_NAME
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.pushing.target import LocalFile, Seen, find_stale
from safety_worker.transport.bucket import LIBRARIES, is_refused, open_bucket
from safety_worker.transport.meter import Meter
from safety_worker.transport.uris import scheme_of

T = TypeVar("T")

PARTS = 4
"""Parts of a file at the same time, each of 50 MiB or more in memory."""

SHA256 = "sha256"
"""Name of the metadata."""

FULL = re.compile("quota|storagefull|insufficient", re.IGNORECASE)
"""Words of stores without room."""


class BucketTarget:
    """A prefix of a bucket.

    Parameters
    ----------
    uri
        ``s3://bucket/prefix``, ``gs://bucket/prefix``.
    secret, environment
        See ``credentials.storage_options``.

    Raises
    ------
    InputError
        If the credentials are malformed.
    """

    def __init__(self, uri: str, secret: str, environment: Mapping[str, str]) -> None:
        self._uri = uri
        self._google = scheme_of(uri) == "gs"
        self._system, self._base = open_bucket(uri, secret, environment)

    def look(self, files: Sequence[LocalFile]) -> Seen:
        """Compare sizes, and the digests that objects carry."""
        there = self._list()
        same = frozenset(file.name for file in files if self._is_same(file, there))
        other = tuple(file.name for file in files if file.name in there and file.name not in same)
        return Seen(same, other, find_stale(there, files))

    def send(self, files: Sequence[LocalFile], seen: Seen, meter: Meter) -> None:
        """Send the manifest last."""
        if seen.other or seen.stale:
            self._remove(MANIFEST_NAME)
        for name in seen.stale:
            self._remove(name)
        for file in sorted(files, key=lambda file: file.name == MANIFEST_NAME):
            if file.name in seen.same:
                meter.found(file.size)
            else:
                self._translated(partial(self._put, file, meter))

    def pinned(self, _revision: str) -> str:
        """The prefix: buckets know no revisions of it."""
        return self._uri.rstrip("/")

    def _list(self) -> dict[str, int]:
        """Sizes of the objects below the prefix, by name."""

        def ask() -> dict[str, dict[str, Any]]:
            self._system.invalidate_cache()
            # The prefix alone would also be that of prefix-2.
            found: dict[str, dict[str, Any]] = self._system.find(f"{self._base}/", detail=True)
            return found

        found = self._translated(ask)
        return {str(key).removeprefix(f"{self._base}/"): int(info["size"]) for key, info in found.items()}

    def _is_same(self, file: LocalFile, there: Mapping[str, int]) -> bool:
        if there.get(file.name) != file.size:
            return False
        path = f"{self._base}/{file.name}"
        if self._google:
            known = self._translated(lambda: self._system.info(path).get("metadata") or {})
        else:
            known = self._translated(partial(self._system.metadata, path))
        return bool(known.get(SHA256) == file.sha256)

    def _put(self, file: LocalFile, meter: Meter) -> None:
        self._system.put_file(
            str(file.path),
            f"{self._base}/{file.name}",
            callback=_Counter(meter),
            **(
                {"metadata": {SHA256: file.sha256}, "consistency": "md5"}
                if self._google
                else {"Metadata": {SHA256: file.sha256}, "max_concurrency": PARTS}
            ),
        )

    def _remove(self, name: str) -> None:
        """Remove an object; one that is not there is no error in S3, and none here."""

        def remove() -> None:
            with suppress(FileNotFoundError):
                self._system.rm_file(f"{self._base}/{name}")

        self._translated(remove)

    def _translated(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except FileNotFoundError:
            raise InputError(
                "TargetNotFound", f"{self._uri}: there is no such bucket: create it, or correct its name"
            ) from None
        except Exception as error:
            if is_refused(error):
                raise InputError(
                    "NotWritable",
                    f"{self._uri} may not be written: {error}: let tokenSecretRef name credentials that may "
                    "list, read, write and delete objects below this prefix",
                ) from error
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in LIBRARIES:
                raise
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> WorkerError:
        if FULL.search(str(error)):
            return InputError(
                "TargetFull", f"{self._uri}: the store has no room: {error}: free some, or raise its quota"
            )
        return InfrastructureError("StorageUnreachable", f"{self._uri}: {error}")


class _Counter(Callback):  # type: ignore[misc]
    """Tells a meter what was sent."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        self._sent = 0

    def relative_update(self, inc: int = 1) -> None:
        self._meter.arrived(inc)

    def absolute_update(self, value: int) -> None:
        self._meter.arrived(value - self._sent)
        self._sent = value
