"""Benchmarks are run by hand, and rarely: what they import of this repository has to be where they look."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
FOLDER = REPO / "tests/benchmarks"
ROOTS = (REPO, REPO / "operator", REPO / "images/worker", REPO / "images/guardrails", FOLDER)


def find(module: str) -> Path | None:
    """A module's file; None for one of other people, or none."""
    paths = [root / module.replace(".", "/") for root in ROOTS]
    files = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


def is_ours(module: str) -> bool:
    first = module.partition(".")[0]
    return first == "tests" or first.startswith(("safety_", "fake_")) or (FOLDER / f"{first}.py").is_file()


def names_of(file: Path) -> Iterator[str]:
    """What a module defines or imports at its top level."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            )


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_what_a_benchmark_imports_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module or not is_ours(node.module):
            continue
        file = find(node.module)
        known = set(names_of(file)) if file else set()
        for alias in node.names:
            submodule = find(f"{node.module}.{alias.name}")
            assert alias.name in known or submodule, f"from {node.module} import {alias.name}"
