"""``kubectl safety watch``: live bars of all resources in a terminal, one line per change in a pipe.

Asks again every few seconds instead of holding a watch: one list of four kinds is small, the operator itself
looks at progress every few seconds, and a lost connection is asked for again.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from safety_cli.errors import EXIT_FAILED, CliError
from safety_cli.eta import Eta
from safety_cli.kubectl import Kubectl, Resource, UnknownKindsError, UnreachableError
from safety_cli.resources import (
    ENDED,
    find,
    label,
    message_of,
    namespace_of,
    ordered,
    progress_text,
    ready_of,
    result_of,
    share_of,
    state_of,
)
from safety_cli.terminal import clean, word
from safety_operator.api.kind_names import KIND_NAMES

BATCH = frozenset(names.kind for names in KIND_NAMES if names.batch)
"""Kinds that come to an end."""
BAR_WIDTH = 24
"""Cells of a bar in a wide terminal."""
NARROW = 100
"""Columns below which bars are short and a resource's text goes below it."""

PATIENCE_SECONDS = 300.0
"""How long an API server may stay away: a control plane that starts anew is back by then."""
LONGEST_PAUSE_SECONDS = 30.0
"""Pauses double up to this while it is away: a server that has too much to do is not asked more."""

Fetch = Callable[[], list[Resource]]


