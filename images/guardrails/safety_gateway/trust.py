"""Certificates of authorities that the configuration adds to those that the image trusts.

Every client in this process, and those of the libraries, reads them from one file, which OpenSSL's own
variable names. What is connected before it is set knows the image's only, so it is set first of all.
"""

import os
import ssl
import tempfile
from pathlib import Path

import certifi

AUTHORITIES_FILE = "authorities.pem"
VARIABLE = "SSL_CERT_FILE"


class AuthoritiesError(ValueError):
    """What the configuration adds are no certificates."""


def trust(path: Path) -> None:
    """Trust the certificates of a file (PEM) as well; nothing without the file. Raises AuthoritiesError."""
    if not path.exists():
        return
    own = path.read_text(encoding="ascii")
    try:
        ssl.create_default_context().load_verify_locations(cadata=own)
    except ssl.SSLError as error:
        raise AuthoritiesError(f"these are no certificates in PEM ({error.reason})") from error
    known = Path(os.environ.get(VARIABLE) or certifi.where()).read_text(encoding="utf-8")
    handle, name = tempfile.mkstemp(suffix=".pem")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{known}\n{own}")
    os.environ[VARIABLE] = name
