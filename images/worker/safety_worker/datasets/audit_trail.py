"""Requests that a guarded endpoint blocked, from logs with its audit trail, as prompts.

Only where the operator of the endpoint kept texts (``audit.text``) and collected the logs. The chains are
checked first, over all files together, since a log is rotated in the middle of one: what was changed or is
missing in between spoils the whole source. That the beginning of a chain is missing does not.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from safety_records.audit import Chain, Entry, is_torn, read_chains
from safety_worker.datasets.opening import open_content
from safety_worker.datasets.readers import RawRecord, damage_of, lines_of
from safety_worker.datasets.resolve import DataFile
from safety_worker.errors import InputError

AUDIT_TRAIL = "audit-trail"
"""Name of the preset."""
MAX_BYTES = 1024**3
"""Of all lines of the trail: they are in memory together."""


def read_audit_trail(name: str, files: Sequence[DataFile]) -> Iterator[RawRecord]:
    """Records of blocked requests; ``messages`` is the conversation, whose last user turn is the prompt.

    Parameters
    ----------
    name
        Of the source, for errors, which never quote a text.
    files
        Logs, in any order; lines that are none of the trail are passed over.

    Raises
    ------
    InputError
        If a file cannot be read, a chain is broken, there is no trail, or it holds no texts.
    """
    chains = read_chains(_lines(name, files))
    _check(name, chains)
    entries = (entry for chain in chains for entry in chain.entries)
    for index, entry in enumerate(entries):
        yield RawRecord(index, None, _value(entry), "", _why_left_out(entry), entry)


def torn_files(files: Sequence[DataFile]) -> list[str]:
    """A sentence for each file whose last line is cut off, as a process leaves it that was killed.

    Such a line is left out, and its chain is as whole as without it.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    words = "its last line is cut off, and left out (the process that wrote it was killed, or writes on)"
    return [f"{file.name}: {words}" for file in files if is_torn(_last_line(file))]


def _last_line(file: DataFile) -> str:
    with damage_of(file.name), file.path.open("rb") as content:
        last = deque(lines_of(open_content(file.name, content).stream), maxlen=1)
    return b"".join(last).decode("utf-8", "replace")


def _lines(name: str, files: Sequence[DataFile]) -> Iterator[str]:
    left = MAX_BYTES
    for file in files:
        with damage_of(file.name), file.path.open("rb") as content:
            for line in lines_of(open_content(file.name, content).stream):
                if b'"audit"' not in line:
                    continue
                left -= len(line)
                if left < 0:
                    words = f"{name}: the trail has more than {MAX_BYTES // 1024**3} GiB: give a smaller part"
                    raise InputError("SourceTooLarge", words)
                yield line.decode("utf-8", "replace")


def _check(name: str, chains: Sequence[Chain]) -> None:
    if not chains:
        raise InputError(
            "NoAuditTrail",
            f"{name}: no line of an audit trail is in it: give the log of a GuardedDeployment's guardrails",
        )
    broken = next((chain for chain in chains if chain.fault), None)
    if broken is not None:
        raise InputError(
            "AuditTrailBroken",
            f"{name}: chain {broken.name[:32]!a} of the audit trail is broken: {broken.fault}. Collect the "
            "logs again, whole; kubectl safety audit --file shows which are",
        )
    if not any("text" in entry for chain in chains for entry in chain.entries):
        raise InputError(
            "NoBlockedTexts",
            f"{name}: the audit trail has digests of what was blocked and no texts: set audit.text of the "
            "GuardedDeployment, which keeps them from then on",
        )


def _value(entry: Entry) -> dict[str, object]:
    return {"messages": entry.get("text"), "categories": entry.get("categories")}


def _why_left_out(entry: Entry) -> str:
    """Why an entry gives no prompt; empty if it does."""
    if entry.get("direction") != "input":
        return "it is an answer that was blocked, not a request"
    return "" if "text" in entry else "its text was not kept"
