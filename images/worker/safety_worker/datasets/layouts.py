"""Which files of a folder hold its data: what tools and people put beside them is left out, and that is said.

Two layouts have lists of their own, which are followed: a folder that ``datasets`` saved (``save_to_disk``:
``state.json`` names the shards, ``dataset_dict.json`` the splits), and the cache of a hub's client
(``snapshots/COMMIT``). Whoever means a file that is left out names it in the URI.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from safety_worker.artifacts.download import steadily
from safety_worker.artifacts.kinds import PACKED, ending_of, is_hidden, is_housekeeping
from safety_worker.artifacts.places import Place, RemoteFile
from safety_worker.datasets.readers import READERS
from safety_worker.errors import InputError

RECORDS = frozenset({".arrow", ".csv", ".feather", ".jsonl", ".ndjson", ".parquet"})
"""Formats that hold records and nothing else; JSON, YAML and text hold anything."""

PEEK_BYTES = 1024
"""Bytes by which a JSON file beside others is known."""

MAX_PEEKS = 32
"""Where there are more JSON files beside others, they are data."""

MAX_LIST_BYTES = 16 * 1024 * 1024
"""Size from which a list of shards is none."""

SHOWN = 3
"""Names in a sentence."""

UNMENTIONED = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
"""Files that datasets puts beside all data: nobody takes them for data."""

_CACHED_MAP = re.compile(r"cache-[0-9a-f]{8,}(_\d+_of_\d+)?\.arrow|tmp[0-9a-z_]{8}")
_BUILD = re.compile(r"[0-9a-f]{16,64}")
_SNAPSHOT = re.compile(r"(?P<root>(.*/)?)snapshots/(?P<commit>[0-9a-f]{40})/.+")
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<rest>(\.[^/]*)?)")

Names = dict[str, RemoteFile]
"""Files by their path below what the URI names."""

Read = Callable[[RemoteFile, int], bytes]
"""The first bytes of a file, at most so many."""


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
    said: list[str] = []

    def read(file: RemoteFile, limit: int) -> bytes:
        return _read(shown, place, file, limit)

    _refuse_tables(shown, names)
    left = _newest_snapshots(shown, names, read, said)
    left = _saved_shards(shown, left, read, said)
    left = _without(left, is_hidden, "hidden or temporary", said)
    left = {name: file for name, file in left.items() if ending_of(name) in READERS}
    left = _without(left, is_housekeeping, "about the data or of a tool", said)
    left = _without(left, _is_cached_map, "of datasets' cache", said)
    _refuse_versions(shown, left, names)
    left = {name: file for name, file in left.items() if fnmatchcase(_base(name), only)}
    left = _without(left, lambda name: _unpacked(name) in names, "the same lies there unpacked", said)
    left = _of_one_kind(shown, left, read, said)
    said += _same_names(left)
    said += _missing_shards(shown, left)
    empty = [name for name, file in left.items() if not file.size]
    said += [f"{_listed(empty)}: empty (0 bytes)"] if empty and len(left) > 1 else []
    if not left:
        raise InputError("NoDataFiles", _nothing(shown, names, only, said))
    return Chosen(
        [left[name] for name in sorted(left, key=lambda name: PurePosixPath(name).parts)], tuple(said)
    )


def _nothing(shown: str, names: Names, only: str, said: list[str]) -> str:
    named = "" if only == "*" else f"is called {only} and "
    wanted = (
        f"{shown} has {len(names)} files, none of them {named}ends in one of {', '.join(sorted(READERS))}"
    )
    return f"{wanted}, or they are left out: {'; '.join(said)}" if said else wanted


def _without(names: Names, unwanted: Callable[[str], bool], what: str, said: list[str]) -> Names:
    out = [name for name in names if unwanted(name)]
    counted = [name for name in out if ending_of(name) in READERS and _base(name) not in UNMENTIONED]
    if counted:
        said.append(f"{_listed(counted)}: {what}")
    return {name: file for name, file in names.items() if name not in set(out)}


def _unpacked(name: str) -> str:
    """A compressed file's name without the ending of the compression; empty for others."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in PACKED else ""


