"""Manifests from files, folders, standard input or a kustomization. Used by ``render``."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from safety_cli.errors import CliError
from safety_cli.kubectl import Kubectl

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Files of a folder that kubectl reads, too."""

Manifest = dict[str, Any]


def read_manifests(files: Sequence[str], kustomizations: Sequence[str]) -> list[Manifest]:
    """All objects of files, folders (not their subfolders), ``-`` and kustomizations, in their order.

    Raises
    ------
    CliError
        If something cannot be read, or is no Kubernetes object.
    """
    found: list[Manifest] = []
    for name in files:
        for where, text in _texts(name):
            found += _parse(where, text)
    for folder in kustomizations:
        found += _parse(folder, Kubectl().run("kustomize", folder))
    return found


def _texts(name: str) -> Iterator[tuple[str, str]]:
    if name == "-":
        yield "standard input", sys.stdin.read()
        return
    path = Path(name)
    paths = sorted(item for item in path.iterdir() if item.suffix in SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise CliError(f"{name}: the folder holds no manifest ({', '.join(sorted(SUFFIXES))}).")
    for item in paths:
        try:
            yield str(item), item.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"{item}: {getattr(error, 'strerror', None) or error}") from error


def _parse(where: str, text: str) -> list[Manifest]:
    try:
        documents = [item for item in yaml.safe_load_all(text) if item is not None]
    except yaml.YAMLError as error:
        raise CliError(f"{where}: no YAML: {error}") from error
    found: list[Manifest] = []
    for document in documents:
        found += _objects(where, document)
    return found


def _objects(where: str, document: Any) -> list[Manifest]:
    """The document, or the items of a List."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise CliError(f"{where}: no Kubernetes object (it has no kind).")
    if document["kind"] == "Kustomization":
        return []
    if document["kind"] == "List":
        return [item for part in document.get("items") or [] for item in _objects(where, part)]
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise CliError(f"{where}: a {document['kind']} without metadata.name.")
    return [document]
