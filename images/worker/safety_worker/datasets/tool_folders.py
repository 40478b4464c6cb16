"""Folders that other tools have laid out: which of their files are to be read, by their own lists.

``datasets`` (``save_to_disk``, and its cache), the cache of a hub's client, and tables whose folders must not
be read file by file. Called by ``layouts``.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from safety_worker.errors import InputError
from safety_worker.text import clean
from safety_worker.transport.file_kinds import ending_of
from safety_worker.transport.places import RemoteFile

MAX_LIST_BYTES = 16 * 1024 * 1024
"""Size from which a list of shards is none."""

SHOWN = 3
"""Names in a sentence."""

_BUILD = re.compile(r"[0-9a-f]{16,64}")
_SNAPSHOT = re.compile(r"(?P<root>(.*/)?)snapshots/(?P<commit>[0-9a-f]{40})/.+")

Names = dict[str, RemoteFile]
"""Files by their path below what the URI names."""

Read = Callable[[RemoteFile, int], bytes]
"""The first bytes of a file, at most so many."""


def select_listed(shown: str, names: Names, read: Read, warnings: list[str]) -> Names:
    """The files that count of whatever tools have laid out; all of any other folder.

    Parameters
    ----------
    shown
        The URI for messages.
    names
        All files below it.
    read
        Reads lists.
    warnings
        Gets a sentence for what is left out.

    Raises
    ------
    InputError
        If a list names what is not there, or the folder must not be read file by file.
    """
    _refuse_tables(shown, names)
    left = _saved_shards(shown, _newest_snapshots(shown, names, read, warnings), read, warnings)
    _refuse_versions(shown, left)
    return left


def listed(names: Iterable[str]) -> str:
    """The first names in a sentence, and how many there are besides."""
    all_names = sorted(names)
    more = f" and {len(all_names) - SHOWN} more" if len(all_names) > SHOWN else ""
    return clean(f"{', '.join(all_names[:SHOWN])}{more}")


def base_of(name: str) -> str:
    """The last part of a path."""
    return PurePosixPath(name).name


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


def _refuse_versions(shown: str, names: Names) -> None:
    """Refuse a cache of ``datasets`` that holds several builds of a data set: rows would come twice."""
    builds: dict[PurePosixPath, set[str]] = {}
    for folder in {PurePosixPath(name).parent for name in names if ending_of(name) == ".arrow"}:
        if _BUILD.fullmatch(folder.name) and _join(str(folder), "dataset_info.json") in names:
            builds.setdefault(folder.parent, set()).add(folder.name)
    several = [found for found in builds.values() if len(found) > 1]
    if several:
        raise InputError(
            "SeveralVersions",
            f"{shown} is datasets' cache of the same data {len(several[0])} times: name one of the folders "
            f"{', '.join(sorted(several[0])[:SHOWN])}",
        )


def _newest_snapshots(shown: str, names: Names, read: Read, warnings: list[str]) -> Names:
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
        warnings.append(
            f"commits of the hub's cache other than {', '.join(sorted(wanted.values()))} not read"
        )
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


def _saved_shards(shown: str, names: Names, read: Read, warnings: list[str]) -> Names:
    """Of folders that ``datasets`` saved the shards that they list; of other folders everything."""
    states = {name: _object(names[name], read) for name in names if base_of(name) == "state.json"}
    saved = {
        str(PurePosixPath(name).parent): state for name, state in states.items() if "_data_files" in state
    }
    wanted: set[str] = set()
    for folder, state in saved.items():
        if state.get("_indices_data_files"):
            raise InputError(
                "IndicesNotRead",
                f"{shown}: {folder} was saved with a list of the rows that count: load it with datasets, "
                "call flatten_indices(), and save it again",
            )
        wanted |= {_join(folder, shard) for shard in _shards(state)}
    missing = sorted(wanted - names.keys())
    if missing:
        raise InputError(
            "ShardMissing", f"{shown}: {listed(missing)} is not there, but in state.json: copy it as well"
        )
    dropped = _unlisted_splits(shown, names, read)
    out = [name for name in names if _is_extra(name, saved, wanted) or _below(name, dropped)]
    extra = [name for name in out if ending_of(name) == ".arrow"]
    if extra:
        warnings.append(f"{listed(extra)} not read: datasets does not list it")
    return {name: file for name, file in names.items() if name not in set(out)}


def _is_extra(name: str, saved: Iterable[str], wanted: set[str]) -> bool:
    return name not in wanted and _below(name, saved)


def _below(name: str, folders: Iterable[str]) -> bool:
    return any(folder == "." or name.startswith(f"{folder}/") for folder in folders)


def _unlisted_splits(shown: str, names: Names, read: Read) -> set[str]:
    """Folders next to the splits that ``dataset_dict.json`` lists, with something that was saved before."""
    dropped: set[str] = set()
    for name in [name for name in names if base_of(name) == "dataset_dict.json"]:
        splits = _object(names[name], read).get("splits")
        folder = str(PurePosixPath(name).parent)
        if not isinstance(splits, list):
            continue
        have = {
            str(PurePosixPath(other).parent)
            for other in names
            if base_of(other) == "state.json" and str(PurePosixPath(other).parent.parent) == folder
        }
        wanted = {_join(folder, str(split)) for split in splits}
        if wanted - have:
            raise InputError(
                "SplitMissing",
                f"{shown}: the split {listed(wanted - have)} is not there, but in dataset_dict.json: copy it "
                "as well",
            )
        dropped |= have - wanted
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
