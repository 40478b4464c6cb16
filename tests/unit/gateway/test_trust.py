"""Certificates of authorities that a configuration adds."""

import os
import ssl
from pathlib import Path

import certifi
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from safety_gateway.chat_request import ChatRequest
from safety_gateway.errors import UnavailableError
from safety_gateway.model import ServedModel
from safety_gateway.settings import ModelServer
from safety_gateway.trust import AUTHORITIES_FILE, VARIABLE, AuthoritiesError, trust


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


async def ask(url: str) -> str:
    model = ServedModel(ModelServer(url=url, name="m", timeout_seconds=5), None)
    await model.start()
    try:
        request = ChatRequest(messages=[{"role": "user", "content": "x"}], parameters={})
        return (await model.ask(request)).choices[0].text
    finally:
        await model.stop()


async def test_a_server_with_a_certificate_of_such_an_authority_is_asked_and_before_it_is_not(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def answer(_request: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "Paris."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    server = TestServer(app, host="localhost")
    await server.start_server(ssl=context)
    try:
        url = f"https://localhost:{server.port}/v1"
        with pytest.raises(UnavailableError):
            await ask(url)
        path = tmp_path / AUTHORITIES_FILE
        authority.cert_pem.write_to_path(path)
        trust(path)
        assert await ask(url) == "Paris."
    finally:
        await server.close()


def test_the_images_own_authorities_are_trusted_as_before(tmp_path: Path) -> None:
    before = len(ssl.create_default_context(cafile=certifi.where()).get_ca_certs())
    path = tmp_path / AUTHORITIES_FILE
    trustme.CA().cert_pem.write_to_path(path)
    trust(path)
    assert len(ssl.create_default_context(cafile=os.environ[VARIABLE]).get_ca_certs()) == before + 1


def test_without_such_a_file_nothing_changes(tmp_path: Path) -> None:
    trust(tmp_path / AUTHORITIES_FILE)
    assert not os.environ[VARIABLE]


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    path = tmp_path / AUTHORITIES_FILE
    path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", encoding="ascii")
    with pytest.raises(AuthoritiesError, match="these are no certificates in PEM"):
        trust(path)
