"""Trust in the one certificate that a guarded endpoint is to show.

It is made for the name by which clients reach the endpoint, as a rule not that of its Service, and comes from
an authority that need not be known here. So neither name nor authority is asked for: the endpoint has to show
the very certificate of its Secret, or one of the same chain while a new one spreads.
"""

import ssl

Verify = ssl.SSLContext | bool
"""As httpx has it."""


def trust_shown(certificate: str) -> Verify:
    """How the endpoint is checked. Raises ssl.SSLError for what is no PEM.

    Parameters
    ----------
    certificate
        Certificates in PEM; empty: the endpoint has no TLS, and nothing changes.
    """
    if not certificate:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context