def _same_names(names: Names) -> Iterator[str]:
    """A sentence for files that differ in their format only: they may hold the same rows."""
    by_stem: dict[str, list[str]] = {}
    for name in sorted(names):
        by_stem.setdefault((_unpacked(name) or name).removesuffix(ending_of(name)), []).append(name)
    for same in by_stem.values():
        if len(same) > 1:
            yield f"{', '.join(same[:SHOWN])} are all read: name one if they hold the same rows"


def _listed(names: Iterable[str]) -> str:
    all_names = sorted(names)
    more = f" and {len(all_names) - SHOWN} more" if len(all_names) > SHOWN else ""
    return f"{', '.join(all_names[:SHOWN])}{more} not read"


def _is_cached_map(name: str) -> bool:
    return _CACHED_MAP.fullmatch(_base(name)) is not None


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _read(shown: str, place: Place, file: RemoteFile, limit: int) -> bytes:
    """The first bytes of a file, at most so many."""
    found = b""
    with place.reading(file) as read_from, closing(steadily(shown, read_from, file.size or None)) as chunks:
        for chunk in chunks:
            found += chunk
            if len(found) >= limit:
                break
    return found[:limit]


def _refuse_tables(shown: str, names: Names) -> None:
    """Refuse tables whose folders keep rows that were deleted or replaced."""
    parts = {part for name in names for part in PurePosixPath(name).parts[:-1]}
    kind = "Delta" if "_delta_log" in parts else "Hudi" if ".hoodie" in parts else ""
    if any(name.endswith(".metadata.json") and "metadata/" in name for name in names):
        kind = "Iceberg"
    if kind:
        raise InputError(
            "TableFormat",
            f"{shown} is a table of {kind}, whose folder keeps rows that were deleted or replaced: export it "
            "as Parquet and name that",
        )


def _refuse_versions(shown: str, left: Names, names: Names) -> None:
    """Refuse a cache of ``datasets`` that holds several builds of a data set: rows would come twice."""
    builds: dict[PurePosixPath, set[str]] = {}
    for folder in {PurePosixPath(name).parent for name in left if ending_of(name) == ".arrow"}:
        if _BUILD.fullmatch(folder.name) and _join(str(folder), "dataset_info.json") in names:
            builds.setdefault(folder.parent, set()).add(folder.name)
    several = [found for found in builds.values() if len(found) > 1]
    if several:
        raise InputError(
            "SeveralVersions",
            f"{shown} is datasets' cache of the same data {len(several[0])} times: name one of the folders "
            f"{', '.join(sorted(several[0])[:SHOWN])}",
        )


def _newest_snapshots(shown: str, names: Names, read: Read, said: list[str]) -> Names:
    """Of a hub's cache the files of one commit; everything of any other folder."""
    commits: dict[str, set[str]] = {}
    for name in names:
        found = _SNAPSHOT.fullmatch(name)
        if found:
            commits.setdefault(found["root"], set()).add(found["commit"])
    wanted = {root: _commit(shown, root, found, names, read) for root, found in commits.items()}
    roots = tuple(f"{root}{part}/" for root in wanted for part in ("snapshots", "blobs", "refs", ".no_exist"))
    kept = tuple(f"{root}snapshots/{commit}/" for root, commit in wanted.items())
    old = [name for name in names if name.startswith(roots) and not name.startswith(kept)]
    if any(len(found) > 1 for found in commits.values()):
        said.append(f"commits of the hub's cache other than {', '.join(sorted(wanted.values()))} not read")
    return {name: file for name, file in names.items() if name not in set(old)}


def _commit(shown: str, root: str, commits: set[str], names: Names, read: Read) -> str:
    if len(commits) == 1:
        return next(iter(commits))
    main = names.get(f"{root}refs/main")
    named = read(main, 100).decode("ascii", "replace").strip() if main else ""
    if named in commits:
        return named
    raise InputError(
        "SeveralSnapshots",
        f"{shown} is a hub's cache with {len(commits)} commits: name one of its folders snapshots/COMMIT",
    )


