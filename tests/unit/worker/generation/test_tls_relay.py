"""A server that shows the certificate of a Secret, as a tool asks it that knows no such certificates."""

import socket
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
from tests.unit.worker.conftest import served
from tests.unit.worker.fake_model_server import Reply
from tests.unit.worker.support.asking import HASTY
from tests.unit.worker.support.secure_server import SecureServer, write_chain

from safety_worker.errors import InfrastructureError
from safety_worker.generation.client import ChatClient
from safety_worker.generation.target import Target
from safety_worker.generation.tls_relay import asked_directly, without_tls

CHAT = {"model": "model", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def issuer() -> trustme.CA:
    """Whose own certificate stands in the Secret, behind the endpoint's."""
    return trustme.CA().create_child_ca()


def post(base_url: str) -> httpx.Response:
    return httpx.post(f"{base_url}/chat/completions", json=CHAT, trust_env=False)


def test_a_tool_gets_an_answer_through_a_certificate_for_another_name(
    tmp_path: Path, issuer: trustme.CA
) -> None:
    issued = issuer.issue_cert("assistant.example.com")
    with SecureServer(issued, lambda _p, _n: Reply("Paris.")) as server:
        target = served(server.base_url, certificate=write_chain(tmp_path / "tls.crt", issued))
        with without_tls(target) as asked:
            assert asked.base_url.startswith("http://127.0.0.1:")
            assert "Paris." in post(asked.base_url).text
        with pytest.raises(httpx.ConnectError):
            post(asked.base_url)


def test_a_tool_gets_nothing_from_another_certificate_of_the_same_authority_until_it_is_the_secrets(
    tmp_path: Path, issuer: trustme.CA
) -> None:
    before, renewed = (issuer.issue_cert("assistant.example.com") for _ in range(2))
    with SecureServer(renewed, lambda _p, _n: Reply("Paris.")) as server:
        target = served(server.base_url, certificate=write_chain(tmp_path / "tls.crt", before))
        asking = Target(target)
        with without_tls(target) as asked:
            with pytest.raises(httpx.TransportError):
                post(asked.base_url)
            assert not asking.is_alive()
            write_chain(tmp_path / "tls.crt", renewed)
            assert "Paris." in post(asked.base_url).text
            assert asking.is_alive()


async def test_generation_asks_the_server_that_shows_the_certificate_and_no_other(
    tmp_path: Path, issuer: trustme.CA
) -> None:
    shown, other = (issuer.issue_cert("assistant.example.com") for _ in range(2))
    path, at_once = tmp_path / "tls.crt", replace(HASTY, ready_seconds=0)
    with SecureServer(shown, lambda _p, _n: Reply()) as server:
        target = served(server.base_url, certificate=write_chain(path, shown))
        async with ChatClient(target, "", 1, at_once) as client:
            await client.wait_ready(lambda _: None)
        write_chain(path, other)
        async with ChatClient(target, "", 1, at_once) as client:
            with pytest.raises(InfrastructureError, match="ConnectError"):
                await client.wait_ready(lambda _: None)


def test_while_a_renewed_certificate_spreads_the_one_before_counts_too(
    tmp_path: Path, issuer: trustme.CA
) -> None:
    before, renewed = (issuer.issue_cert("assistant.example.com") for _ in range(2))
    with SecureServer(before, lambda _p, _n: Reply()) as server:
        target = Target(served(server.base_url, certificate=write_chain(tmp_path / "tls.crt", before)))
        assert target.is_alive()
        write_chain(tmp_path / "tls.crt", renewed)
        assert target.is_alive()


def test_a_tool_that_keeps_its_connection_does_not_keep_the_stage(tmp_path: Path, issuer: trustme.CA) -> None:
    issued = issuer.issue_cert("assistant.example.com")
    with SecureServer(issued, lambda _p, _n: Reply()) as server, socket.socket() as tool:
        target = served(server.base_url, certificate=write_chain(tmp_path / "tls.crt", issued))
        at_last = threading.Timer(20, lambda: tool.shutdown(socket.SHUT_RDWR))
        at_last.start()
        with without_tls(target) as asked:
            tool.connect(("127.0.0.1", urlsplit(asked.base_url).port))
            tool.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            assert tool.recv(4) == b"HTTP"
        assert at_last.is_alive()
        at_last.cancel()


def test_a_server_without_such_a_certificate_is_asked_as_it_is() -> None:
    target = served("https://example.com/v1")
    with without_tls(target) as asked:
        assert asked is target


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_is_asked_for_the_loopback_and_for_what_the_pod_names(name: str) -> None:
    found = asked_directly({name: ".svc"})
    assert found == {"no_proxy": ".svc,127.0.0.1", "NO_PROXY": ".svc,127.0.0.1"}