def show(
    console: Console,
    kubectl: Kubectl,
    names: Sequence[str],
    *,
    everywhere: bool,
    seconds: float,
    until_done: bool,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Show resources until Ctrl-C, or until all are done.

    Parameters
    ----------
    names
        ``NAME`` or ``KIND/NAME`` of some of them; empty: all.
    seconds
        Pause between two looks.
    until_done
        Whether to end when nothing more is about to happen: 0 if all is well, 1 if something failed.

    Raises
    ------
    CliError
        If a look fails for another reason than a server that is away for a time, if the first finds no
        kinds, or if the server stays away for longer than ``PATIENCE_SECONDS``.
    """
    away = Away(seconds, clock)
    while True:
        try:
            fetch = _fetcher(kubectl, names, everywhere=everywhere)
            found = fetch()
            break
        except UnreachableError as error:
            if away.note(error):
                _tell(f"{error} It is asked again for up to {PATIENCE_SECONDS / 60:.0f} minutes.")
            sleep(away.pause())
    away.over()
    watcher = Watcher(console, fetch, everywhere, seconds, until_done, sleep, away)
    return watcher.live(found) if console.is_terminal else watcher.lines(found)


def _fetcher(kubectl: Kubectl, names: Sequence[str], *, everywhere: bool) -> Fetch:
    """What gives the wanted resources of one look."""
    if not names:
        return lambda: ordered(kubectl.resources(everywhere=everywhere))
    wanted = {(namespace_of(item), label(item)) for item in (find(kubectl, name) for name in names)}

    def fetch() -> list[Resource]:
        return [item for item in ordered(kubectl.resources()) if (namespace_of(item), label(item)) in wanted]

    return fetch


@dataclass(slots=True)
class Away:
    """How long the API server has been away, and when to ask it again."""

    seconds: float
    """Pause between two looks while it answers."""
    clock: Callable[[], float]
    _since: float | None = None
    _tries: int = 0

    def note(self, error: CliError) -> bool:
        """It did not answer; say whether that is new. Raises CliError once it was away for too long."""
        now = self.clock()
        if self._since is None:
            self._since = now
        elif now - self._since > PATIENCE_SECONDS:
            text = f"Given up after {(now - self._since) / 60:.0f} minutes: {error}"
            raise CliError(text) from error
        self._tries += 1
        return self._tries == 1

    def over(self) -> None:
        """It answers."""
        self._since, self._tries = None, 0

    def pause(self) -> float:
        """Seconds before the next look."""
        longest = max(self.seconds, LONGEST_PAUSE_SECONDS)
        return min(longest, self.seconds * 2.0 ** min(self._tries, 10))


@dataclass(frozen=True, slots=True)
class Watcher:
    """One ``watch``: where it looks and what it shows."""

    console: Console
    fetch: Fetch
    everywhere: bool
    seconds: float
    until_done: bool
    sleep: Callable[[float], None]
    away: Away

    def live(self, found: list[Resource]) -> int:
        """Bars in a terminal."""
        lost, eta = "", Eta()
        with Live(console=self.console, auto_refresh=False) as live:
            while True:
                eta.note(found, time.monotonic())
                width, height = self.console.size
                screen = build_screen(found, width, height, everywhere=self.everywhere, lost=lost, eta=eta)
                live.update(screen, refresh=True)
                if self._ends(found, lost):
                    return verdict(found)
                found, lost = self._look(found)

    def lines(self, found: list[Resource]) -> int:
        """A line for each change."""
        printed: dict[tuple[str, str], str] = {}
        lost = ""
        while True:
            for resource in found:
                key = (namespace_of(resource), label(resource))
                text = _line(resource, everywhere=self.everywhere)
                if printed.get(key) != text:
                    printed[key] = text
                    _print_line(self.console, text)
            if self._ends(found, lost):
                return verdict(found)
            before = lost
            found, lost = self._look(found)
            if bool(lost) != bool(before):
                _tell(lost or "The API server answers again.")

    def _ends(self, found: list[Resource], lost: str) -> bool:
        return self.until_done and not lost and all(is_done(item) for item in found)

    def _look(self, before: list[Resource]) -> tuple[list[Resource], str]:
        """After a pause the resources, or those of the look before and what is wrong."""
        self.sleep(self.away.pause())
        try:
            found = self.fetch()
        except (UnreachableError, UnknownKindsError) as error:
            # The first look found the kinds: a server that starts anew forgets them for a moment.
            self.away.note(error)
            return before, str(error)
        self.away.over()
        return found, ""


def _tell(text: str) -> None:
    """Say to a person, not to what reads the lines."""
    sys.stderr.write(f"{clean(text)}\n")


def _print_line(console: Console, text: str) -> None:
    console.print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {clean(text)}")


def _line(resource: Resource, *, everywhere: bool) -> str:
    return f"{_name(resource, everywhere)} {state_of(resource)}: {_words(resource)}".rstrip(": ")


def is_done(resource: Resource) -> bool:
    """Whether nothing more is about to happen: a scheduled repetition that runs is not done."""
    return state_of(resource) in ENDED and "rerun" not in resource.get("status", {})


def verdict(resources: Sequence[Resource]) -> int:
    """Exit code: 0 if all are ready, else 1. Raises CliError if there are none."""
    if not resources:
        raise CliError("There is nothing to wait for.")
    return 0 if all(ready_of(item) == "True" for item in resources) else EXIT_FAILED


def _words(resource: Resource) -> str:
    """What is shown next to the bar."""
    if ready_of(resource) == "False":
        return message_of(resource)
    if is_done(resource):
        return result_of(resource) or message_of(resource)
    return progress_text(resource)


def build_screen(
    resources: Sequence[Resource],
    width: int,
    height: int,
    *,
    everywhere: bool,
    lost: str = "",
    eta: Eta | None = None,
) -> Group | Text:
    """What a terminal of ``width`` columns and ``height`` lines shows: if not all fit, those that work."""
    notes = [Text(clean(lost), style="yellow")] if lost else []
    if not resources:
        return Group(Text("No resources yet."), *notes)
    per_resource = 1 if width >= NARROW else 2
    room = max(1, (height - 2 - len(notes)) // per_resource)
    shown = list(resources)
    if len(shown) > room:
        working = sorted(shown, key=is_done)[:room]
        shown = [item for item in shown if item in working]
        rest = len(resources) - len(shown)
        notes.append(Text(f"and {rest} more that the window has no room for", style="dim"))
    build = _wide if width >= NARROW else _narrow
    texts = [_words(item) + (eta.words(item) if eta and not is_done(item) else "") for item in shown]
    return Group(build(shown, texts, width, everywhere), *notes)


def _wide(resources: Sequence[Resource], texts: Sequence[str], width: int, everywhere: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    names = [_name(item, everywhere) for item in resources]
    longest = max(len(name) for name in names)
    table.add_column(no_wrap=True, overflow="ellipsis", width=min(longest, width // 3))
    table.add_column(width=BAR_WIDTH)
    table.add_column(no_wrap=True, width=max(len(_share(item)) for item in resources), justify="right")
    table.add_column(no_wrap=True, width=max(len(state_of(item)) for item in resources))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True
    for name, item, text in zip(names, resources, texts, strict=True):
        bar = _bar(item, BAR_WIDTH)
        table.add_row(Text(name), bar, Text(_share(item)), word(state_of(item)), Text(clean(text)))
    return table


def _narrow(resources: Sequence[Resource], texts: Sequence[str], width: int, everywhere: bool) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True
    for item, text in zip(resources, texts, strict=True):
        head = Table.grid(padding=(0, 1, 0, 0), expand=True)
        head.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        head.add_column(width=max(4, width // 5))
        head.add_column(no_wrap=True, width=max(len(state_of(item)), 9))
        head.add_row(Text(_name(item, everywhere)), _bar(item, max(4, width // 5)), word(state_of(item)))
        table.add_row(head)
        table.add_row(Text(f"  {clean(text)}", style="dim"))
    return table


def _name(resource: Resource, everywhere: bool) -> str:
    name = f"{namespace_of(resource)} {label(resource)}" if everywhere else label(resource)
    return clean(name)


def _share(resource: Resource) -> str:
    share = share_of(resource)
    return f"{share.done}/{share.stages}" if share.stages and resource["kind"] in BATCH else ""


def _bar(resource: Resource, width: int) -> ProgressBar:
    failed = ready_of(resource) == "False"
    value = 1.0 if ready_of(resource) == "True" and is_done(resource) else share_of(resource).value
    style = "red" if failed else "green" if value >= 1 else "cyan"
    return ProgressBar(total=1.0, completed=value, width=width, complete_style=style, finished_style=style)
