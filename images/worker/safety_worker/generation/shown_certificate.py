"""Trust in the one certificate that a guarded endpoint is to show.

It is made for the name by which clients reach the endpoint, as a rule not that of its Service, and comes from
an authority that need not be known here. So neither name nor authority is asked for: the endpoint has to show
the very certificate of its Secret. Another of the same authority does not count: who runs any server of that
authority's could stand in for the guardrails.
"""

import contextlib
import re
import ssl
from pathlib import Path
from typing import Any, Self

from safety_records.stage_base import ServedModel

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
"""Of a chain, the certificate that a server shows as its own."""


class ShownCertificate(ssl.SSLContext):
    """Accepts the first certificate of a file, which is read again for each connection.

    One that stood there before counts as well: pods show a renewed one at different moments.
    """

    def __new__(cls, _path: Path) -> Self:
        """A client's."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()
        self.check_hostname = False
        self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As of any context."""
        self._read()
        return super().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As of any context."""
        self._read()
        return super().wrap_bio(*args, **kwargs)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # ssl.SSLError is one: what is no certificate adds no trust
            found = _FIRST.search(self._path.read_text(encoding="ascii", errors="replace"))
            if found and found[0] not in self._known:
                self.load_verify_locations(cadata=found[0])
                self._known.add(found[0])


def verify_of(server: ServedModel) -> ssl.SSLContext | bool:
    """How a server's certificate is checked, as httpx has it."""
    return ShownCertificate(Path(server.certificate)) if server.certificate else True
