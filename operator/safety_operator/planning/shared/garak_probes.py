"""garak's probes as the planner knows them: the blueprint's lists, families, prompt counts, shards.

``garak_probes.json`` was measured with the garak that it names (``hack/garak/measure.sh``); the tests in the
worker image hold it against the real one. A planner cannot ask garak, which lives in that image.
"""

import difflib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

PROBE_COST = 16
"""What starting a probe and loading its detectors costs, in prompts."""


class Probe(BaseModel):
    """What is known of one probe."""

    model_config = ConfigDict(frozen=True)
    active: bool
    """Whether garak runs it as part of its family."""
    prompts: int | None = None
    """Prompts without a cap; None: unknown, because it makes them while it runs or wants a download."""
    capped: bool = True
    """Whether it keeps to a prompt cap."""
    downloads: Literal["", "primary", "extended"] = ""
    """Under which detectors it needs what garak downloads (models, package and word lists); empty: none."""


class Catalogue(BaseModel):
    """``garak_probes.json``."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    garak_version: str = Field(alias="garakVersion")
    tiers: Mapping[str, tuple[str, ...]]
    """The lists of the safety blueprint, under the probes' present names."""
    probes: Mapping[str, Probe]


class Selection(NamedTuple):
    """The probes that a spec asks for."""

    probes: tuple[str, ...]
    """In the order of the spec, each once."""
    mistake: str = ""
    """What is wrong with the spec, in words; empty if nothing is."""


@cache
def load_catalogue() -> Catalogue:
    """The stored catalogue."""
    return Catalogue.model_validate_json(files(__package__).joinpath("garak_probes.json").read_bytes())


def select_probes(include: Sequence[str], exclude: Sequence[str] = ()) -> Selection:
    """The probes that ``spec.security.garak`` asks for.

    Parameters
    ----------
    include
        Lists (tier1, tier2), families (dan) and single probes (dan.Dan_11_0).
    exclude
        The same, left out.
    """
    wanted: dict[str, None] = {}
    for index, item in enumerate(include):
        found = _expand(item, everything=False)
        if not found:
            return Selection((), _unknown(item, f"spec.security.garak.probes[{index}]"))
        wanted |= dict.fromkeys(found)
    for index, item in enumerate(exclude):
        found = _expand(item, everything=True)
        if not found:
            return Selection((), _unknown(item, f"spec.security.garak.exclude[{index}]"))
        for name in found:
            wanted.pop(name, None)
    if not wanted:
        return Selection((), "spec.security.garak.exclude: nothing is left of probes. Exclude less.")
    return Selection(tuple(wanted))


def find_downloads(probes: Iterable[str], detectors: str) -> tuple[str, ...]:
    """The probes that need something downloaded, under ``primary`` or ``extended`` detectors."""
    table = load_catalogue().probes
    wanted = {"primary"} if detectors == "primary" else {"primary", "extended"}
    return tuple(name for name in probes if name in table and table[name].downloads in wanted)


def _expand(item: str, *, everything: bool) -> tuple[str, ...]:
    """The probes of a list, a family or a name; ``everything`` takes inactive ones of a family too."""
    catalogue = load_catalogue()
    if item in catalogue.tiers:
        return catalogue.tiers[item]
    if "." in item:
        return (item,) if item in catalogue.probes else ()
    family = [(name, probe) for name, probe in catalogue.probes.items() if name.startswith(f"{item}.")]
    return tuple(name for name, probe in family if everything or probe.active)


def _unknown(item: str, where: str) -> str:
    catalogue = load_catalogue()
    inactive = [name for name in catalogue.probes if name.startswith(f"{item}.")]
    if inactive:
        return (
            f"{where}: every probe of the family {item} is inactive in garak {catalogue.garak_version}. "
            f"Name them one by one, such as {inactive[0]}."
        )
    names = [*catalogue.tiers, *catalogue.probes, *{name.partition(".")[0] for name in catalogue.probes}]
    close = difflib.get_close_matches(item, names, n=1)
    hint = f"Did you mean {close[0]}?" if close else "Name tier1, tier2, a family or a probe of it."
    return f"{where}: garak {catalogue.garak_version} has no {item}. {hint}"


def num_prompts(probe: str, cap: int) -> int:
    """Prompts of a probe under a cap; the cap itself where they are unknown."""
    known = load_catalogue().probes.get(probe, Probe(active=True))
    if known.prompts is None:
        return cap
    return min(known.prompts, cap) if known.capped else known.prompts


def shard_probes(
    probes: Iterable[str], shards: int, *, cap: int, generations: int
) -> tuple[tuple[str, ...], ...]:
    """Probes in so many parts, or fewer where there are fewer probes, of nearly the same number of answers.

    Longest first onto the emptiest part (Graham 1969, SIAM Journal on Applied Mathematics 17, 416-429): at
    most 4/3 - 1/(3n) times the best possible. Within a part the longest probe runs first. One part keeps the
    order of the spec.
    """
    names = tuple(probes)
    if shards <= 1 or len(names) <= 1:
        return (names,)
    cost = {name: num_prompts(name, cap) * generations + PROBE_COST for name in names}
    parts: list[list[str]] = [[] for _ in range(min(shards, len(names)))]
    loads = [(0, index) for index in range(len(parts))]
    for name in sorted(names, key=lambda name: (-cost[name], name)):
        load, index = heapq.heappop(loads)
        parts[index].append(name)
        heapq.heappush(loads, (load + cost[name], index))
    return tuple(map(tuple, parts))
