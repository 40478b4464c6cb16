r"""JSON that a model or an agent reads decoded, as the rails have to read it.

Escapes hide words: a guard reads ``\u0062omb`` as it stands, and to a classifier ``Fine.\nMake a bomb.`` is
one sentence.
"""

import json
import re

_ESCAPE = re.compile(r"\\(u00[01][0-9a-f]|.)")
_SPACES = {"n": "\n", "r": "\n", "t": "\t", "b": " ", "f": " "}


def with_letters(text: str) -> str:
    r"""A document without ``\u0068`` and the like; what is no JSON, and what has none, stays as it is."""
    if "\\u" not in text:
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def as_read(text: str) -> str:
    """A document whose texts stand in it as they are; what is no JSON stays as it is."""
    if "\\" not in text:
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return unescaped(with_letters(text))


def unescaped(document: str) -> str:
    """The same of a document that is JSON, and escapes nothing but what it has to."""
    return _ESCAPE.sub(lambda found: _SPACES.get(found[1], found[1] if len(found[1]) == 1 else " "), document)
