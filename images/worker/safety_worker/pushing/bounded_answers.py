"""Answers of registries and token servers: short ones, since they are kept in memory as a whole."""

from collections.abc import Iterator

import httpx

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""As much as a manifest may have for all registries to take it; tokens and errors are far shorter.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
"""


class AnswerTooLargeError(httpx.TransportError):
    """An answer has more bytes than one of a registry can have, or hides how many by packing them."""


def bound_answer(response: httpx.Response) -> None:
    """A hook of httpx for responses: reading the answer raises AnswerTooLargeError beyond the limit.

    A packed answer is refused at once; who sends the request asks for a plain one.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise AnswerTooLargeError("a packed answer")
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream = _Bounded(response.stream, MAX_ANSWER_BYTES)


class _Bounded(httpx.SyncByteStream):
    """The bytes of another stream, up to a limit."""

    def __init__(self, stream: httpx.SyncByteStream, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise AnswerTooLargeError("too many bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()
