"""Logins of registries: Docker's configuration, and the tokens that registries ask for.

https://distribution.github.io/distribution/spec/auth/token/
"""

import base64
import json
import re
from collections.abc import Generator
from typing import Any, NamedTuple

import httpx

from safety_worker.errors import InputError

DOCKER_HUB = ("docker.io", "index.docker.io", "https://index.docker.io/v1/")
"""Names of one registry in Docker's configuration."""

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Login(NamedTuple):
    """Name and password."""

    user: str
    password: str


def registry_login(secret: str, registry: str) -> Login | None:
    """The login of a registry; None without a secret.

    Raises
    ------
    InputError
        If the secret is no configuration of Docker, or has no login of this registry.
    """
    if not secret:
        return None
    names = DOCKER_HUB if registry == "docker.io" else (registry, f"https://{registry}")
    try:
        auths = json.loads(secret)["auths"]
        return _read_login(next(auths[name] for name in names if name in auths))
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        raise InputError(
            "InvalidCredentials",
            "tokenSecretRef of an oci:// target: the key has to hold Docker's configuration with a login of "
            f"{registry}, as kubectl create secret docker-registry makes it (.dockerconfigjson)",
        ) from None  # the parser's words quote the secret


def _read_login(entry: Any) -> Login:
    if entry.get("auth"):
        user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        if not colon:
            raise ValueError("no name and password")
        return Login(user, password)
    return Login(entry["username"], entry["password"])


class RegistryAuth(httpx.Auth):
    """Answers a registry's challenge, by a token or by name and password.

    Parameters
    ----------
    login
        None: anonymous.
    repository
        What a token is asked for.
    """

    requires_response_body = True

    def __init__(self, login: Login | None, repository: str) -> None:
        self._login = login
        self._scope = f"repository:{repository}:pull,push"
        self._header = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """One further try where the registry asks for a login; what is streamed cannot be sent twice."""
        if self._header:
            request.headers["Authorization"] = self._header
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED or request.method == "PUT":
            return
        kind, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
        if kind.lower() == "basic" and self._login:
            self._header = _basic(self._login)
        elif kind.lower() == "bearer":
            challenge = dict(_PARAMETER.findall(rest))
            if request.url.scheme == "https" and not challenge.get("realm", "").startswith("https://"):
                return  # the password would go in the clear
            answer = yield self._token_request(challenge)
            if not answer.is_success:
                return
            token = _token_in(answer)
            self._header = f"Bearer {token}" if token else ""
        if self._header:
            request.headers["Authorization"] = self._header
        yield request  # without a token it is refused again, and that is told

    def _token_request(self, challenge: dict[str, str]) -> httpx.Request:
        parameters = {"scope": self._scope, "service": challenge.get("service", "")}
        headers = {"Authorization": _basic(self._login)} if self._login else {}
        return httpx.Request("GET", challenge.get("realm", ""), params=parameters, headers=headers)


def _token_in(answer: httpx.Response) -> str:
    """The token that was given; empty where the answer has none."""
    try:
        found = json.loads(answer.content)
        token = found.get("token") or found.get("access_token")
    except (ValueError, AttributeError):  # a page of a proxy, say
        return ""
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else ""


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
