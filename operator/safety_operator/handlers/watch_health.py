"""Signs of life of Kopf's own watches, taken where its answers come in.

Kopf tells handlers about changes only: not about bookmarks, which prove that a quiet watch is alive, and not
about lists, after which deletions may have been missed. Both are seen here through the session that the login
handler gives to Kopf.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp


class WatchHealth:
    """When each of Kopf's watches was last heard of, and how often it listed."""

    def __init__(self, plurals: dict[str, str], on_relist: Callable[[str], None]) -> None:
        self._plurals = plurals
        self._on_relist = on_relist
        self._lists: Counter[str] = Counter()
        self.heard_at: dict[str, float] = {}

    def heard(self, path: str) -> None:
        """Note a piece of an answer for a URL path."""
        self.heard_at[path] = time.monotonic()

    def listed(self, path: str) -> None:
        """Note a list; from the second of a path on, its kind is told as listed again."""
        self.heard(path)
        self._lists[path] += 1
        if self._lists[path] > 1:
            self._on_relist(self._plurals[path.rsplit("/", 1)[-1]])

    def response_class(self) -> type[aiohttp.ClientResponse]:
        """Build the class of answers that report here."""
        health = self

        class Response(aiohttp.ClientResponse):
            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                await super().start(connection)
                path = self.url.path
                if self.status == 200 and path.rsplit("/", 1)[-1] in health._plurals:  # noqa: PLR2004 - HTTP
                    if self.url.query.get("watch"):
                        health.heard(path)
                        self.content = _Heard(self.content, lambda: health.heard(path))  # type: ignore[assignment]
                    else:
                        health.listed(path)
                return self

        return Response


class _Heard:
    """A stream that reports each piece."""

    def __init__(self, stream: aiohttp.StreamReader, heard: Callable[[], None]) -> None:
        self._stream = stream
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self._stream.iter_chunked(size):
            self._heard()
            yield chunk
