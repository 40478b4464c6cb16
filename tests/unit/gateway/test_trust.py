"""Certificates of authorities that a configuration adds for the model's server."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import certifi
import pytest
import trustme
from aiohttp import ClientConnectorCertificateError, ClientSession, web
from aiohttp.test_utils import TestServer

from safety_gateway.chat_request import ChatRequest
from safety_gateway.errors import UnavailableError
from safety_gateway.jailbreak import JailbreakRail
from safety_gateway.model import ServedModel
from safety_gateway.settings import JailbreakServer, ModelServer
from safety_gateway.trust import AUTHORITIES_FILE, AuthoritiesError, trust

MESSAGES = [{"role": "user", "content": "x"}]


async def ask(url: str, tls: ssl.SSLContext) -> str:
    model = ServedModel(ModelServer(url=url, name="m", timeout_seconds=5), None, tls)
    await model.start()
    try:
        return (await model.ask(ChatRequest(messages=MESSAGES, parameters={}))).choices[0].text
    finally:
        await model.stop()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def file(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / AUTHORITIES_FILE
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def server(authority: trustme.CA) -> AsyncIterator[str]:
    """Base URL of a model's server, and of a detector of jailbreaks, with a certificate of that authority."""
    async with serving(authority, "localhost") as url:
        yield url


@asynccontextmanager
async def serving(authority: trustme.CA, name: str) -> AsyncIterator[str]:
    """Such a server, at localhost whatever name its certificate has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    async def answer(_request: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "Paris."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})

    async def classify(_request: web.Request) -> web.Response:
        return web.json_response({"jailbreak": False})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_post("/v1/classify", classify)
    server = TestServer(app, host="localhost")
    await server.start_server(ssl=context)
    try:
        yield f"https://localhost:{server.port}/v1"
    finally:
        await server.close()


async def test_a_model_with_a_certificate_of_such_an_authority_is_asked_and_without_it_is_not(
    server: str, file: Path
) -> None:
    assert await ask(server, trust(file)) == "Paris."
    with pytest.raises(UnavailableError):
        await ask(server, trust(file.with_name("absent.pem")))


async def test_a_certificate_of_such_an_authority_for_another_name_is_not_the_models(
    authority: trustme.CA, file: Path
) -> None:
    async with serving(authority, "other.example") as url:
        with pytest.raises(UnavailableError):
            await ask(url, trust(file))


async def test_such_an_authority_does_not_count_for_a_guard_or_any_other_server(
    server: str, file: Path
) -> None:
    before = dict(os.environ)
    assert await ask(server, trust(file)) == "Paris."
    rail = JailbreakRail(JailbreakServer(url=server, timeout_seconds=5), None)
    await rail.start()
    try:
        with pytest.raises(UnavailableError):
            await rail.check_input(MESSAGES)
    finally:
        await rail.stop()
    async with ClientSession() as session:  # as NeMo Guardrails makes its own
        with pytest.raises(ClientConnectorCertificateError):
            await session.get(server)
    assert dict(os.environ) == before


def test_the_images_own_authorities_are_trusted_as_before(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    before = len(ssl.create_default_context().get_ca_certs())
    assert before > 0
    assert len(trust(file).get_ca_certs()) == before + 1


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    path = tmp_path / AUTHORITIES_FILE
    path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", encoding="ascii")
    with pytest.raises(AuthoritiesError, match="these are no certificates in PEM"):
        trust(path)
