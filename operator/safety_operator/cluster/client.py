"""A thin asynchronous client: raw JSON over aiohttp, with the credentials that Kopf's logins find.

The official client costs 28 MiB to import, and its typed models ten times the time and memory of plain
dictionaries, which server-side apply wants anyway. JSON is read by pydantic's parser: quicker than the
standard library's, and equal short texts of all answers are one object, which saves 15 of the 26 MiB of 1,000
idle resources with their children. Errors are converted here and nowhere else.
"""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from pydantic_core import from_json, to_json

from safety_operator import metrics
from safety_operator.cluster.access import Access
from safety_operator.cluster.kinds import CORE_EVENT, EVENT, LEASE, ApiKind
from safety_operator.errors import ApiError, ApiUnreachableError, NotFoundError, NotLeadingError
from safety_operator.state.labels import MANAGED_BY

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=15)
"""For one request. Longer than an API server needs under load, shorter than the Lease."""
WRITE_TIMEOUT = aiohttp.ClientTimeout(total=35, sock_connect=15)
"""For making a child: an admission webhook may keep the API server waiting for 30 s, and then it says so."""
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=150)
"""For a watch: bookmarks come about every 60 s; two missing ones mean that nobody is there."""
REQUESTS_AT_A_TIME = 16
"""Requests other than watches. More only wait in the API server, and each open connection costs 0.2 MiB."""
MAX_EVENT_BYTES = 2**21
"""A watch event is a line, and etcd keeps objects of up to 1.5 MiB."""
LOG_TIMEOUT = aiohttp.ClientTimeout(total=3)
"""For a log's tail, which a node has to give: nothing depends on it."""
FIELD_MANAGER = {"fieldManager": MANAGED_BY}

JsonObject = dict[str, Any]


