"""Asks a cluster through kubectl: whatever the user's kubeconfig can do, this can, and nothing else."""

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any, NoReturn

from safety_cli.errors import CliError
from safety_cli.terminal import clean
from safety_operator.api import API_VERSION
from safety_operator.api.kind_names import KIND_NAMES

GROUP = API_VERSION.partition("/")[0]
PLURALS = ",".join(f"{kind.plural}.{GROUP}" for kind in KIND_NAMES)
"""The four kinds as kubectl wants them, by group: other operators may have kinds of the same name."""
TIMEOUT_SECONDS = 30
"""For one request: slow networks answer in time, a dead one does not hold a terminal for minutes."""

Resource = dict[str, Any]


class UnreachableError(CliError):
    """The API server does not answer; trying again may help."""


class UnknownKindsError(CliError):
    """The API server names no kinds of ours: they are not installed, or it has only just started."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The kubectl of the PATH with the user's choice of cluster and namespace."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    """Empty: that of the context."""

    def options(self) -> list[str]:
        """Global options of every call."""
        named = {"kubeconfig": self.kubeconfig, "context": self.context, "namespace": self.namespace}
        return [f"--{name}={value}" for name, value in named.items() if value]

    def resources(self, *, everywhere: bool = False) -> list[Resource]:
        """All resources of the four kinds in the namespace, or in all of them. Needs the right to list."""
        scope = ["--all-namespaces"] if everywhere else []
        found: list[Resource] = self.json("get", PLURALS, *scope)["items"]
        return found

    def resource(self, plural: str, name: str) -> Resource:
        """One resource. Needs the right to get it."""
        return self.json("get", f"{plural}.{GROUP}", name)

    def json(self, *arguments: str) -> dict[str, Any]:
        """What a call prints as JSON.

        Raises
        ------
        CliError
            If it fails, with kubectl's words and, where known, what to do.
        """
        text = self.run(*arguments, "--output=json", f"--request-timeout={TIMEOUT_SECONDS}s")
        try:
            parsed: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise CliError(
                "kubectl printed something that is no JSON. Which kubectl is on the PATH?"
            ) from error
        return parsed

    def run(self, *arguments: str) -> str:
        """What a call prints. Raises CliError."""
        try:
            done = subprocess.run(  # noqa: PLW1510 - looked at below
                ["kubectl", *self.options(), *arguments],
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise CliError(NO_KUBECTL) from error
        if done.returncode != 0:
            explain(done.stderr)
        return done.stdout


NO_KUBECTL = "kubectl is not on the PATH. Install it: https://kubernetes.io/docs/tasks/tools/"

_NO_CLUSTER = "connection to the server localhost:8080 was refused"
"""What kubectl says without a kubeconfig: it falls back to an address that nobody has asked for."""
_UNREACHABLE = (
    "connection refused",
    "no such host",
    "i/o timeout",
    "TLS handshake timeout",
    "deadline exceeded",
    "Timeout exceeded",
    "network is unreachable",
    "no route to host",
    "etcdserver:",
    "ServiceUnavailable",
    "unable to handle the request",
    "(InternalError)",
    "(ServerTimeout)",
    "(Timeout)",
    "(TooManyRequests)",
    "Unable to connect",
    "connection reset",
    "EOF",
)


_LOG_LINES = ("E0", "E1", "I0", "I1", "W0", "W1")
"""Beginnings of the lines that kubectl's own log has: level and month."""
_LOGGED_ERROR = re.compile(r'.*\berr="(.*)"$')


def explain(stderr: str) -> NoReturn:
    """Raise the CliError that belongs to what kubectl wrote."""
    lines = stderr.strip().splitlines()
    messages = [line for line in lines if not line.startswith(_LOG_LINES)]
    logged = [_LOGGED_ERROR.sub(r"\1", line) for line in lines]
    words = clean(" ".join((messages or logged or ["kubectl failed without a word."])[-3:]))
    if _NO_CLUSTER in stderr:
        raise CliError("kubectl knows no cluster: set KUBECONFIG, or give --kubeconfig.")
    # Before the kinds: a server that is slow to name them has none for kubectl.
    if any(mark in stderr for mark in _UNREACHABLE):
        raise UnreachableError(f"The API server does not answer. kubectl says: {words}")
    if "doesn't have a resource type" in stderr or "could not find the requested resource" in stderr:
        raise UnknownKindsError(
            "This cluster does not know the four kinds: the operator is not installed, or another context is "
            f"meant (--context). kubectl says: {words}"
        )
    if "Forbidden" in stderr or "forbidden" in stderr:
        raise CliError(
            f"Your rights do not suffice: ask for the role view in this namespace. kubectl says: {words}"
        )
    raise CliError(f"kubectl says: {words}")
