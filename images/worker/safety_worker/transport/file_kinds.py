"""What a file is, by its name and its first bytes: the one place that decides it.

Data, training files and models ask here. What came in a file's place (a pointer, a web page, the error of a
server) looks like text and would be read as such, so each reader and the fetch stage look at the beginning
first. Messages say what was met and what to do, and never quote a file.
"""

import codecs
import json
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from safety_worker.errors import InputError

HEAD_BYTES = 4096
"""Bytes of a file that tell what it is."""

PACKED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".lzma": "xz", ".zst": "zstd", ".zstd": "zstd"}
"""Compression by file ending."""

_PACKED_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "xz",  # its older form, LZMA
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([byte, 0x2A, 0x4D, 0x18]): "zstd" for byte in range(0x50, 0x60)},  # what pzstd puts in front
}

UNREAD = frozenset(
    (
        *(".7z", ".avro", ".db", ".duckdb", ".gzip", ".h5", ".hdf5", ".lz4", ".npy", ".npz", ".ods", ".orc"),
        *(".parq", ".pickle", ".pkl", ".pq", ".rar", ".sqlite", ".sqlite3", ".tab", ".tar", ".tgz", ".tsv"),
        *(".xls", ".xlsx", ".zip"),
    )
)
"""Endings of formats and archives that hold data and are not read."""

ANY_TEXT = frozenset({".txt", ".csv", ".yaml", ".yml"})
"""Formats that nearly every text has the form of."""

HOUSEKEEPING = frozenset(
    {
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
        "croissant.json",
        "croissant_metadata.json",
        "datapackage.json",
        "metadata.json",
        "metadata.yaml",
        "metadata.yml",
        "dvc.yaml",
        "config.json",
        "config.yaml",
        "config.yml",
        "generation_config.json",
        "adapter_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
        "trainer_state.json",
        "all_results.json",
        "train_results.json",
        "eval_results.json",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "composer.json",
        "manifest.json",
        "schema.json",
        "environment.yml",
        "environment.yaml",
        "mkdocs.yml",
        "docker-compose.yml",
        "docker-compose.yaml",
        "codecov.yml",
        "cmakelists.txt",
        "robots.txt",
        "llms.txt",
    }
)
"""Files of tools, by their name in lower case: they hold no data of a folder."""

_CHECKSUMS = r"(.*[-_.])?(checksums?|md5(sums?)?|sha(1|256|512)?(sums?)?)\.(txt|json|csv)"
_NOTES = re.compile(
    r"(readme|licen[cs]e|copying|notice|authors|contributors|contributing|changelog|citation|credits|"
    r"(.*[-_])?requirements([-_].*)?|constraints|terms([-_ ]of[-_ ]use)?|disclaimer|attribution|copyright|"
    rf"(acceptable_)?use_policy)([-_.].*)?\.(txt|yaml|yml)|{_CHECKSUMS}",
    re.IGNORECASE,
)
"""Names of what people write about data: licences, read-me files, lists of packages and of checksums."""


class Met(NamedTuple):
    """What stands in a file's place."""

    reason: str
    what: str
    remedy: str


_OR = "or download the file itself and upload that"
_POINTERS = (
    (
        re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/"),
        Met(
            "PointerFile",
            "is a pointer of Git LFS, not the file",
            f"run 'git lfs pull' in the clone that it was copied from and copy it again, {_OR}",
        ),
    ),
    (
        re.compile(rb"# xet version "),
        Met("PointerFile", "is a pointer of git-xet, not the file", f"run 'git xet checkout' there, {_OR}"),
    ),
    (
        re.compile(rb"(\.\./)*\.git/annex/objects/|/annex/objects/"),
        Met("PointerFile", "is a pointer of git-annex, not the file", f"run 'git annex get' there, {_OR}"),
    ),
    (
        re.compile(rb"(\.\./)+blobs/[0-9a-f]{40,64}\s*\Z"),
        Met(
            "PointerFile",
            "is the text of a symbolic link into a hub's cache, not the file",
            f"copy the folder with its links followed (cp -rL), {_OR}",
        ),
    ),
)
"""What tools that keep large files elsewhere leave in their place."""

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive, or what is packed like one (Excel, NumPy, PyTorch)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GGUF", "a GGUF model"),
    (b"FEA1", "a Feather file of version 1"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old document of Microsoft Office"),
    (b"\x7fELF", "a program"),
)
"""Formats that no reader knows, by their first bytes."""

