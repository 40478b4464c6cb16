"""The list of models that a server may have: optional, and never the truth about the route that answers.

Lists are forbidden to some keys, come in pages, name patterns (LiteLLM) or tags (Ollama) for what is asked
under another name, and TGI and llama.cpp answer to any name.
"""

import json
import re
from typing import Any


def read_names(content: bytes) -> list[str]:
    """Names in the body of GET /models; none where it has another form."""
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        return []
    entries = body.get("data") if isinstance(body, dict) else body
    found = (
        [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
    return [name for name in found if isinstance(name, str)]


def has(names: list[str], model: str) -> bool:
    """Whether a list has a model, as it is, in other case, as its latest tag or by a pattern."""
    wanted = model.casefold()
    return any(
        name in (wanted, f"{wanted}:latest") or ("*" in name and _pattern(name).fullmatch(wanted))
        for name in map(str.casefold, names)
    )


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))))
