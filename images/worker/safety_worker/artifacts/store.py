"""The artifact store: folders of a mounted claim, complete when they have a manifest.

Every file in it is exact the moment it is written: what a killed try has left is there for the next one.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safety_records.manifest import MANIFEST_NAME, RESULT_NAME, Manifest
from safety_records.result import Artifact, StageResult
from safety_worker.artifacts.digests import build_manifest, sha256_file
from safety_worker.artifacts.files import atomic_write_text, fsync_path, inside
from safety_worker.errors import InfrastructureError, InputError

VERIFY_BYTES = 256 * 1024 * 1024
"""Files up to this size are hashed when a folder is read; larger ones (weights) are compared by size,
because hashing gigabytes at each start costs more than it finds."""


Finish = Callable[[StageResult], StageResult]


class ArtifactStore:
    """Folders below one root.

    Parameters
    ----------
    root
        URI of a folder, such as ``file:///artifacts``.

    Raises
    ------
    InputError
        If it is another kind of URI: artifacts are on claims.
    """

    def __init__(self, root: str) -> None:
        if not root.startswith("file:///"):
            raise InputError("UnsupportedArtifactStore", f"{root} is no folder: artifacts are on a claim")
        self._root = Path(root.removeprefix("file://"))

    def path(self, relative: str) -> Path:
        """Local path of something in the store.

        Raises
        ------
        InputError
            If the path leaves the store.
        """
        try:
            return inside(self._root, relative)
        except ValueError as error:
            raise InputError("PathOutsideStore", str(error)) from error

    def output(self, out: str) -> Path:
        """Local folder for a stage's output, with whatever an earlier try has left in it."""
        folder = self.path(out)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def input(self, relative: str) -> Path:
        """Local folder of a complete artifact, checked against its manifest.

        Raises
        ------
        InfrastructureError
            If it has no manifest, or a file is missing or differs.
        """
        folder = self.path(relative)
        manifest = self.manifest(relative)
        if manifest is None:
            raise InfrastructureError(
                "IncompleteArtifact",
                f"{relative} has no {MANIFEST_NAME}: the stage that makes it has to run again",
            )
        for file in manifest.files:
            path = folder / file.path
            if not path.is_file() or path.stat().st_size != file.size:
                raise InfrastructureError(
                    "DamagedArtifact", f"{relative}/{file.path} is missing or has another size"
                )
            if file.size <= VERIFY_BYTES and sha256_file(path) != file.sha256:
                raise InfrastructureError("DamagedArtifact", f"{relative}/{file.path} has another digest")
        return folder

    def manifest(self, relative: str) -> Manifest | None:
        """The folder's manifest; None if it is not complete."""
        text = self._read(f"{relative}/{MANIFEST_NAME}")
        return None if text is None else Manifest.model_validate_json(text)

    def load_result(self, out: str, inputs_hash: str) -> StageResult | None:
        """The stored result of a complete stage with the same inputs; None if it has to run."""
        try:
            manifest = self.manifest(out)
            text = self._read(f"{out}/{RESULT_NAME}")
            if manifest is None or text is None or manifest.inputs_hash != inputs_hash:
                return None
            result = StageResult.model_validate_json(text)
        except ValidationError:  # written by another version: run again
            return None
        return result if result.inputs_hash == inputs_hash and result.failure is None else None

    def complete(
        self, out: str, result: StageResult, paths: list[str] | None = None, add: Finish | None = None
    ) -> StageResult:
        """Finish a stage's folder: hash it, write the result, write the manifest last.

        Parameters
        ----------
        out
            Output folder.
        result
            The stage's result; ``output`` is filled in unless the stage has set it.
        paths
            Files that count as the artifact; None: all.
        add
            Gets the result with its output, and gives what is recorded, before the folder is complete.
        """
        folder = self.output(out)
        manifest = build_manifest(folder, result.inputs_hash, paths)
        for file in manifest.files:
            fsync_path(folder / file.path)
        if result.output is None:
            size = sum(file.size for file in manifest.files)
            result = result.model_copy(
                update={"output": Artifact(uri=out, digest=manifest.digest, bytes=size)}
            )
        result = add(result) if add else result
        atomic_write_text(folder / RESULT_NAME, result.to_json())
        atomic_write_text(folder / MANIFEST_NAME, manifest.to_json())
        return result

    def touch(self, out: str) -> None:
        """Say that a complete folder is in use again, to whoever deletes old ones."""
        os.utime(self.path(f"{out}/{MANIFEST_NAME}"))

    def read_json(self, relative: str) -> Any:
        """A JSON file of the store; None if it is not there."""
        text = self._read(relative)
        return None if text is None else json.loads(text)

    def warnings_of(self, folders: Iterable[str]) -> tuple[str, ...]:
        """Warnings of finished stages by their folders, each once; an empty name is no folder."""
        results = [self.read_json(f"{folder}/{RESULT_NAME}") or {} for folder in folders if folder]
        return tuple(dict.fromkeys(text for result in results for text in result.get("warnings") or ()))

    def write_json(self, relative: str, value: Any) -> None:
        """Write a JSON file atomically."""
        atomic_write_text(self.path(relative), json.dumps(value, sort_keys=True, indent=1))

    def _read(self, relative: str) -> str | None:
        try:
            return self.path(relative).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
