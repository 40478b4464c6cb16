"""The report server's one route. Bound to the pod's loopback address: only a forwarded port leads there."""

import asyncio
import json
import logging
import os
import re
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from safety_records.manifest import MANIFEST_NAME
from safety_records.report_files import SERVED_NAMES, parse_folder
from safety_reports.files import NotThereError, OpenFile, open_report_file

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
"""Read at a time: memory stays the same whatever a report's size."""
REQUESTS_AT_A_TIME = 8
"""Files that are open at once."""
SEND_SECONDS = 300
"""A reader that has not taken a file after so long is cut off."""

_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
"""Names of a forwarded port. Others come from a web page that had its own name point here (DNS rebinding)."""

HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer: a browser keeps reports as files and runs nothing of them in the server's name."""

ROOT = web.AppKey("root", Path)
NAMESPACE = web.AppKey("namespace", str)
CLAIM = web.AppKey("claim", str)
OPEN_FILES = web.AppKey("open_files", asyncio.Semaphore)


def build_app(root: Path, namespace: str, claim: str) -> web.Application:
    """The server.

    Parameters
    ----------
    root
        Where the claim is mounted.
    namespace
        The only namespace whose reports are given away.
    claim
        Name of the claim, to tell a report on another one from one that does not exist.
    """
    app = web.Application(middlewares=[_guard], client_max_size=1)
    app[ROOT], app[NAMESPACE], app[CLAIM] = root, namespace, claim
    app[OPEN_FILES] = asyncio.Semaphore(REQUESTS_AT_A_TIME)
    app.router.add_get("/{folder:.+}/{file}", _serve)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check the host, and set the headers on every answer, refusals included."""
    try:
        if not _HOST.fullmatch(request.host):
            raise web.HTTPForbidden(text="Ask through a forwarded port.\n")
        return await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise


async def _serve(request: web.Request) -> web.StreamResponse:
    app, file = request.app, request.match_info["file"]
    folder = parse_folder(request.match_info["folder"])
    if folder is None or file not in SERVED_NAMES | {MANIFEST_NAME} or folder.namespace != app[NAMESPACE]:
        raise web.HTTPNotFound(text="No such report.\n")
    if folder.claim != app[CLAIM]:
        raise web.HTTPNotFound(text=f"This server has the reports on the claim {app[CLAIM]}.\n")
    async with app[OPEN_FILES]:
        try:
            found = await asyncio.to_thread(open_report_file, app[ROOT], folder, file)
        except NotThereError:
            raise web.HTTPNotFound(text="No such report, or it is not complete.\n") from None
        try:
            async with asyncio.timeout(SEND_SECONDS):
                response = await _send(request, found)
        finally:
            os.close(found.descriptor)
        log.info(json.dumps({"event": "served", "path": folder.url_path(file), "bytes": found.size}))
        return response


async def _send(request: web.Request, found: OpenFile) -> web.StreamResponse:
    response = web.StreamResponse(headers=HEADERS | {"Content-Type": "application/octet-stream"})
    response.content_length = found.size
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    sent = 0
    while sent < found.size:
        # At an offset: a read that outlives a reader who was cut off must not move another file's position.
        size = min(CHUNK_BYTES, found.size - sent)
        chunk = await asyncio.to_thread(os.pread, found.descriptor, size, sent)
        if not chunk:
            # Cut off since it was opened. An open connection would let the reader wait for the rest.
            response.force_close()
            break
        await response.write(chunk)
        sent += len(chunk)
    return response
