"""Pushing to a Hugging Face hub: all files in one commit, so that a reader sees the old model or the new one.

Large files are sent first, each once: the hub knows them by their digest, also after a kill. The client says
which parts are there already. ``HF_ENDPOINT`` in the pod's environment names a hub of one's own, and
``HF_HUB_DISABLE_XET`` one that takes large files by Git LFS only.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx

from safety_records.push import parse_hub_target
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.pushing.target import LocalFile, Seen, find_stale
from safety_worker.transport.download import TRY_AGAIN
from safety_worker.transport.hub import ENDPOINT_VARIABLE
from safety_worker.transport.meter import Meter

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")

MAIN = "main"
MESSAGE = "Model and card of a SafetyFinetune"
"""Of the commit."""

CHUNK_BYTES = 1024 * 1024

FULL = "storage"
"""What a hub's words about a limit of space hold; others refuse for another reason."""


class HubTarget:
    """A branch of a repository.

    Parameters
    ----------
    uri
        ``hf://organisation/name[@branch]``.
    token
        Access token.
    environment
        Where ``HF_ENDPOINT`` may stand.
    """

    def __init__(self, uri: str, token: str, environment: Mapping[str, str]) -> None:
        from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import
        from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415 - slow to import

        disable_progress_bars()
        self._uri = uri
        self._repository, self._branch = parse_hub_target(uri)
        self._api = HfApi(endpoint=environment.get(ENDPOINT_VARIABLE) or None, token=token)

    def look(self, files: Sequence[LocalFile]) -> Seen:
        """Compare with the branch; one that does not exist starts with what ``main`` has."""
        main = self._commit(MAIN)
        own = main if self._branch == MAIN else self._commit(self._branch)
        base = own or main
        there = self._tree(base) if base else {}
        same = frozenset(file.name for file in files if _is_same(file, there.get(file.name)))
        return Seen(
            same,
            tuple(file.name for file in files if file.name in there and file.name not in same),
            find_stale(there, files),
            # A branch that is where main is was made by a try that was killed, or holds nothing of its own.
            untouched=self._branch != MAIN and own in {"", main},
            revision=own,
            absent=not own,
        )

    def send(self, files: Sequence[LocalFile], seen: Seen, meter: Meter) -> None:
        """Send what is missing, then make it a commit."""
        from huggingface_hub import (  # noqa: PLC0415 - slow to import
            CommitOperationAdd,
            CommitOperationDelete,
        )

        parent = seen.revision or self._create()
        added = []
        for file in files:
            if file.name in seen.same:
                meter.found(file.size)
                continue
            operation = CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.path)
            self._translated(partial(self._upload, operation))
            added.append(operation)
            meter.arrived(file.size)
        removed = [CommitOperationDelete(path_in_repo=name, is_folder=False) for name in seen.stale]
        if added or removed:
            commit = partial(self._api.create_commit, self._repository, [*added, *removed])
            self._translated(
                lambda: commit(commit_message=MESSAGE, revision=self._branch, parent_commit=parent)
            )

    def pinned(self, revision: str) -> str:
        """With the commit."""
        return f"hf://{self._repository}@{revision}"

    def _upload(self, operation: object) -> None:
        self._api.preupload_lfs_files(
            self._repository,
            additions=[operation],  # type: ignore[list-item]
            revision=self._branch,
            free_memory=False,
        )

    def _create(self) -> str:
        """Make repository and branch where they are missing; the branch's commit."""
        name, branch = self._repository, self._branch
        if not self._commit(MAIN):
            self._translated(lambda: self._api.create_repo(name, private=True, exist_ok=True))
        if branch != MAIN:
            self._translated(lambda: self._api.create_branch(name, branch=branch, exist_ok=True))
        return self._commit(branch)

    def _commit(self, branch: str) -> str:
        """Commit of a branch; empty where there is none."""
        from huggingface_hub import errors  # noqa: PLC0415 - slow to import

        def ask() -> str:
            try:
                return str(self._api.repo_info(self._repository, revision=branch).sha)
            except errors.RevisionNotFoundError:
                return ""
            except errors.RepositoryNotFoundError as error:
                if error.response is None or error.response.status_code != httpx.codes.NOT_FOUND:
                    raise
                return ""

        return self._translated(ask)

    def _tree(self, commit: str) -> "dict[str, RepoFile]":
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415 - slow to import

        tree = partial(self._api.list_repo_tree, self._repository, recursive=True)
        found = self._translated(lambda: list(tree(revision=commit)))
        return {item.path: item for item in found if isinstance(item, RepoFile)}

    def _translated(self, call: Callable[[], T]) -> T:
        """A call with the client's errors turned into ours, without their words: addresses are signed."""
        from huggingface_hub import errors  # noqa: PLC0415 - slow to import

        try:
            return call()
        except errors.OfflineModeIsEnabled:
            message = f"{self._uri}: HF_HUB_OFFLINE is set in spec.pod.env: take it out, or push elsewhere"
            raise InputError("HubOffline", message) from None
        except errors.HfHubHTTPError as error:
            raise self._refused(error.response, error.server_message or "") from None
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response, "") from None
        except ValueError:  # also the client's word for a card that the hub does not take
            message = f"{self._uri}: the hub refuses the model card, or what answers is no hub"
            raise InfrastructureError("PushRefused", f"{message}: check {ENDPOINT_VARIABLE}") from None
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, errors.HfHubHTTPError | PermissionError):  # of a large file, by LFS or Xet
                raise self._refused(getattr(cause, "response", None), "", unknown=401) from None
            message = f"{self._uri}: {type(error).__name__} while talking to the hub: check the network, and "
            message += f"for a hub of your own {ENDPOINT_VARIABLE}, and HF_HUB_DISABLE_XET if it has no Xet"
            raise InfrastructureError("HubUnreachable", message) from None

    def _refused(self, response: httpx.Response | None, words: str, unknown: int = 0) -> WorkerError:
        status = response.status_code if response is not None else unknown
        if status in (httpx.codes.INSUFFICIENT_STORAGE, httpx.codes.PAYMENT_REQUIRED) or (
            status == httpx.codes.FORBIDDEN and FULL in words.lower()
        ):
            return InputError(
                "TargetFull",
                f"{self._uri}: the hub has no room for it (HTTP {status}): free some, or raise its limit",
            )
        if status in (401, 403, 404):
            owner = self._repository.partition("/")[0]
            return InputError(
                "NotWritable",
                f"{self._uri} may not be written (HTTP {status}): let tokenSecretRef name a token that may "
                f"write to it, and make repositories of {owner} if it does not exist yet",
            )
        if status in (httpx.codes.CONFLICT, httpx.codes.PRECONDITION_FAILED):
            return InfrastructureError(
                "TargetChanged", f"{self._uri} changed while it was written (HTTP {status})"
            )
        if status and status < httpx.codes.INTERNAL_SERVER_ERROR and status not in TRY_AGAIN:
            message = f"{self._uri}: the hub refuses it (HTTP {status}): check the name"
            return InputError("PushRefused", message)
        return InfrastructureError("HubUnreachable", f"{self._uri}: HTTP {status}")


def _is_same(file: LocalFile, there: "RepoFile | None") -> bool:
    """Whether the hub has this content: it says sha256 of large files, and Git's digest of others."""
    if there is None or there.size != file.size:
        return False
    if there.lfs:
        return bool(there.lfs.sha256 == file.sha256)
    return bool(there.blob_id == _git_digest(file.path))


def _git_digest(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
