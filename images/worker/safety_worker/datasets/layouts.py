"""Which files of a folder hold its data: what tools and people put next to them is left out, with a warning.

Folders that tools have laid out are read by their own lists (``tool_folders``). Whoever means a file that is
left out names it in the URI.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import PurePosixPath
from typing import NamedTuple

from safety_worker.datasets.readers import READERS
from safety_worker.datasets.tool_folders import SHOWN, Names, Read, base_of, listed, select_listed
from safety_worker.errors import InputError
from safety_worker.transport.download import steadily
from safety_worker.transport.file_kinds import PACKED, UNREAD, ending_of, is_hidden, is_housekeeping
from safety_worker.transport.places import Place, RemoteFile, check_name

RECORDS = frozenset({".arrow", ".csv", ".feather", ".jsonl", ".ndjson", ".parquet"})
"""Formats that hold records and nothing else; JSON, YAML and text hold anything."""

PEEK_BYTES = 1024
"""Bytes by which a JSON file among others is known."""

MAX_PEEKS = 32
"""Where there are more JSON files among others, they are data."""

UNMENTIONED = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
"""Files that datasets writes with all data: nobody takes them for data."""

_CACHED_MAP = re.compile(r"cache-[0-9a-f]{8,}(_\d+_of_\d+)?\.arrow|tmp[0-9a-z_]{8}")
_COPY = re.compile(r" ?\(\d{1,3}\)$|[ _-]+copy( ?\(?\d{1,3}\)?)?$", re.IGNORECASE)
"""What file managers and browsers put behind the name of a second copy."""
_WRAPPED = re.compile(rb'"(data|rows)"\s*:\s*\[\s*\{')
"""How records stand in an object, as ``read_json`` takes them."""

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<rest>(\.[^/]*)?)")


class Chosen(NamedTuple):
    """The data of a folder."""

    files: list[RemoteFile]
    left_out: tuple[str, ...]
    """What was left out and why, a sentence for each reason."""


def choose_data(shown: str, place: Place, names: Names, only: str = "*") -> Chosen:
    """The files of a folder that hold its data, sorted by their paths.

    Parameters
    ----------
    shown
        The URI for messages.
    place
        Where lists of shards are read.
    names
        All files below what the URI names.
    only
        Pattern of the names of files that are wanted.

    Raises
    ------
    InputError
        If there are none, or the folder has a layout that must not be read file by file.
    """
    warnings: list[str] = []

    def read(file: RemoteFile, limit: int) -> bytes:
        return _read(shown, place, file, limit)

    left = select_listed(shown, names, read, warnings)
    left = _without(left, is_hidden, "hidden or temporary", warnings)
    unread = [name for name in left if ending_of(name) in UNREAD]
    warnings += [f"{listed(unread)} not read: convert or unpack what is data"] if unread else []
    left = {name: file for name, file in left.items() if ending_of(name) in READERS}
    left = _without(left, is_housekeeping, "about the data or of a tool", warnings)
    left = _without(left, _is_cached_map, "of datasets' cache", warnings)
    left = {name: file for name, file in left.items() if fnmatchcase(base_of(name), only)}
    left = _without(left, lambda name: _unpacked(name) in names, "it is there unpacked as well", warnings)
    left = _without(left, _second_names(left).__contains__, "a link to another file of these", warnings)
    left = _of_one_kind(shown, left, read, warnings)
    warnings += _same_names(left)
    warnings += _missing_shards(shown, left)
    empty = [name for name, file in left.items() if not file.size]
    warnings += [f"{listed(empty)} is empty (0 bytes)"] if empty and len(left) > 1 else []
    if not left:
        raise InputError("NoDataFiles", _nothing(shown, names, only, warnings))
    for name in left:
        check_name(shown, name)
    return Chosen(
        [left[name] for name in sorted(left, key=lambda name: PurePosixPath(name).parts)], tuple(warnings)
    )


def _nothing(shown: str, names: Names, only: str, warnings: list[str]) -> str:
    named = "" if only == "*" else f"is called {only} and "
    wanted = (
        f"{shown} has {len(names)} files, none of them {named}ends in one of {', '.join(sorted(READERS))}"
    )
    return f"{wanted}, or they are left out: {'; '.join(warnings)}" if warnings else wanted


def _without(names: Names, unwanted: Callable[[str], bool], what: str, warnings: list[str]) -> Names:
    out = [name for name in names if unwanted(name)]
    counted = [name for name in out if ending_of(name) in READERS and base_of(name) not in UNMENTIONED]
    if counted:
        warnings.append(f"{listed(counted)} not read: {what}")
    return {name: file for name, file in names.items() if name not in set(out)}


def _unpacked(name: str) -> str:
    """A compressed file's name without the ending of the compression; empty for others."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in PACKED else ""


