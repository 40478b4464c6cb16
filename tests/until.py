"""Waits for what a process, a cluster or its controllers do."""

import time
from collections.abc import Callable
from typing import Any


def until(look: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Look again and again until it gives something true; gives that. Fails with what was waited for.

    Looks become rarer, since each may be a process and the cores are those of what is waited for.
    """
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"waited {seconds} s in vain for {what}"
        time.sleep(min(0.5, max(0.1, waited / 10)))
    return found
