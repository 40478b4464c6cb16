"""Files of a Hugging Face hub, with the errors of its client turned into ours.

``HF_ENDPOINT`` in the pod's environment names a hub of one's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from safety_records.uris import HubName
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.transport.download import (
    TRY_AGAIN,
    CutOffError,
    ReadFrom,
    refused_for_now,
    stream,
)
from safety_worker.transport.meter import Meter
from safety_worker.transport.places import RemoteFile, by_size
from safety_worker.transport.ranges import check_range, fetch_large, range_header

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

ENDPOINT_VARIABLE = "HF_ENDPOINT"
"""Address of a hub other than the public one."""

TIMEOUT_SECONDS = 60.0
"""Longest silence of the hub."""

CONNECTIONS = 4
"""Files at the same time."""

OTHER_KINDS = {"model": "a model", "dataset": "a data set", "space": "a Space"}
"""What a repository of a hub may be."""


@dataclass(frozen=True)
class HubPlace:
    """A repository at a commit.

    Parameters
    ----------
    name
        Repository, revision, and whether it is a model or a data set.
    token
        Access token; None: anonymous.
    endpoint
        Address of the hub; None: the public one.
    commit
        What the revision named when :meth:`at` asked.
    folder
        Only what is below it, under the names below it; empty: everything.
    """

    name: HubName
    token: str | None = None
    endpoint: str | None = None
    commit: str = ""
    folder: str = ""

    @classmethod
    def at(cls, names: Sequence[HubName], token: str | None, environment: Mapping[str, str]) -> "HubPlace":
        """The repository as it is now.

        Parameters
        ----------
        names
            What may be meant, by how many slashes belong to the revision. The first that exists counts: Git
            has no branch ``a/b`` where there is one ``a``.
        token, environment
            Access token, and where ``HF_ENDPOINT`` may stand.

        Raises
        ------
        InputError
            If it does not exist or may not be read.
        """
        endpoint = environment.get(ENDPOINT_VARIABLE) or None
        problem: InputError | None = None
        for name in names:
            try:
                asked = cls(name, token, endpoint)
                return replace(asked, commit=asked._commit())
            except InputError as error:
                if error.reason != "RevisionNotFound":
                    raise
                problem = problem or error
        assert problem is not None
        raise problem

    def _api(self) -> "HfApi":
        from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import, and not needed offline

        return HfApi(endpoint=self.endpoint, token=self.token)

    def _commit(self) -> str:
        name, api = self.name, self._api()
        found = self._translated(
            lambda: api.repo_info(name.repository, revision=name.revision, repo_type=name.kind)
        )
        return str(found.sha)

    def _is_another(self) -> str:
        """What the repository is, where it is not what was asked for; empty where nobody can say."""
        from huggingface_hub import errors  # noqa: PLC0415 - slow to import

        api = self._api()
        for kind, what in OTHER_KINDS.items():
            if kind != self.name.kind:
                try:
                    api.repo_info(self.name.repository, repo_type=kind)
                except (errors.HfHubHTTPError, httpx.HTTPError, OSError, ValueError, LookupError):
                    continue
                return what
        return ""

    def files(self) -> list[RemoteFile]:
        """Every file of the commit."""
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415 - slow to import

        name, api = self.name, self._api()
        listing = partial(api.list_repo_tree, name.repository, recursive=True, repo_type=name.kind)
        everything = self._translated(lambda: list(listing(revision=self.commit)))
        found = [item for item in everything if isinstance(item, RepoFile)]
        return [
            RemoteFile(file.path.removeprefix(self.folder), file.size or 0, _sha256(file))
            for file in found
            if file.path.startswith(self.folder)
        ]

    def get(self, files: Sequence[RemoteFile], target: Path, meter: Meter) -> None:
        """Fetch files, some at a time, each from where an earlier try broke off; large ones in ranges.

        The hub's own client starts over in each process, and a shard of weights is gigabytes.
        """
        small, large = by_size(files)
        with self._client() as client:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                jobs = [pool.submit(self._get_one, client, file, target / file.name, meter) for file in small]
                for done in jobs:
                    done.result()
            for file in large:
                self._get_one(client, file, target / file.name, meter)

    @contextmanager
    def reading(self, file: RemoteFile) -> Iterator[ReadFrom]:
        """Read a file in pieces."""
        with self._client() as client:
            yield lambda offset: self._read(client, file, offset)

    def _client(self) -> httpx.Client:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415

        # httpx gives the token to no other host than the hub's.
        headers = {**build_hf_headers(token=self.token), "Accept-Encoding": "identity"}
        return httpx.Client(headers=headers, follow_redirects=True, timeout=TIMEOUT_SECONDS)

    def _get_one(self, client: httpx.Client, file: RemoteFile, target: Path, meter: Meter) -> None:
        where = f"hf://{self.name.repository}: {file.name}"
        fetch_large(where, partial(self._read, client, file), file.size, self.commit, target, meter=meter)

    def _read(
        self, client: httpx.Client, file: RemoteFile, offset: int, end: int | None = None
    ) -> Iterator[bytes]:
        from huggingface_hub import hf_hub_url  # noqa: PLC0415 - slow to import

        url = hf_hub_url(
            self.name.repository,
            self.folder + file.name,
            repo_type=self.name.kind,
            revision=self.commit,
            endpoint=self.endpoint,
        )

        headers = range_header(offset, end)
        with self._translated(lambda: _open(client, url, headers)) as response:
            if end is not None:
                check_range(response, offset, file.size)
            chunks = response.iter_bytes() if end is None else response.iter_raw()
            yield from stream(response, chunks, offset)

    def _translated(self, call: Callable[[], T]) -> T:
        from huggingface_hub import errors  # noqa: PLC0415 - slow to import

        try:
            return call()
        except (
            errors.HfHubHTTPError,
            errors.HFValidationError,
            errors.LocalEntryNotFoundError,
            httpx.HTTPError,
            ConnectionError,
        ) as error:
            raise self._own_error(error) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            message = (
                "what answers is no hub, but a page of a proxy or another server: check the network, and"
            )
            raise InfrastructureError(
                "HubUnreachable", f"{self._where}: {message} {ENDPOINT_VARIABLE}"
            ) from error

    @property
    def _where(self) -> str:
        return f"hf://{self.name.repository}@{self.name.revision}"

    def _own_error(self, error: Exception) -> WorkerError:
        from huggingface_hub import errors  # noqa: PLC0415 - slow to import

        token = "let tokenSecretRef name a token that may read it" if self.token else "set tokenSecretRef"
        known: dict[type[Exception], tuple[str, str]] = {
            errors.GatedRepoError: ("GatedRepository", f" is gated: accept its terms and {token}"),
            errors.RevisionNotFoundError: (
                "RevisionNotFound",
                " does not exist: the repository has no such branch, tag or commit",
            ),
            errors.DisabledRepoError: (
                "RepositoryDisabled",
                " was disabled by the hub, nobody can read it: name another",
            ),
            errors.RemoteEntryNotFoundError: (
                "EntryNotFound",
                ": the hub lists a file that it does not have: upload it there again",
            ),
            errors.HFValidationError: (
                "InvalidUri",
                ": this is no name of a repository: write hf://organisation/name",
            ),
            errors.OfflineModeIsEnabled: (
                "HubOffline",
                " cannot be fetched: this cluster runs offline; use pvc://, s3:// or package://",
            ),
        }
        for kind, (reason, words) in known.items():
            if isinstance(error, kind):
                return InputError(reason, f"{self._where}{words}")
        if isinstance(error, errors.RepositoryNotFoundError):
            return self._not_found(token)
        return self._refused(error, token)

    def _refused(self, error: Exception, token: str) -> WorkerError:
        """What an answer without words of its own means: those from 400 on are the same at the next try."""
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            message = f"{self._where} may not be read (HTTP {status}): check the name, or {token}"
            return InputError("NotReadable", message)
        if status is not None and status < httpx.codes.INTERNAL_SERVER_ERROR and status not in TRY_AGAIN:
            message = f"{self._where} cannot be read (HTTP {status}): check the name, and {ENDPOINT_VARIABLE}"
            return InputError("NotFound", message)
        words = f"{type(error).__name__}: {error}" if status is None else f"HTTP {status}"
        return InfrastructureError("HubUnreachable", f"{self._where}: {words}")

    def _not_found(self, token: str) -> InputError:
        where, other, wanted = self._where, self._is_another(), OTHER_KINDS[self.name.kind]
        message = f"{where} does not exist as {wanted} or is private: check the name, or {token}"
        if other:
            message = f"{where} is {other}, {wanted} is wanted: name one"
        return InputError("RepositoryNotFound", message)


def _open(client: httpx.Client, url: str, headers: Mapping[str, str]) -> "closing[httpx.Response]":
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # noqa: PLC0415

    try:
        response = client.send(client.build_request("GET", url, headers=dict(headers)), stream=True)
    except httpx.TransportError as error:
        raise CutOffError(type(error).__name__) from error
    if response.status_code in TRY_AGAIN:
        response.close()
        raise refused_for_now(response)
    try:
        hf_raise_for_status(response)
    except Exception:
        response.close()
        raise
    return closing(response)


def _sha256(file: Any) -> str:
    """Digest of a large file; of small ones a hub says another kind."""
    return str(getattr(file.lfs, "sha256", "") or "") if file.lfs else ""
