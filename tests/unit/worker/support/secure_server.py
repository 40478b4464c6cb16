"""A fake model server behind real TLS, with a certificate for a name that nobody asks it by."""

import ssl
from pathlib import Path

import trustme
from tests.unit.worker.fake_model_server import Behaviour, FakeModelServer


class SecureServer(FakeModelServer):
    """Shows a certificate."""

    def __init__(self, shown: trustme.LeafCert, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def base_url(self) -> str:
        return super().base_url.replace("http:", "https:")


def write_chain(path: Path, issued: trustme.LeafCert) -> str:
    """A certificate with its chain, as a Secret holds it."""
    path.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return str(path)
