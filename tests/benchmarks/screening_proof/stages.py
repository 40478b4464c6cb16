"""Runs the worker's stages by hand, each in a process of its own, as pods do. Finished ones stay."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.unit.worker.support.stage_settings import SETTINGS

from safety_records.manifest import MANIFEST_NAME, RESULT_NAME
from safety_records.result import StageResult


class Stages:
    """Stages in one artifact root.

    Parameters
    ----------
    root
        Folder of artifacts and logs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "logs").mkdir(parents=True, exist_ok=True)

    def run(self, out: str, **fields: Any) -> StageResult:
        """Run a stage, or give the result of an earlier run with the same inputs.

        Raises
        ------
        SystemExit
            If the stage fails; its last words are printed.
        """
        spec = self.specification(out, fields)
        if self.done(out) and self.result(out).inputs_hash == spec["inputsHash"]:
            return self.result(out)
        name = out.replace("/", "-")
        path, message, log = (self.root / "logs" / f"{name}.{end}" for end in ("json", "message", "log"))
        path.write_text(json.dumps(spec), encoding="utf-8")
        environment = os.environ | {"SAFETY_TERMINATION_LOG": str(message), "HF_HUB_OFFLINE": "1"}
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as stream:
            command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
            code = subprocess.run(command, env=environment, stdout=stream, stderr=stream, check=False)
        if code.returncode:
            raise SystemExit(f"{out} failed ({code.returncode}):\n{log.read_text(encoding='utf-8')[-3000:]}")
        say(f"{fields['stage']} {out}: {time.monotonic() - started:.0f} s")
        return self.result(out)

    def specification(self, out: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The whole specification of a stage."""
        spec = {"namespace": "n", "kind": "SafetyBlend", "name": "proof", "root": f"file://{self.root}"}
        spec |= {"out": out, **SETTINGS.get(fields["stage"], {}), **fields}
        return spec | {"inputsHash": self._hash(spec)}

    def result(self, out: str) -> StageResult:
        """Result record of a finished stage."""
        return StageResult.model_validate_json((self.root / out / RESULT_NAME).read_bytes())

    def done(self, out: str) -> bool:
        """Whether a stage has finished."""
        return (self.root / out / RESULT_NAME).is_file()

    def write(self, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Write rows as JSON lines; gives the data set's uri."""
        path = self.root / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return {"uri": f"file://{path}"}

    def _hash(self, spec: dict[str, Any]) -> str:
        """Of the specification and of what it reads."""
        found = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
        for text in sorted(set(_strings(spec))):
            path = Path(text.removeprefix("file://")) if text.startswith("file://") else self.root / text
            manifest = path / MANIFEST_NAME
            if text != spec["out"] and manifest.is_file():
                found.update(manifest.read_bytes())
            elif path.is_file():
                found.update(path.read_bytes())
        return found.hexdigest()[:16]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def say(text: str) -> None:
    """One line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201 - what it does, for people
