"""``python -m safety_reports``: serve the reports of the pod's namespace until SIGTERM."""

import logging
import os
import socket
import sys
from pathlib import Path

from aiohttp import web

from safety_records.report_files import SERVER_PORT
from safety_reports.server import build_app

ROOT = Path("/artifacts")
"""Where the chart mounts the claim."""
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""Nothing else, so that even without a network policy no other pod gets here."""
VARIABLES = ("SAFETY_NAMESPACE", "SAFETY_CLAIM")


def main() -> int:
    """Serve; 2 if the environment is incomplete or no loopback address is to be had."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        return _refuse(f"set {' and '.join(missing)}: the namespace and the claim whose reports are served")
    root = Path(os.environ.get("SAFETY_ROOT") or ROOT)
    port = int(os.environ.get("SAFETY_PORT") or SERVER_PORT)
    sockets = _bind(port)
    if not sockets:
        return _refuse(f"port {port} is not free on any loopback address")
    app = build_app(root, *(os.environ[name] for name in VARIABLES))
    web.run_app(app, sock=sockets, access_log=None, print=None, shutdown_timeout=5)
    return 0


def _bind(port: int) -> list[socket.socket]:
    bound = []
    for family, address in LOOPBACK:
        try:
            bound.append(socket.create_server((address, port), family=family))
        except OSError:
            continue  # a cluster has the one, the other or both
    return bound


def _refuse(words: str) -> int:
    logging.getLogger(__name__).error(words)
    return 2


if __name__ == "__main__":
    sys.exit(main())
