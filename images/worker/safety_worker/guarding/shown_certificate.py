"""Trust in the one certificate that a guarded endpoint is to show.

It is made for the name by which clients reach the endpoint, as a rule not that of its Service, and comes from
an authority that need not be known here. So neither name nor authority is asked for: the endpoint has to show
the very certificate of its Secret. Another of the same authority does not count: who runs any server of that
authority's could stand in for the rails.
"""

import re
import ssl

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
"""Of a chain, the certificate that a server shows as its own."""

Verify = ssl.SSLContext | bool
"""As httpx has it."""


def trust_shown(certificate: str) -> Verify:
    """How the endpoint is checked. Raises ssl.SSLError for what is no PEM.

    Parameters
    ----------
    certificate
        The certificate in PEM, with its chain behind it; empty: the endpoint has no TLS, and nothing changes.
    """
    if not certificate:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    first = _FIRST.search(certificate)
    context.load_verify_locations(cadata=first[0] if first else certificate)
    return context
