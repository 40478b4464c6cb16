"""``python -m safety_gateway --config FOLDER --port PORT``: serve until stopped."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import uvicorn
from prometheus_client import REGISTRY
from starlette.types import ASGIApp

from safety_gateway.all_rails import AllRails
from safety_gateway.app import build_app
from safety_gateway.audit import AuditTrail, new_chain
from safety_gateway.audit_file import AuditFile
from safety_gateway.callers import Callers
from safety_gateway.connections import KEEP_ALIVE_SECONDS, Connections, allow_files, connections_of
from safety_gateway.jailbreak import JailbreakRail
from safety_gateway.leaving import Server
from safety_gateway.logs import keep_words_out_of_logs
from safety_gateway.metrics import Metrics
from safety_gateway.model import Model, ServedModel
from safety_gateway.observed import ObservedAudit, observed
from safety_gateway.pipeline import Pipeline
from safety_gateway.rails import Rails
from safety_gateway.sensitive_data import SensitiveDataRail
from safety_gateway.settings import OWN_FOLDER, RAILS_FOLDER, Settings, read_settings
from safety_gateway.telemetry import Telemetry
from safety_gateway.tls import RENEW_SECONDS, Certificate, CertificateError
from safety_gateway.trust import AUTHORITIES_FILE, AuthoritiesError, trust

GRACE_SECONDS = 25
"""Time for answers that are being written when the pod is told to end; Kubernetes gives 30."""
BACKLOG = 2048
EXIT_INPUT = 42
"""As a worker's: a person has to act."""
EXIT_TERMINATED = 143
"""As of a process that SIGTERM ended."""
TERMINATION_LOG = Path("/dev/termination-log")


def main(argv: Sequence[str]) -> None:
    """Load the configuration, then listen: a pod whose rails do not load never gets traffic."""
    # The first process of a pod gets no signal that it has no handler for; uvicorn sets its own.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_TERMINATED))
    parser = argparse.ArgumentParser(prog="safety_gateway")
    parser.add_argument("--config", type=Path, required=True, help="folder of the configuration")
    parser.add_argument("--keys", type=Path, default=Path("/keys"), help="folder of the callers' keys")
    parser.add_argument("--tls", type=Path, help="folder of tls.crt and tls.key; without one it is no TLS")
    parser.add_argument("--audit", type=Path, help="folder for the audit trail besides standard output")
    parser.add_argument("--audit-days", type=int, help="age of files there that are deleted; without: none")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--metrics-port", type=int, help="port of the metrics; without one there are none")
    parser.add_argument(
        "--notice-seconds", type=float, default=0, help="before it stops to listen, at the end"
    )
    parser.add_argument("--grace-seconds", type=int, default=GRACE_SECONDS, help="for answers, after that")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    keep_words_out_of_logs()
    certificate = None
    try:
        tls = trust(arguments.config / AUTHORITIES_FILE)
        certificate = Certificate(arguments.tls) if arguments.tls else None
    except AuthoritiesError as error:
        give_up(f"spec.model.endpoint.caConfigMapKeyRef: {error}")
    except CertificateError as error:
        give_up(f"spec.expose.tls.secretName: {error}")
    settings = read_settings(arguments.config)
    telemetry = build_telemetry(settings)
    model = ServedModel(settings.model, read_key(settings.model.key_env), tls)
    audit = partial(build_audit, settings, arguments.audit, telemetry, arguments.audit_days)
    pipeline = build_pipeline(settings, model, arguments.config / RAILS_FOLDER, telemetry, audit)
    callers = Callers(arguments.keys, settings.callers)
    app = build_app(settings, pipeline, callers, telemetry, arguments.metrics_port)
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector need not look at it for every request
    configure = partial(configure_server, certificate=certificate, grace_seconds=arguments.grace_seconds)
    Server(app, configure, arguments.notice_seconds).run(sockets=[listen(arguments.port)])


def configure_server(app: ASGIApp, *, certificate: Certificate | None, grace_seconds: int) -> uvicorn.Config:
    """How an application is served; ``certificate``: by TLS, renewed while it is."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=connections_of(Connections(allow_files())),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
        callback_notify=certificate.renew if certificate else None,
        timeout_notify=RENEW_SECONDS,
    )


def build_telemetry(settings: Settings) -> Telemetry:
    """Metrics, with those of the process, and traces where the settings say so."""
    metrics = Metrics(REGISTRY)
    if settings.telemetry is None:
        return Telemetry(metrics)
    from safety_gateway.tracing import OtlpTracer  # noqa: PLC0415 - costs time and memory that others save

    return Telemetry(metrics, OtlpTracer(settings.telemetry, socket.gethostname(), metrics))


def build_audit(
    settings: Settings, folder: Path | None, telemetry: Telemetry, days: int | None = None
) -> AuditTrail:
    """The audit trail; ``folder``: where files of this process have it, too, for so many days."""
    chain = new_chain()
    try:
        file = AuditFile(folder, chain, telemetry.metrics, days) if folder else None
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else type(error).__name__
        give_up(
            f"spec.audit.claim: no file can be made in the claim's folder for the audit trail: {words}. "
            "Let the user or group of the guardrails' pods write it, or make room"
        )
    return ObservedAudit(telemetry, keep_text=settings.audit_text, chain=chain, sink=file)


def build_pipeline(
    settings: Settings, model: Model, folder: Path, telemetry: Telemetry, audit: Callable[[], AuditTrail]
) -> Pipeline:
    """The rails of a folder before a model."""
    rails = build_rails(settings, folder)  # first: a pod whose rails do not load leaves no file
    return observed(rails, model, settings, telemetry, audit())


def build_rails(settings: Settings, folder: Path) -> Rails:
    """All rails of the settings, and those of the library's folder."""
    from safety_gateway.nemo import NemoRails  # noqa: PLC0415 - takes seconds, and tests do without

    found: list[Rails] = [NemoRails(folder, settings.guard_timeout_seconds, settings.texts)]
    if settings.jailbreak is not None:
        found.append(JailbreakRail(settings.jailbreak, read_key(settings.jailbreak.key_env)))
    if settings.sensitive_data is not None:
        found.append(SensitiveDataRail(settings.sensitive_data))
    if (own := folder.parent / OWN_FOLDER).is_dir():
        from safety_gateway.own_rails import (  # noqa: PLC0415 - as above
            OwnConfigError,
            load_own_rails,
            try_own_rails,
        )

        try:
            asyncio.run(try_own_rails(own, settings))
            found.append(load_own_rails(own, settings))
        except OwnConfigError as error:
            give_up(f"spec.guardrails.config: {error}")
    return found[0] if len(found) == 1 else AllRails(found)


def give_up(words: str) -> NoReturn:
    """End with what a person has to change, where Kubernetes reads a container's last words."""
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(f"InvalidSpec: {words}", encoding="utf-8")
    sys.stderr.write(f"{words}\n")
    sys.exit(EXIT_INPUT)


def read_key(variable: str | None) -> str | None:
    """The API key in a variable; None where a server wants none."""
    return os.environ[variable] if variable else None


def listen(port: int) -> socket.socket:
    """A socket at all addresses of the pod, of both families where there are both.

    What it accepts sends at once. asyncio sees to that for its own sockets only, and an answer in two parts
    would wait 40 ms until the client confirms the first.
    """
    listener = _bind(port)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _bind(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # a kernel that knows IPv6 and has it switched off
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
    return socket.create_server(("", port), backlog=BACKLOG)


if __name__ == "__main__":
    main(sys.argv[1:])
