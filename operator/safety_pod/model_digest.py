"""Whether the files that a server is about to load are those of the digest that its gate compared.

Every byte is read, by a few threads, since a hash of one file keeps one core busy; what was read stays in the
page cache as far as the pod's memory reaches, where the engine finds it again.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

FOLDER = "SAFETY_MODEL_FOLDER"
"""Variable: folder of the model."""
DIGEST = "SAFETY_MODEL_DIGEST"
"""Variable: digest that its files have to have; empty: they are not compared."""
MANIFEST = "manifest.json"
"""Which files the digest is over, next to them."""
LOADED = ("*.safetensors", "*.bin", "*.pt", "*.gguf", "*.py", "*.jinja")
"""Files that an engine loads because they are there: none but those of the digest may be."""
NOT_LOADED = ("adapter_model.safetensors", "consolidated*.safetensors", "training_args.bin")
"""Of these the ones that may stand next to a model and are no part of it."""
THREADS = 4
CHUNK_BYTES = 2**22


def find_mismatch() -> str:
    """What is otherwise than the digest says, in words; empty: nothing, or no digest was given."""
    wanted = os.environ.get(DIGEST, "")
    return find_mismatch_in(Path(os.environ.get(FOLDER, "")), wanted) if wanted else ""


def find_mismatch_in(folder: Path, wanted: str) -> str:
    """The same of a folder."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(file["path"]): str(file["sha256"]) for file in listed}
        extra = sorted(path.name for path in folder.iterdir() if _is_extra(path.name, expected))
        with ThreadPoolExecutor(THREADS) as pool:
            found = dict(zip(expected, pool.map(lambda name: _sha256(folder / name), expected), strict=True))
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror})"
    except (ValueError, LookupError, TypeError):
        return f"{folder / MANIFEST} is no list of files"
    if extra:
        return f"{folder / extra[0]} is no file of the model"
    changed = next((name for name in expected if found[name] != expected[name]), "")
    if changed:
        return f"{folder / changed} has another content"
    digest = digest_of(found)
    return "" if digest == wanted else f"the files in {folder} have the digest {digest}, not {wanted}"


def digest_of(hashes: dict[str, str]) -> str:
    """Digest of a folder by the sha256 of each file: over the sorted ``path NUL sha256 LF`` lines."""
    total = hashlib.sha256()
    for name in sorted(hashes, key=str.encode):
        total.update(name.encode() + b"\0" + hashes[name].encode() + b"\n")
    return f"sha256:{total.hexdigest()}"


def _is_extra(name: str, expected: dict[str, str]) -> bool:
    loaded = any(fnmatch(name, pattern) for pattern in LOADED)
    return loaded and name not in expected and not any(fnmatch(name, pattern) for pattern in NOT_LOADED)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