def _second_names(names: Names) -> set[str]:
    """Links to files that are among the others under a name of their own."""
    own_first = sorted(names, key=lambda name: (not names[name].real_path.endswith(f"/{name}"), name))
    first: dict[str, str] = {}
    return {
        name for name in own_first if (real := names[name].real_path) and first.setdefault(real, name) != name
    }


def _same_names(names: Names) -> Iterator[str]:
    """A sentence for files that differ in their format only, or are copies: they may hold the same rows."""
    stems = {name: (_unpacked(name) or name)[: -len(ending_of(name))] for name in sorted(names)}
    by_stem: dict[str, list[str]] = {}
    for name, stem in stems.items():
        original = _COPY.sub("", stem)
        by_stem.setdefault(original if original in stems.values() else stem, []).append(name)
    for same in by_stem.values():
        if len(same) > 1:
            yield f"{', '.join(same[:SHOWN])} are all read: name one if they hold the same rows"


def _is_cached_map(name: str) -> bool:
    return _CACHED_MAP.fullmatch(base_of(name)) is not None


def _read(shown: str, place: Place, file: RemoteFile, limit: int) -> bytes:
    """The first bytes of a file, at most so many."""
    found = b""
    with place.reading(file) as read_from, closing(steadily(shown, read_from, file.size or None)) as chunks:
        for chunk in chunks:
            found += chunk
            if len(found) >= limit:
                break
    return found[:limit]


def _of_one_kind(shown: str, names: Names, read: Read, warnings: list[str]) -> Names:
    """Without text, YAML and lone JSON objects where other files hold records."""
    endings = {ending_of(name) for name in names}
    if not endings & {*RECORDS, ".json"}:
        if ".txt" in endings and endings & {".yaml", ".yml"}:
            raise InputError(
                "SeveralFormats",
                f"{shown} holds text and YAML, and only you know which are data: name a file",
            )
        return names
    left = _without(
        names, lambda name: ending_of(name) in {".txt", ".yaml", ".yml"}, "next to files of records", warnings
    )
    others = [name for name in left if ending_of(name) == ".json"]
    if not endings & RECORDS or len(others) > MAX_PEEKS:
        return left
    no_records = {name for name in others if not _begins_with_records(read(left[name], PEEK_BYTES))}
    return _without(left, no_records.__contains__, "no list of records", warnings)


def _begins_with_records(head: bytes) -> bool:
    """Whether a JSON file begins as a list of objects does, or as JSON lines; compressed ones count."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith((b"[", b"{")):
        return True
    if text.startswith(b"["):
        return text[1:].lstrip()[:1] in {b"{", b""}
    if _WRAPPED.search(text):
        return True
    first, _, rest = text.partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and bool(rest.strip())
    except ValueError:
        return not rest.strip()


def _missing_shards(shown: str, names: Names) -> Iterator[str]:
    """A sentence for each row of numbered shards that is not whole; one may want a part."""
    found = [match for name in sorted(names) if (match := _SHARD.fullmatch(name))]
    for (stem, total, rest), group in groupby(found, key=lambda m: (m["stem"], int(m["total"]), m["rest"])):
        have = len(list(group))
        if have < total:
            yield f"{shown} has {have} of {total} shards of {stem}{rest}"
