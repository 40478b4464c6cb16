"""The middleware of a model server behind rails."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from safety_pod.closed_paths import ClosedPaths


async def answer(_request: object) -> PlainTextResponse:
    return PlainTextResponse("completion")


INNER = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/chat/completions", 200),
        ("/v1/completions", 200),
        ("/v1/embeddings", 200),
        ("/v1/models", 200),
        ("/health", 200),
        ("/metrics", 200),
        ("/invocations", 404),
        ("/inference/v1/generate", 404),
        ("/v1/responses", 404),
        ("/v1/load_lora_adapter", 404),
        ("/pause", 404),
        ("/tokenize", 404),
        ("/health/../invocations", 404),
        ("//invocations", 404),
        ("/V1/chat/completions", 404),
        ("/", 404),
    ],
)
async def test_only_what_the_rails_need_is_served(path: str, status: int) -> None:
    transport = httpx.ASGITransport(app=ClosedPaths(INNER))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
        assert (await client.post(path)).status_code == status
