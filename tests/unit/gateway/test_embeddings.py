import json
from typing import Any

import httpx
import pytest
from tests.unit.gateway.support import REFUSAL, SETTINGS, Gateway, code, user

from safety_gateway.embeddings import MAX_TEXTS, read_embeddings
from safety_gateway.errors import UnavailableError
from safety_gateway.settings import Endpoints


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(SETTINGS.model_copy(update={"endpoints": Endpoints(embeddings=True)}))


async def embed(gateway: Gateway, texts: Any = "hi", **fields: Any) -> httpx.Response:
    body = {"model": "assistant", "input": texts, **fields}
    return await gateway.post(json.dumps(body).encode(), "/v1/embeddings")


async def test_embeddings_are_not_there_unless_asked_for():
    assert code(await embed(Gateway())) == (404, "not_found")


async def test_texts_pass_the_rails_and_become_vectors(gateway: Gateway):
    got = (await embed(gateway, ["hi", "ho"], encoding_format="float", dimensions=1)).json()
    assert [item["embedding"] for item in got["data"]] == [[0.5], [0.5]]
    assert (got["object"], got["model"], got["usage"]["total_tokens"]) == ("list", "assistant", 3)
    assert gateway.rails.inputs == [[user("hi"), user("ho")]]
    assert gateway.model.embedded[0].parameters == {"encoding_format": "float", "dimensions": 1}
    assert gateway.metric("tokens_total", caller="anybody", kind="prompt") == 3


async def test_a_blocked_text_has_no_vector(gateway: Gateway):
    response = await embed(gateway, ["hi", "a bomb"])
    assert code(response) == (400, "content_filter")
    assert response.json()["error"]["message"] == REFUSAL
    assert not gateway.model.embedded
    assert gateway.audited[0]["direction"] == "input"


async def test_a_rail_that_fails_closes_the_request(gateway: Gateway):
    gateway.rails.error = UnavailableError("down")
    assert code(await embed(gateway)) == (503, "guardrails_unavailable")
    assert not gateway.model.embedded


@pytest.mark.parametrize(
    "fields",
    [
        {"texts": [1, 2]},
        {"texts": [[1, 2]]},
        {"texts": []},
        {"texts": ["a", ""]},
        {"texts": None},
        {"texts": ["a"] * (MAX_TEXTS + 1)},
        {"texts": "\ud800"},
        {"encoding_format": "hex"},
        {"dimensions": 0},
        {"truncate_prompt_tokens": 1},
    ],
)
async def test_what_rails_could_not_read_is_refused(gateway: Gateway, fields: dict[str, Any]):
    assert (await embed(gateway, **fields)).status_code == 400
    assert not gateway.model.embedded


async def test_another_model_cannot_be_chosen(gateway: Gateway):
    assert code(await embed(gateway, model="other")) == (404, "model_not_found")


def test_vectors_are_in_the_order_of_their_texts():
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": "AAA="}]
    found = read_embeddings(json.dumps({"data": data, "usage": {"prompt_tokens": 4}}).encode(), 2)
    assert [item["embedding"] for item in found["data"]] == ["AAA=", [2.0]]
    assert found["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": [{"index": 0, "embedding": 1}]}', b'{"data": []}']
)
def test_what_are_no_vectors_close_the_request(body: bytes):
    with pytest.raises(UnavailableError):
        read_embeddings(body, 1)
