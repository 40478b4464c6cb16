"""Manifests from files, folders, standard input or a kustomization. Used by ``render``."""

import json
import re
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


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes takes it: ``1e-4`` is a number, a date is text, a key may not stand twice."""

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if not pair[0].endswith((":timestamp", ":float"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse keys that stand twice, of which PyYAML keeps the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    problem=f'the key "{key.value}" stands twice', problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


FLOAT = re.compile(
    r"[-+]?(?:\.\d+|\d+\.\d*|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
"""A number with a point or an exponent. PyYAML, of YAML 1.1, takes 1e-4 for a word."""
FLOAT_TAG = "tag:yaml.org,2002:float"
FLOAT_STARTS = list("-+0123456789.")
_Loader.add_implicit_resolver(FLOAT_TAG, FLOAT, FLOAT_STARTS)


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
    """Where each text is from, and the text, which is UTF-8."""
    if name == "-":
        yield "standard input", _decoded("standard input", sys.stdin.buffer.read())
        return
    path = Path(name)
    try:
        paths = (
            sorted(item for item in path.iterdir() if item.suffix in SUFFIXES) if path.is_dir() else [path]
        )
        if not paths:
            raise CliError(f"{name}: the folder holds no manifest ({', '.join(sorted(SUFFIXES))}).")
        for item in paths:
            yield str(item), _decoded(str(item), item.read_bytes())
    except OSError as error:
        raise CliError(f"{error.filename or name}: {error.strerror or error}") from error


def _decoded(where: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CliError(f"{where}: no UTF-8: {error}") from error


def _parse(where: str, text: str) -> list[Manifest]:
    try:
        documents = [_as_json(item) for item in yaml.load_all(text, _Loader)]
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise CliError(f"{where}{line}: no YAML of Kubernetes: {error.problem}") from error
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise CliError(f"{where}: no YAML of Kubernetes: {error}") from error
    return [found for item in documents if item is not None for found in _objects(where, item)]


def _as_json(document: Any) -> Any:
    """What the API server would get: keys are texts, and nothing is binary, infinite or inside itself."""
    return json.loads(json.dumps(document, allow_nan=False, ensure_ascii=False).encode())


def _objects(where: str, document: Any) -> list[Manifest]:
    """The document, or the items of a List."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise CliError(f"{where}: no Kubernetes object (it has no kind).")
    if document["kind"] == "Kustomization":
        return []
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        return [item for part in document["items"] for item in _objects(where, part)]
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise CliError(f"{where}: a {document['kind']} without metadata.name.")
    if not isinstance(metadata.get("namespace") or "", str):
        raise CliError(f"{where}: {document['kind']} {metadata['name']}: metadata.namespace is no text.")
    return [document]
