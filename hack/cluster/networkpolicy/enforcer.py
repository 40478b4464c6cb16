#!/usr/bin/env python3
"""Enforces NetworkPolicy on a node whose CNI does not: runs in the node.

Watches pods, namespaces and policies, and replaces one nftables table whenever
they change (rules.py makes it). Started by hack/cluster/up.sh as the unit
network-policy, only where the node image is of our own making: the published
one has an enforcer. Standard library only. A pod is open until its address
is known to the API server, which is a moment after it starts.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from rules import Compiler, Object

KUBECONFIG = "/etc/kubernetes/admin.conf"
RESOURCES = ("/api/v1/pods", "/api/v1/namespaces", "/apis/networking.k8s.io/v1/networkpolicies")
SETTLE_SECONDS = 0.03
"""Changes come in bursts; one rule set for the burst is enough."""
RETRY_SECONDS = 1.0
WATCH_TIMEOUT_SECONDS = 600


class Client:
    """The API server as the node's administrator."""

    def __init__(self) -> None:
        view = subprocess.check_output(
            ["kubectl", "--kubeconfig", KUBECONFIG, "config", "view", "--raw", "-o", "json"]
        )
        config = json.loads(view)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urlsplit(cluster["server"]).netloc
        self.context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("client-certificate-data", "client-key-data")]
            for file in files:
                file.write_bytes(base64.b64decode(user[file.name]))
            self.context.load_cert_chain(*files)

    def get(self, path: str) -> http.client.HTTPResponse:
        """Start a GET; raise OSError unless the answer is 200."""
        connection = http.client.HTTPSConnection(
            self.host, context=self.context, timeout=WATCH_TIMEOUT_SECONDS + 30
        )
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise OSError(f"{path}: {response.status} {response.read()[:200]!r}")
        return response


class Mirror:
    """A local copy of one resource, kept up to date by a thread of its own."""

    def __init__(self, client: Client, path: str, changed: threading.Event) -> None:
        self.client, self.path, self.changed = client, path, changed
        self.items: dict[str, Object] = {}
        self.synced = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def snapshot(self) -> list[Object]:
        """Return the objects as they are now."""
        return list(self.items.copy().values())

    def _run(self) -> None:
        while True:
            try:
                self._list_and_watch()
            except (OSError, ValueError, http.client.HTTPException) as error:
                print(f"{self.path}: {error!r}; listing again", file=sys.stderr, flush=True)
                time.sleep(RETRY_SECONDS)

    def _list_and_watch(self) -> None:
        with self.client.get(self.path) as response:
            listed = json.load(response)
        self.items = {item["metadata"]["uid"]: item for item in listed["items"]}
        self.synced.set()
        self.changed.set()
        version = listed["metadata"]["resourceVersion"]
        query = f"?watch=1&resourceVersion={version}&timeoutSeconds={WATCH_TIMEOUT_SECONDS}"
        with self.client.get(self.path + query) as response:
            for line in response:
                self._apply(json.loads(line))

    def _apply(self, event: Object) -> None:
        if event["type"] == "ERROR":
            raise ValueError(event["object"].get("message"))
        item = event["object"]
        if event["type"] == "DELETED":
            self.items.pop(item["metadata"]["uid"], None)
        else:
            self.items[item["metadata"]["uid"]] = item
        self.changed.set()


def main() -> None:
    """Apply a rule set after each burst of changes, for ever."""
    changed = threading.Event()
    client = Client()
    pods, namespaces, policies = (Mirror(client, path, changed) for path in RESOURCES)
    for mirror in (pods, namespaces, policies):
        mirror.synced.wait()
    applied = ""
    while True:
        changed.wait()
        time.sleep(SETTLE_SECONDS)
        changed.clear()
        wanted = Compiler(pods.snapshot(), namespaces.snapshot(), policies.snapshot()).ruleset()
        if wanted == applied:
            continue
        done = subprocess.run(["nft", "-f", "-"], input=wanted.encode(), capture_output=True, check=False)
        if done.returncode == 0:
            applied = wanted
            print(f"applied {wanted.count('chain ') - 1} chains", flush=True)
        else:
            print(f"nft refuses: {done.stderr.decode()}\n{wanted}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
