"""Files of a Hugging Face hub, with the errors of its client turned into ours.

``HF_ENDPOINT`` in the pod's environment names a hub of one's own.
"""

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx

from safety_worker.artifacts.places import RemoteFile
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.uris import HubName

T = TypeVar("T")

ENDPOINT_VARIABLE = "HF_ENDPOINT"
"""Address of a hub other than the public one."""


@dataclass(frozen=True)
class HubPlace:
    """A repository at a commit.

    Parameters
    ----------
    name
        Repository and revision.
    kind
        ``model`` or ``dataset``.
    token
        Access token; None: anonymous.
    endpoint
        Address of the hub; None: the public one.
    commit
        What the revision named when :meth:`at` asked.
    """

    name: HubName
    kind: str
    token: str | None = None
    endpoint: str | None = None
    commit: str = ""

    @classmethod
    def at(cls, name: HubName, kind: str, token: str | None, environment: Mapping[str, str]) -> "HubPlace":
        """The repository as it is now.

        Raises
        ------
        InputError
            If it does not exist or may not be read.
        """
        from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import, and not needed offline

        asked = cls(name, kind, token, environment.get(ENDPOINT_VARIABLE) or None)
        api = HfApi(endpoint=asked.endpoint, token=token)
        info = asked._translated(
            lambda: api.repo_info(name.repository, revision=name.revision, repo_type=kind)
        )
        return replace(asked, commit=str(info.sha))

    def files(self) -> list[RemoteFile]:
        """Every file of the commit."""
        from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import, and not needed offline
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        api = HfApi(endpoint=self.endpoint, token=self.token)

        def ask() -> list[Any]:
            return list(
                api.list_repo_tree(
                    self.name.repository, recursive=True, revision=self.commit, repo_type=self.kind
                )
            )

        found = [item for item in self._translated(ask) if isinstance(item, RepoFile)]
        return [RemoteFile(file.path, file.size or 0, _sha256(file)) for file in found]

    def get(self, files: Sequence[RemoteFile], target: Path) -> None:
        """Bring files; the client continues what it has begun."""
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and not needed offline

        def download() -> object:
            return snapshot_download(
                self.name.repository,
                revision=self.commit,
                repo_type=self.kind,
                allow_patterns=[glob.escape(file.name) for file in files],
                local_dir=str(target),
                token=self.token,
                endpoint=self.endpoint,
            )

        self._translated(download)

    def _translated(self, call: Callable[[], T]) -> T:
        from huggingface_hub import errors  # noqa: PLC0415

        where = f"hf://{self.name.repository}@{self.name.revision}"
        token = "let tokenSecretRef name a token that may read it" if self.token else "set tokenSecretRef"
        try:
            return call()
        except errors.GatedRepoError as error:
            message = f"{where} is gated: accept its terms and {token}"
            raise InputError("GatedRepository", message) from error
        except errors.RevisionNotFoundError as error:
            raise InputError("RevisionNotFound", f"{where} does not exist: check the revision") from error
        except errors.RepositoryNotFoundError as error:
            message = f"{where} does not exist or is private: check the name, or {token}"
            raise InputError("RepositoryNotFound", message) from error
        except errors.OfflineModeIsEnabled as error:
            message = f"{where} cannot be fetched: this cluster runs offline; use pvc://, s3:// or package://"
            raise InputError("HubOffline", message) from error
        except (
            errors.HfHubHTTPError,
            errors.LocalEntryNotFoundError,
            httpx.HTTPError,
            ConnectionError,
        ) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                message = f"{where} may not be read (HTTP {status}): check the name, or {token}"
                raise InputError("NotReadable", message) from error
            raise InfrastructureError(
                "HubUnreachable", f"{where}: {type(error).__name__}: {error}"
            ) from error


def _sha256(file: Any) -> str:
    """Digest of a large file; of small ones a hub says another kind."""
    return str(getattr(file.lfs, "sha256", "") or "") if file.lfs else ""