MAX_CONTROLS = 0.03
"""Share of control characters from which a file is no text; a tenth of random bytes are."""

FEW_CONTROLS = 8
"""So many spoil their lines, not the file."""

_TEXT_BYTES = bytes({*range(32, 256), 7, 8, 9, 10, 12, 13, 27})
"""All but control characters that no text has."""

_BEFORE = (
    rb"(<\?xml[^>]*>\s*)?(<!--(?:(?!-->).)*-->\s*)*"  # one reading only: many comments would take for ever
)
_WEB_PAGE = re.compile(
    _BEFORE
    + rb"(<(!doctype\s+html|html)\b|<(head|body|script|meta|title|style|link)\b.*</?(html|head|body)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""How a page begins. A line of a tag alone may be a prompt about such tags."""
_PAGE = Met(
    "WebPage",
    "is a web page, such as a login or what a browser shows of a file",
    "use the address of the file itself (on GitHub 'Raw', on a hub 'download', or hf://), and a token where "
    "one is needed",
)
_ERROR_CODE = re.compile(rb"<code>\s*([A-Za-z]{3,40})\s*</code>", re.IGNORECASE)
_ERROR_CODES = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AuthenticationFailed",
        "AuthenticationRequired",
        "BlobNotFound",
        "ContainerNotFound",
        "ExpiredToken",
        "InternalError",
        "InvalidAccessKeyId",
        "InvalidToken",
        "NoSuchBucket",
        "NoSuchKey",
        "NoSuchVersion",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "ResourceNotFound",
        "ServiceUnavailable",
        "SignatureDoesNotMatch",
        "SlowDown",
    }
)
"""Codes of object stores that a message may name."""

_ERROR_KEYS = frozenset(
    {
        *("code", "detail", "details", "documentation_url", "error", "error_code", "error_description"),
        *("errors", "hint", "message", "msg", "ok", "path", "reason", "request_id", "requestid", "status"),
        *("status_code", "statuscode", "success", "timestamp", "title", "trace_id", "type"),
    }
)
_ERROR_MARKS = frozenset({"detail", "error", "errors", "error_description"})
_ERROR_NUMBERS = frozenset({"code", "documentation_url", "status", "status_code", "statuscode"})
"""Keys of the JSON that a server answers with in place of a file: all that it may have, those that say it
alone, and those that say it together with a message."""

_ERROR_TEXT = re.compile(
    rb"(40[134]:? )?(access denied|bad gateway|entry not found|forbidden|internal server error|"
    rb"invalid username or password|(file |repository )?not found|service unavailable|too many requests|"
    rb"unauthorized)\.?|access to (dataset|model) \S+ is restricted.*",
    re.IGNORECASE,
)

_SIGNED = "check the address, the token and that the link has not expired, and download the file again"


def met_instead(head: bytes, *, whole: bool) -> Met | None:
    """What came in place of a file; None where nothing speaks against it.

    Parameters
    ----------
    head
        Its first bytes, at least :data:`HEAD_BYTES` or all.
    whole
        Whether these are all.
    """
    encoding = encoding_of(head)
    if encoding != "utf-8":
        head = head.decode(encoding, "ignore").encode()
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    for mark, met in _POINTERS:
        if mark.match(text):
            return met
    if _WEB_PAGE.match(text):
        return _PAGE
    if text[:6].lower() == b"<error" or (text.startswith(b"<?xml") and b"<error" in text.lower()):
        found = _ERROR_CODE.search(text)
        code = found[1].decode() if found else ""
        named = f" ({code})" if code in _ERROR_CODES else ""
        return Met("ErrorAnswer", f"is the error answer of an object store{named}", _SIGNED)
    if whole and (_ERROR_TEXT.fullmatch(text.strip()) or _is_error_object(text)):
        return Met("ErrorAnswer", "is the error answer of a server", _SIGNED)
    return None


