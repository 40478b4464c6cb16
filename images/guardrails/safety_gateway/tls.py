"""TLS at the gateway itself: the certificate of a Secret, renewed while connections are open.

The kubelet replaces the files of a Secret as a whole. New connections get the new certificate from the moment
that both files fit together; those that are open keep theirs.
"""

import hashlib
import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"
RENEW_SECONDS = 5
"""Pause between two looks at the files."""


class CertificateError(ValueError):
    """The files cannot be used; its words are for who made them and quote nothing of them."""


class Certificate:
    """A certificate with its chain and its key, in a folder. Raises CertificateError where there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = ""
        self.context = new_context()
        self._version = load(self.context, self._files())
        self._newest = self.context
        # A context keeps a certificate for each kind of key, so that a renewed one gets a context of its own.
        self.context.sni_callback = self._take_newest

    def _take_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL asks at each new connection, also of a client that names no host."""
        connection.context = self._newest

    async def renew(self) -> None:
        """Take the files again if they changed. What cannot be used is told once, and the old ones stay."""
        try:
            files = self._files()
            if version_of(files) == self._version:
                return
            renewed = new_context()
            self._version = load(renewed, files)
            self._newest = renewed
        except (CertificateError, OSError) as error:
            words = str(error) if isinstance(error, CertificateError) else type(error).__name__
            if words != self._told:
                log.warning("the renewed certificate is not taken, the one before stays: %s", words)
            self._told = words
            return
        self._told = ""
        log.info("the certificate was renewed")

    def _files(self) -> Path:
        """The folder that the kubelet's link points to now, so that both files are of one version."""
        return (self._folder / CERTIFICATE).resolve().parent


def new_context() -> ssl.SSLContext:
    """TLS 1.2 and later, without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def load(context: ssl.SSLContext, folder: Path) -> str:
    """Put a folder's certificate and key into a context; gives their version. Raises CertificateError."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not certificate.exists() or not key.exists():
        raise CertificateError(f"the Secret has to hold {CERTIFICATE} and {KEY}")
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        reason = (error.reason or "no PEM").replace("_", " ").lower()
        raise CertificateError(
            f"{CERTIFICATE} and {KEY} are no certificate with its own key in PEM, not encrypted ({reason})"
        ) from error
    return version_of(folder)


def version_of(folder: Path) -> str:
    """Hash of both files."""
    return hashlib.sha256(b"\0".join((folder / name).read_bytes() for name in (CERTIFICATE, KEY))).hexdigest()
