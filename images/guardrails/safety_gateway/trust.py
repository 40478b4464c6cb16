"""Certificates of authorities that the configuration adds to those that the image trusts, for one server.

They count for the model alone: whoever holds such an authority cannot stand in for a guard or a collector.
"""

import ssl
from pathlib import Path

AUTHORITIES_FILE = "authorities.pem"


class AuthoritiesError(ValueError):
    """What the configuration adds are no certificates."""


def trust(path: Path) -> ssl.SSLContext:
    """How the model's certificate is checked, by the certificates of a file (PEM) as well where there is one.

    Raises AuthoritiesError.
    """
    context = ssl.create_default_context()
    if path.exists():
        try:
            context.load_verify_locations(cadata=path.read_text(encoding="ascii"))
        except ssl.SSLError as error:
            raise AuthoritiesError(f"these are no certificates in PEM ({error.reason})") from error
    return context
