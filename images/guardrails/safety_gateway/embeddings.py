"""``POST /v1/embeddings``: texts that the rails for requests read, and vectors from the model's server."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from safety_gateway.chat_request import parse
from safety_gateway.errors import BadRequestError, NotServedError, UnavailableError
from safety_gateway.messages import encodable
from safety_gateway.rails import Message

MAX_TEXTS = 256
"""Texts of a request; the rails read all of them at once."""
MAX_DIMENSIONS = 65_536
KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "user"})


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """What a client may ask."""

    texts: tuple[str, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    """Further fields for the model's server."""
    caller: str = ""
    """Name of who asks."""
    id: str = ""
    """The request's id, in the audit trail."""
    languages: tuple[str, ...] = ()
    """Languages that the client asks for."""

    @property
    def conversation(self) -> list[Message]:
        """The texts as the rails read them: each is what a user writes."""
        return [{"role": "user", "content": text} for text in self.texts]


def read_embedding_request(data: bytes, served_name: str) -> EmbeddingRequest:
    """The request in a body; raises as :func:`safety_gateway.chat_request.read_request`."""
    body = parse(data)
    if not isinstance(body, dict):
        raise BadRequestError("the body has to be a JSON object", code="invalid_body")
    if body.get("model") != served_name:
        raise NotServedError(f"the only model here is {served_name}")
    if any(value is not None and name not in KNOWN for name, value in body.items()):
        words = f"only {', '.join(sorted(KNOWN))} are available at /v1/embeddings"
        raise BadRequestError(words, code="unsupported_parameter")
    given = {name: body[name] for name in PARAMETERS if body.get(name) is not None}
    if not all(PARAMETERS[name](value) for name, value in given.items()):
        raise BadRequestError("encoding_format or dimensions has a wrong value", code="invalid_parameter")
    return EmbeddingRequest(_texts(body.get("input")), given)


PARAMETERS: dict[str, Callable[[Any], bool]] = {
    "encoding_format": lambda value: value in ("float", "base64"),
    "dimensions": lambda value: type(value) is int and 0 < value <= MAX_DIMENSIONS,
}


def _texts(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_TEXTS:
        words = f"input has to be a text, or a list of at most {MAX_TEXTS}"
        raise BadRequestError(words, code="invalid_input")
    if not all(isinstance(text, str) and text for text in texts):
        raise BadRequestError("input has to hold texts: rails cannot read tokens", code="invalid_input")
    return tuple(map(encodable, texts))


def read_embeddings(data: bytes, number: int) -> dict[str, Any]:
    """Vectors and counts in a body. Raises UnavailableError if they are not those of so many texts."""
    try:
        body = json.loads(data)
        vectors = [item["embedding"] for item in sorted(body["data"], key=lambda item: int(item["index"]))]
        tokens = int((body.get("usage") or {}).get("prompt_tokens", 0))
        fits = len(vectors) == number and all(isinstance(vector, list | str) for vector in vectors)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable() from error
    if not fits:
        raise _unreadable()
    found = [{"object": "embedding", "index": at, "embedding": item} for at, item in enumerate(vectors)]
    return {"object": "list", "data": found, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _unreadable() -> UnavailableError:
    return UnavailableError("the model's answer cannot be read", code="model_unavailable")
