"""Where the API server is and who asks: the pod's service account, or a kubeconfig outside a cluster."""

import logging
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import kopf
import yaml

from safety_operator.errors import SettingsError

log = logging.getLogger(__name__)

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TOKEN_SECONDS = 60.0
"""How long a token is used before its file is read again: the kubelet writes a new one within the hour."""


class Access:
    """An API server, and the headers of requests to it."""

    def __init__(
        self,
        info: kopf.ConnectionInfo,
        *,
        server: str = "",
        token_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server or info.server
        self.ssl_context: ssl.SSLContext = info.as_ssl_context()
        self.proxy = info.proxy_url
        self._headers = info.as_http_headers()
        self._token_file = token_file
        self._clock = clock
        self._read_at = clock()

    def headers(self) -> dict[str, str]:
        """Who asks; of a service account with a token that is new enough, where it can be read."""
        if self._token_file is not None and self._clock() >= self._read_at + TOKEN_SECONDS:
            self._read_at = self._clock()
            try:
                self._headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
            except OSError as error:
                log.warning("cannot read the token of the service account", extra={"error": str(error)})
        return self._headers


def find_access() -> Access:
    """The way to the API server. Raises SettingsError where there is none."""
    settings = kopf.OperatorSettings()
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        if host:
            info = kopf.login_with_service_account(settings=settings)
        else:
            info = kopf.login_with_kubeconfig(settings=settings)
    except (OSError, ValueError, KeyError, yaml.YAMLError, kopf.LoginError) as error:
        raise _nowhere(repr(error)) from error
    if info is None:
        raise _nowhere("no token of a service account" if host else "no kubeconfig")
    if not host:
        return Access(info)
    # By its address, as every client does: it takes no resolver.
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(info, server=server, token_file=TOKEN_FILE)


def _nowhere(why: str) -> SettingsError:
    return SettingsError(
        f"no API server: {why}. Run in a pod with a service account, or set KUBECONFIG to a file with a "
        "token or a certificate."
    )
