"""What garak knows: its probes, the detectors that belong to them, its calibration.

Read from the catalogue inside the package, without importing garak, which takes seconds.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from safety_worker.errors import InfrastructureError

CATALOGUE = "resources/plugin_cache.json"
CALIBRATIONS = "data/calibration"
"""Paths inside the package."""


@cache
def load_probes() -> dict[str, Any]:
    """Garak's probes by name, such as ``dan.DanInTheWild``.

    Raises
    ------
    InfrastructureError
        If this image has no garak.
    """
    catalogue = json.loads((_package() / CATALOGUE).read_text(encoding="utf-8"))
    return {name.removeprefix("probes."): probe for name, probe in catalogue["probes"].items()}


def expected_detectors(probe: Mapping[str, Any], which: str = "primary") -> tuple[str, ...]:
    """Detectors that have to give a result for a probe of the catalogue: its primary one, or all."""
    extended = probe.get("extended_detectors", ()) if which == "extended" else ()
    return tuple(name for name in (probe.get("primary_detector"), *extended) if name)


def find_calibration() -> str:
    """Name and digest of the file with which garak grades; empty if this garak has none.

    garak reads ``calibration.json``, a copy of the newest of the dated files next to it.
    """
    folder = _package() / CALIBRATIONS
    used = folder / "calibration.json"
    if not used.is_file():
        return ""
    content = used.read_bytes()
    copies = sorted(path.name for path in folder.glob("calibration-*.json") if path.read_bytes() == content)
    name = copies[-1] if copies else used.name
    return f"{name} sha256:{hashlib.sha256(content).hexdigest()[:12]}"


def garak_version() -> str:
    """Version of the installed package."""
    return importlib.metadata.version("garak")


def _package() -> Path:
    found = importlib.util.find_spec("garak")
    if found is None or found.origin is None:
        raise InfrastructureError("MissingCode", "this image has no garak")
    return Path(found.origin).parent
