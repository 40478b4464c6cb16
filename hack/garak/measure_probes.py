"""Count the prompts of every probe that garak knows, inside the worker image.

Prints what ``store_probes.py`` writes into the planner's table; ``hack/garak/measure.sh`` runs both.
Each count runs in a forked process with a time limit, offline: a probe that wants a download has no count.
"""

import importlib.metadata
import json
import os
import random
import signal
import sys
from pathlib import Path

from garak import _config, _plugins

CAPS = (16, 256, 100_000)
"""Prompt caps to count under: a small one, garak's default, and the largest that the API takes."""

LIMIT_SECONDS = 120


def main() -> None:
    """Count and print."""
    import garak.services.langservice  # noqa: PLC0415 - once, before the forks

    _config.load_base_config()
    _config.transient.reportfile = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    cache = json.loads(
        (Path(garak.__file__).parent / "resources/plugin_cache.json").read_text(encoding="utf-8")
    )
    fetching = find_fetching(cache["detectors"])
    found = {}
    for name, about in sorted(cache["probes"].items()):
        short = name.removeprefix("probes.")
        if short.startswith("base."):  # what probes are made from
            continue
        counts = [measure(name, cap) for cap in CAPS]
        found[short] = describe(about, counts) | downloads(short, about, fetching)
        print(short, counts, file=sys.stderr, flush=True)
    print(json.dumps({"garakVersion": importlib.metadata.version("garak"), "probes": found}))


FETCHES = {"detector_model_path", "dataset_name"}
"""Parameters of detectors that name a model or a data set on the hub."""

OWN_DOWNLOADS = {
    *("topic.WordnetAllowedWords", "topic.WordnetBlockedWords", "topic.WordnetControversial"),
    *("ansiescape.AnsiRawTokenizerHF", "atkgen.Tox"),
}
"""Probes that fetch something themselves."""


def find_fetching(detectors: dict) -> set[str]:
    """Detectors that fetch a model or a data set."""
    found = {name for name, about in detectors.items() if FETCHES & set(about.get("DEFAULT_PARAMS") or ())}
    return {name.removeprefix("detectors.") for name in found}


def downloads(name: str, about: dict, fetching: set[str]) -> dict[str, str]:
    """Under which detectors a probe needs a download; empty for none."""
    if about.get("primary_detector") in fetching or name in OWN_DOWNLOADS:
        return {"downloads": "primary"}
    return {"downloads": "extended"} if fetching & set(about.get("extended_detectors", ())) else {}


def describe(about: dict, counts: list[int | None]) -> dict[str, object]:
    """A probe's row of the table."""
    small, default, full = counts
    most = full if full is not None else default
    return {
        "active": bool(about["active"]),
        "prompts": most,
        "capped": small is None or small < (most or 0),
    }


def measure(name: str, cap: int) -> int | None:
    """Prompts of a probe under a cap; None where it has no list of prompts, or cannot load offline."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_SECONDS)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        try:
            random.seed(42)
            _config.run.soft_probe_prompt_cap = cap
            _config.run.seed = 42
            count = str(len(_plugins.load_plugin(name).prompts))
        except BaseException:  # noqa: BLE001 - whatever it is, there is no count
            count = ""
        os.write(writer, count.encode())
        os._exit(0)
    os.close(writer)
    text = os.read(reader, 32).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return int(text) if text else None


if __name__ == "__main__":
    main()
