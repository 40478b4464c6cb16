"""``kubectl safety report NAME``: fetches a report and opens its page."""

import os
import shutil
import sys
import webbrowser
from pathlib import Path

from rich.console import Console

from safety_cli.errors import CliError
from safety_cli.fetching import fetch
from safety_cli.kubectl import Kubectl
from safety_cli.resources import find, label
from safety_records.manifest import MANIFEST_NAME
from safety_records.report_files import BLEND_HTML_NAME, FINETUNE_HTML_NAME, HTML_NAME, SERVED_NAMES

PAGES = {
    "SafetyEval": HTML_NAME,
    "SafetyBlend": BLEND_HTML_NAME,
    "SafetyFinetune": FINETUNE_HTML_NAME,
}
"""By kind: the page for people."""
MEANT = ("SafetyEval", "SafetyBlend")
"""Kinds that a name alone means where others have it, too: a fine-tune often has its evaluation's."""


def show(console: Console, kubectl: Kubectl, name: str, *, into: Path | None, browser: bool) -> int:
    """Fetch and open; 0.

    Parameters
    ----------
    into
        Folder for a copy; None: only the cache has it.
    browser
        Whether to open the page where there is a desktop.

    Raises
    ------
    CliError
        If there is no report, or it cannot be fetched.
    """
    resource = find(kubectl, name, MEANT)
    if resource["kind"] not in PAGES:
        raise CliError(f"{label(resource)}: a GuardedDeployment leaves no report.")
    folder = fetch(kubectl, resource)
    if into is not None:
        folder = _copy(folder, into)
    page = folder / PAGES[resource["kind"]]
    console.print(f"{page}", overflow="ignore", no_wrap=True, crop=False)
    if browser and has_desktop():
        # The page holds everything and its own policy forbids it the network.
        webbrowser.open(page.absolute().as_uri())
    return 0


def has_desktop() -> bool:
    """Whether a browser would be a window: in a mere terminal webbrowser starts one that takes it over."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in {"darwin", "win32"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _copy(folder: Path, into: Path) -> Path:
    try:
        into.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            if path.name in SERVED_NAMES | {MANIFEST_NAME}:
                shutil.copyfile(path, into / path.name)
    except OSError as error:
        raise CliError(f"{into}: {error.strerror}") from error
    return into
