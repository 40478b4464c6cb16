"""TLS at the gateway itself, with files as the kubelet writes them."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from safety_gateway import __main__ as main
from safety_gateway.leaving import Server
from safety_gateway.tls import CERTIFICATE, KEY, Certificate, CertificateError


class SecretFolder:
    """A mounted Secret: a link to the folder of its version, as the kubelet makes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        path.mkdir()

    def write(self, certificate: bytes, key: bytes) -> None:
        self.number += 1
        version = self.path / f"..version{self.number}"
        version.mkdir()
        (version / CERTIFICATE).write_bytes(certificate)
        (version / KEY).write_bytes(key)
        link = self.path / "..new"
        link.symlink_to(version.name)
        link.replace(self.path / "..data")
        for name in (CERTIFICATE, KEY):
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")

    def issue(self, authority: trustme.CA, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> None:
        issued = authority.issue_cert("localhost", key_type=kind)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.write(chain, issued.private_key_pem.bytes())


@pytest.fixture
def secret(tmp_path: Path) -> SecretFolder:
    return SecretFolder(tmp_path / "tls")


def client_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def echoing(certificate: Certificate) -> AsyncIterator[int]:
    """A server that gives each line back; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(port: int, authority: trustme.CA) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = client_of(authority)
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello\n")
    return await reader.readline()


async def test_a_renewed_certificate_is_shown_to_new_connections_and_open_ones_go_on(
    secret: SecretFolder,
) -> None:
    first, second = trustme.CA(), trustme.CA()
    secret.issue(first)
    certificate = Certificate(secret.path)
    async with echoing(certificate) as port:
        old = await connect(port, first)
        assert await said(*old) == b"hello\n"
        secret.issue(second)
        await certificate.renew()
        new = await connect(port, second)
        assert await said(*new) == b"hello\n"
        assert await said(*old) == b"hello\n"
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, first)
        for _, writer in (old, new):
            writer.close()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_renewed_certificate_with_a_key_of_another_kind_takes_the_place_of_the_old_one(
    secret: SecretFolder, newest: ssl.TLSVersion
) -> None:
    first, second = trustme.CA(), trustme.CA()
    secret.issue(first, trustme.KeyType.ECDSA)
    certificate = Certificate(secret.path)
    async with echoing(certificate) as port:
        secret.issue(second, trustme.KeyType.RSA)
        await certificate.renew()
        client = client_of(second)
        client.maximum_version = newest
        for name in ("localhost", "127.0.0.1"):
            client.check_hostname = name == "localhost"  # the other sends no name
            new = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
            assert await said(*new) == b"hello\n"
            new[1].close()


async def test_a_certificate_with_anothers_key_is_told_once_and_the_one_before_stays(
    secret: SecretFolder, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    secret.issue(authority)
    certificate = Certificate(secret.path)
    issued, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    secret.write(issued.cert_chain_pems[0].bytes(), other.private_key_pem.bytes())
    with caplog.at_level(logging.WARNING):
        await certificate.renew()
        await certificate.renew()
    (record,) = caplog.records
    assert "the one before stays: tls.crt and tls.key are no certificate with its own key" in record.message
    async with echoing(certificate) as port:
        reader, writer = await connect(port, authority)
        assert await said(reader, writer) == b"hello\n"
        writer.close()


def test_files_that_are_missing_or_no_pem_are_told_without_a_word_of_them(secret: SecretFolder) -> None:
    with pytest.raises(CertificateError, match=r"the Secret has to hold tls\.crt and tls\.key"):
        Certificate(secret.path)
    secret.write(b"nonsense", b"a secret key")
    with pytest.raises(CertificateError, match="no certificate with its own key in PEM") as raised:
        Certificate(secret.path)
    assert "a secret key" not in str(raised.value)


def test_old_versions_of_tls_are_refused(secret: SecretFolder) -> None:
    secret.issue(trustme.CA())
    assert Certificate(secret.path).context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_the_gateway_answers_every_request_while_its_certificate_is_renewed(
    secret: SecretFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "RENEW_SECONDS", 0)
    first, second = trustme.CA(), trustme.CA()
    secret.issue(first)
    configure = partial(main.configure_server, certificate=Certificate(secret.path), grace_seconds=1)
    listener = main.listen(0)
    url = f"https://localhost:{listener.getsockname()[1]}/v1/health"
    server = Server(
        Starlette(routes=[Route("/v1/health", lambda _: PlainTextResponse("pass"))]), configure, 0
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx.AsyncClient(verify=client_of(first), timeout=30) as open_one:
        assert (await open_one.get(url)).text == "pass"
        secret.issue(second)
        async with asyncio.timeout(30):
            while not await is_trusted(url, second):
                assert (await open_one.get(url)).text == "pass"
        assert (await open_one.get(url)).text == "pass"
    server.should_exit = True
    await serving


async def is_trusted(url: str, authority: trustme.CA) -> bool:
    """Whether a new connection is shown a certificate of an authority."""
    try:
        async with httpx.AsyncClient(verify=client_of(authority)) as client:
            return (await client.get(url)).is_success
    except httpx.ConnectError:
        return False