class Api:
    """Calls to one API server."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session = self.session_for(aiohttp.ClientResponse)
        self._turns = asyncio.Semaphore(REQUESTS_AT_A_TIME)
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before each write: whether this replica still leads. Leases and events are always written."""
        self.server = access.server

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def served(self, api_version: str) -> frozenset[str]:
        """Give the plurals that the API server serves for a group and version; empty where there is none."""
        try:
            found = await self._json(_Request("get", ApiKind("", "", "apis"), "GET", f"/apis/{api_version}"))
        except NotFoundError:
            return frozenset()
        return frozenset(resource["name"] for resource in found["resources"])

    def session_for(self, response_class: type[aiohttp.ClientResponse]) -> aiohttp.ClientSession:
        """Open a session that says who asks: Kopf asks for another one when the API server refuses it."""
        # Every watch keeps a connection for good, so the pool is not the place to limit work.
        connector = aiohttp.TCPConnector(limit=0, ssl=self._access.ssl_context)
        return aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": MANAGED_BY} | self._access.headers(),
            response_class=response_class,
            read_bufsize=MAX_EVENT_BYTES,
            # With it, aiohttp looks for a netrc file, in a thread, before each request.
            trust_env=bool(urllib.request.getproxies()),
            proxy=self._access.proxy,
        )

    async def get(
        self, kind: ApiKind, namespace: str, name: str, *, metadata_only: bool = False
    ) -> JsonObject:
        """Read one object. Raises NotFoundError."""
        return await self._json(
            _Request("get", kind, "GET", kind.path(namespace, name), accept=_form("", metadata_only))
        )

    async def list(
        self,
        kind: ApiKind,
        namespace: str | None,
        *,
        selector: str = "",
        metadata_only: bool = False,
        newest: bool = False,
    ) -> JsonObject:
        """Read a whole collection; ``newest`` past the API server's cache, which may lag behind."""
        query = {"labelSelector": selector, "resourceVersion": "" if newest else "0"}
        listing = await self._json(
            _Request("list", kind, "GET", kind.path(namespace), query, accept=_form("List", metadata_only))
        )
        # Go writes an empty list as null.
        listing["items"] = listing.get("items") or []
        return listing

    async def events(self, namespace: str, selector: str, *, limit: int = 100) -> Sequence[JsonObject]:
        """Read events by field selector, such as ``involvedObject.uid=...``; at most ``limit`` of them."""
        query = {"fieldSelector": selector, "limit": str(limit)}
        listing = await self._json(_Request("list", CORE_EVENT, "GET", CORE_EVENT.path(namespace), query))
        found: Sequence[JsonObject] = listing.get("items") or ()
        return found

    async def create(self, kind: ApiKind, namespace: str, manifest: Mapping[str, Any]) -> JsonObject:
        """Create an object. Raises ConflictError when it exists."""
        return await self._json(
            _Request(
                "create", kind, "POST", kind.path(namespace), FIELD_MANAGER, manifest, timeout=WRITE_TIMEOUT
            )
        )

    async def replace(
        self, kind: ApiKind, namespace: str, name: str, manifest: Mapping[str, Any]
    ) -> JsonObject:
        """Replace an object. Raises ConflictError when its resourceVersion is not the current one."""
        return await self._json(
            _Request("update", kind, "PUT", kind.path(namespace, name), FIELD_MANAGER, manifest)
        )

    async def apply(
        self, kind: ApiKind, namespace: str, name: str, manifest: Mapping[str, Any], *, manager: str = ""
    ) -> JsonObject:
        """Server-side apply, taking fields over from others; ``manager``: another name of the operator."""
        query = FIELD_MANAGER | {"force": "true"} | ({"fieldManager": manager} if manager else {})
        content = "application/apply-patch+yaml"
        path = kind.path(namespace, name)
        return await self._json(
            _Request("patch", kind, "PATCH", path, query, manifest, content=content, timeout=WRITE_TIMEOUT)
        )

    async def patch(
        self, kind: ApiKind, namespace: str, name: str, patch: Mapping[str, Any], subresource: str = ""
    ) -> JsonObject:
        """Merge-patch an object. Raises ConflictError if the patch holds another uid or resourceVersion."""
        path = kind.path(namespace, name, subresource)
        content = "application/merge-patch+json"
        return await self._json(_Request("patch", kind, "PATCH", path, FIELD_MANAGER, patch, content=content))

    async def delete(self, kind: ApiKind, namespace: str, name: str, *, uid: str) -> None:
        """Delete an object and, in the background, what it owns; only if it still has this uid."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        await self._json(_Request("delete", kind, "DELETE", kind.path(namespace, name), body=body))

    async def log_tail(
        self, kind: ApiKind, namespace: str, pod: str, container: str, *, lines: int, limit: int
    ) -> str:
        """Read the last lines of a running container's log, at most ``limit`` bytes."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(limit)}
        path = kind.path(namespace, pod, "log")
        async with self._response(_Request("log", kind, "GET", path, query, timeout=LOG_TIMEOUT)) as response:
            return (await response.read()).decode("utf-8", errors="replace")

    async def watch(
        self,
        kind: ApiKind,
        namespace: str | None,
        *,
        selector: str,
        resource_version: str,
        timeout_seconds: int,
        metadata_only: bool = False,
    ) -> AsyncIterator[JsonObject]:
        """Stream watch events, bookmarks included, until the server ends the stream."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        accept, path = _form("", metadata_only), kind.path(namespace)
        async with self._response(
            _Request("watch", kind, "GET", path, query, accept=accept, timeout=STREAM_TIMEOUT)
        ) as response:
            while line := await response.content.readline():
                yield from_json(line)

    async def _json(self, request: "_Request") -> JsonObject:
        async with self._turns, self._response(request) as response:
            parsed: JsonObject = from_json(await response.read())
            return parsed

    @asynccontextmanager
    async def _response(self, request: "_Request") -> AsyncIterator[aiohttp.ClientResponse]:
        if request.method != "GET" and request.kind not in {LEASE, EVENT} and not self.may_write():
            raise NotLeadingError(f"{request}: the Lease was not renewed in time")
        headers = {"Accept": request.accept, "Content-Type": request.content} | self._access.headers()
        calls = partial(metrics.API_CALLS.labels, request.verb, request.kind.plural)
        try:
            async with self._session.request(
                request.method,
                self.server + request.target,
                headers=headers,
                data=None if request.body is None else to_json(request.body),
                timeout=request.timeout,
            ) as response:
                calls(response.status).inc()
                if response.status >= 400:  # noqa: PLR2004 - HTTP
                    raise _error(response.status, response.reason or "", await response.read(), str(request))
                yield response
        except (
            aiohttp.ClientError,
            TimeoutError,
            asyncio.IncompleteReadError,
            ConnectionError,
            ValueError,  # no JSON: cut off, or a page of a proxy in between
        ) as error:
            calls(0).inc()
            raise ApiUnreachableError(f"{request}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Request:
    verb: str
    """As in RBAC."""
    kind: ApiKind
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content: str = "application/json"
    accept: str = "application/json"
    timeout: aiohttp.ClientTimeout = REQUEST_TIMEOUT

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path + (f"?{urlencode(self.query, quote_via=quote)}" if self.query else "")

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


def _form(suffix: str, metadata_only: bool) -> str:
    """Accept header for whole objects, or for their metadata only."""
    kind = f"PartialObjectMetadata{suffix}"
    return f"application/json;as={kind};g=meta.k8s.io;v=v1" if metadata_only else "application/json"


def _error(status: int, reason: str, body: bytes, request: str) -> ApiError:
    """Read the API server's Status object; bodies of proxies in between are kept as text."""
    try:
        parsed = from_json(body)
    except ValueError:
        parsed = {}
    known = parsed if isinstance(parsed, dict) else {}
    message = known.get("message") or body[:500].decode("utf-8", "replace")
    return ApiError.of(status, known.get("reason") or reason, message, request=request)