def _is_error_object(text: bytes) -> bool:
    """Whether a whole file is the JSON that a server answers with in place of one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    keys = {str(key).lower() for key in value} if isinstance(value, dict) else set()
    says = keys & _ERROR_MARKS or (keys & {"message", "msg"} and keys & _ERROR_NUMBERS)
    return bool(says) and keys <= _ERROR_KEYS


def check_type(name: str, media_type: str) -> None:
    """Refuse a page by what a server calls it, where the name is of a format that takes any text.

    Raises
    ------
    InputError
        If it is one. Of other formats the content shows it, and some servers call everything a page.
    """
    called = media_type.partition(";")[0].strip().lower()
    if called in {"text/html", "application/xhtml+xml"} and ending_of(name) in ANY_TEXT:
        raise InputError(_PAGE.reason, f"{name} {_PAGE.what} ({called}): {_PAGE.remedy}")


def check_head(name: str, head: bytes, *, whole: bool) -> None:
    """Refuse what came in place of a file; arguments as of :func:`met_instead`.

    Raises
    ------
    InputError
        Naming the file, what it is, and what to do.
    """
    met = met_instead(head, whole=whole)
    if met is not None:
        raise InputError(met.reason, f"{name} {met.what}: {met.remedy}")


def format_met(head: bytes) -> str:
    """The format that no reader knows and that the first bytes show; empty: none."""
    for mark, what in _OTHERS:
        if head.startswith(mark):
            return what
    return "a tar archive" if head[257:262] == b"ustar" else ""


def looks_binary(head: bytes) -> bool:
    """Whether first bytes in UTF-8 are those of no text: too many of them control something."""
    return len(head.translate(None, _TEXT_BYTES)) > max(FEW_CONTROLS, MAX_CONTROLS * len(head))


def packing_of(head: bytes) -> str:
    """The compression that the first bytes show; empty: none."""
    return next((name for mark, name in _PACKED_MAGIC.items() if head.startswith(mark)), "")


def ending_of(name: str) -> str:
    """The ending that names the format, in lower case, without that of a compression."""
    path = PurePosixPath(name)
    return PurePosixPath(path.stem if path.suffix.lower() in PACKED else path.name).suffix.lower()


NUL_SHARE = 0.3
"""Share of zero bytes at one parity from which a text without a mark is taken for UTF-16: letters of other
scripts than Latin have none."""

FEW_ZEROS = 8
"""Where there are no more, nearly all bytes of that parity have to be zero."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first bytes: ``utf-8`` unless a mark or its zero bytes show another."""
    marked = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "")
    if marked:
        return marked
    zeros = [head[place:HEAD_BYTES:4].count(0) for place in range(4)]
    quarter = len(head[:HEAD_BYTES]) / 4
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if quarter >= 1 and min(zeros[2:]) >= int(quarter) > zeros[0]:
        return "utf-32-le"
    if quarter >= 1 and min(zeros[:2]) >= int(quarter) > zeros[3]:
        return "utf-32-be"
    enough = max(2 * quarter * NUL_SHARE, min(FEW_ZEROS, 2 * quarter * 0.8))
    if odd > enough and even * 4 < odd:
        return "utf-16-le"
    return "utf-16-be" if even > enough and odd * 4 < even else "utf-8"


def is_hidden(name: str) -> bool:
    """Whether a file is hidden or temporary: of Git, caches, notebooks, macOS, editors, or Spark's own."""
    return any(
        (part.startswith((".", "_", "~$")) and part != "..")
        or part.endswith((".incomplete", ".tmp", ".part", ".crdownload"))
        or part == "lost+found"
        for part in PurePosixPath(name).parts
    )


def is_housekeeping(name: str) -> bool:
    """Whether a file belongs to a tool or tells people about the data, by its name."""
    own = PurePosixPath(name).name.lower()
    return own in HOUSEKEEPING or _NOTES.fullmatch(own) is not None
