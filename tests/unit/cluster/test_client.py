"""Requests as an API server gets them, over a real connection."""

import json
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import ClientResponse, web

from safety_operator.cluster.access import Access
from safety_operator.cluster.client import Api
from safety_operator.cluster.kinds import BUILT_IN, EVENT, LEASE
from safety_operator.errors import ApiError, ApiUnreachableError, ConflictError, NotLeadingError

JOBS = BUILT_IN["Job"]
LARGE = "x" * 1_000_000
"""Of a watch event's object; etcd keeps up to 1.5 MiB."""


class Server:
    """Answers everything with what is set, and notes what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {}
        self.text = ""
        """Instead of the answer."""
        self.asked: list[tuple[str, str, Any, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append((request.method, request.raw_path, request.headers, json.loads(body or "null")))
        if self.text:
            return web.Response(text=self.text)
        if "watch" in request.query:
            lines = "".join(json.dumps(event) + "\n" for event in self.answer)
            return web.Response(text=lines)
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Api]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    api = Api(Access(kopf.ConnectionInfo(server=f"http://{host}:{port}", token="t")))
    yield server, api
    await api.close()
    await runner.cleanup()


async def test_a_list_says_who_asks_and_for_which_labels(server):
    there, api = server
    there.answer = {"items": None, "metadata": {"resourceVersion": "7"}}
    assert (await api.list(JOBS, "team", selector="a=b", metadata_only=True))["items"] == []
    method, path, headers, _ = there.asked[0]
    assert (method, path) == (
        "GET",
        "/apis/batch/v1/namespaces/team/jobs?labelSelector=a%3Db&resourceVersion=0",
    )
    assert headers["Authorization"] == "Bearer t"
    assert headers["User-Agent"] == "model-safety-operator"
    assert "PartialObjectMetadataList" in headers["Accept"]


async def test_what_is_applied_is_sent_whole_with_its_kind_of_patch(server):
    there, api = server
    await api.apply(JOBS, "team", "fetch", {"kind": "Job", "spec": {"a": "ä"}})
    method, path, headers, body = there.asked[0]
    assert (method, body) == ("PATCH", {"kind": "Job", "spec": {"a": "ä"}})
    assert path.endswith("/jobs/fetch?fieldManager=model-safety-operator&force=true")
    assert headers["Content-Type"] == "application/apply-patch+yaml"


async def test_a_refusal_keeps_the_api_servers_words(server):
    there, api = server
    there.status, there.answer = 409, {"reason": "AlreadyExists", "message": "jobs fetch already exists"}
    with pytest.raises(ConflictError, match="jobs fetch already exists"):
        await api.create(JOBS, "team", {})
    there.status, there.answer = 500, ["a proxy's words"]
    with pytest.raises(ApiError, match="a proxy's words"):
        await api.get(JOBS, "team", "fetch")


async def test_without_the_lease_nothing_is_written_but_leases_and_events(server):
    there, api = server
    api.may_write = lambda: False
    with pytest.raises(NotLeadingError, match="not renewed in time"):
        await api.apply(JOBS, "team", "fetch", {})
    with pytest.raises(NotLeadingError):
        await api.delete(JOBS, "team", "fetch", uid="u")
    assert there.asked == []
    await api.get(JOBS, "team", "fetch")
    await api.replace(LEASE, "team", "lease", {})
    await api.create(EVENT, "team", {})
    assert [method for method, *_ in there.asked] == ["GET", "PUT", "POST"]


async def test_a_page_of_a_proxy_in_between_is_an_error_that_is_tried_again(server):
    there, api = server
    there.text = "<html>sign in</html>"
    with pytest.raises(ApiUnreachableError, match="get /apis/batch"):
        await api.get(JOBS, "team", "fetch")


async def test_a_watch_event_that_is_cut_off_is_an_error_that_is_tried_again(server):
    there, api = server
    there.text = '{"type": "ADDED", "obj'
    stream = api.watch(JOBS, None, selector="", resource_version="1", timeout_seconds=1)
    with pytest.raises(ApiUnreachableError, match="watch /apis/batch"):
        [event async for event in stream]


async def test_events_of_a_watch_may_be_as_large_as_objects(server):
    there, api = server
    there.answer = [{"type": "ADDED", "object": {"data": LARGE}}, {"type": "BOOKMARK", "object": {}}]
    stream = api.watch(JOBS, None, selector="", resource_version="1", timeout_seconds=1)
    assert [event async for event in stream] == there.answer


async def test_nobody_there_is_an_error_that_is_tried_again():
    api = Api(Access(kopf.ConnectionInfo(server="http://127.0.0.1:1")))
    with pytest.raises(ApiUnreachableError, match="list /apis/batch"):
        await api.list(JOBS, None)
    await api.close()


async def test_kopf_gets_a_session_that_says_who_asks(server):
    there, api = server
    async with api.session_for(ClientResponse) as session, session.get(f"{api.server}/api") as answer:
        assert answer.status == 200
    assert there.asked[0][2]["Authorization"] == "Bearer t"