def _saved_shards(shown: str, names: Names, read: Read, said: list[str]) -> Names:
    """Of folders that ``datasets`` saved the shards that they list; of other folders everything."""
    states = {name: _object(names[name], read) for name in names if _base(name) == "state.json"}
    saved = {
        str(PurePosixPath(name).parent): state for name, state in states.items() if "_data_files" in state
    }
    wanted: set[str] = set()
    for folder, state in saved.items():
        if state.get("_indices_data_files"):
            raise InputError(
                "IndicesNotRead",
                f"{shown}: {folder} was saved with a list of rows beside the rows: load it with datasets, "
                "call flatten_indices(), and save it again",
            )
        wanted |= {_join(folder, shard) for shard in _shards(state)}
    missing = sorted(wanted - names.keys())
    if missing:
        raise InputError("ShardMissing", f"{shown}: {_listed(missing)}: state.json lists it: copy it as well")
    dropped = _unlisted_splits(shown, names, read)
    out = [name for name in names if _is_extra(name, saved, wanted) or _below(name, dropped)]
    extra = [name for name in out if ending_of(name) == ".arrow"]
    if extra:
        said.append(f"{_listed(extra)}: datasets does not list it")
    return {name: file for name, file in names.items() if name not in set(out)}


def _is_extra(name: str, saved: Iterable[str], wanted: set[str]) -> bool:
    return name not in wanted and _below(name, saved)


def _below(name: str, folders: Iterable[str]) -> bool:
    return any(folder == "." or name.startswith(f"{folder}/") for folder in folders)


def _unlisted_splits(shown: str, names: Names, read: Read) -> set[str]:
    """Folders beside the splits that ``dataset_dict.json`` lists, with something that was saved before."""
    dropped: set[str] = set()
    for name in [name for name in names if _base(name) == "dataset_dict.json"]:
        splits = _object(names[name], read).get("splits")
        folder = str(PurePosixPath(name).parent)
        if not isinstance(splits, list):
            continue
        have = {
            str(PurePosixPath(other).parent)
            for other in names
            if _base(other) == "state.json" and str(PurePosixPath(other).parent.parent) == folder
        }
        listed = {_join(folder, str(split)) for split in splits}
        if listed - have:
            raise InputError(
                "SplitMissing",
                f"{shown}: the split {_listed(listed - have)}: dataset_dict.json lists it: copy it as well",
            )
        dropped |= have - listed
    return dropped


def _join(folder: str, name: str) -> str:
    return str(PurePosixPath(folder, name))


def _shards(state: Mapping[str, Any]) -> Iterator[str]:
    files = state["_data_files"]
    for item in files if isinstance(files, list) else []:
        if isinstance(item, dict) and isinstance(item.get("filename"), str):
            yield item["filename"]


def _object(file: RemoteFile, read: Read) -> dict[str, Any]:
    """The JSON object of a file; empty if it holds none."""
    try:
        value = json.loads(read(file, MAX_LIST_BYTES))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _of_one_kind(shown: str, names: Names, read: Read, said: list[str]) -> Names:
    """Without text, YAML and lone JSON objects where other files hold records."""
    endings = {ending_of(name) for name in names}
    if not endings & {*RECORDS, ".json"}:
        if ".txt" in endings and endings & {".yaml", ".yml"}:
            raise InputError(
                "SeveralFormats",
                f"{shown} holds text and YAML, and only you know which are data: name a file",
            )
        return names
    left = _without(names, lambda name: ending_of(name) in {".txt", ".yaml", ".yml"}, "beside records", said)
    others = [name for name in left if ending_of(name) == ".json"]
    if not endings & RECORDS or len(others) > MAX_PEEKS:
        return left
    no_records = {name for name in others if not _begins_with_records(read(left[name], PEEK_BYTES))}
    return _without(left, no_records.__contains__, "no list of records", said)


def _begins_with_records(head: bytes) -> bool:
    """Whether a JSON file begins as a list of objects does, or as JSON lines; compressed ones count."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith((b"[", b"{")):
        return True
    if text.startswith(b"["):
        return text[1:].lstrip()[:1] in {b"{", b""}
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
