"""An HTTPRoute with weights, an Ingress and TLS, with Traefik, a real API server and the operator.

Run as root with ``python tests/benchmarks/http_route.py --traefik BINARY --gateway-api MODULE``: the folder
of the Go module sigs.k8s.io/gateway-api; docs/experiments.md says how the binary was built. Prints what was
seen, and exits 1 where a request failed or a share was wrong. All runs in a network namespace of its own,
whose loopback device has the pods' addresses: there is no kubelet, and small servers stand in for guardrails.
"""

# ruff: noqa: T201 - it prints what it sees

import argparse
import asyncio
import json
import math
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator")]

import aiohttp  # noqa: E402
import trustme  # noqa: E402
from aiohttp import web  # noqa: E402
from tests.integration.apiserver import ApiServer, running_apiserver  # noqa: E402
from tests.integration.conftest import MERGE, Team, make_team  # noqa: E402
from tests.integration.operator_process import OperatorProcess  # noqa: E402
from tests.integration.test_rollouts import GOOD, KIND, guarded  # noqa: E402
from tests.until import until  # noqa: E402

from safety_records.result import Artifact  # noqa: E402

NODE = "node"
STEP = 15
"""Seconds of a step of weights."""
APPLY = 8
"""Seconds that Traefik needs at most between saying that it has taken a route, and leading requests by it."""
INSIDE = "SAFETY_HTTP_ROUTE_INSIDE"
POD_PORT, ENTRY_PORT, REQUESTS, PAUSE = 8000, 8080, 2000, 0.3
ADDRESSES = {"old": "198.51.100.1", "new": "198.51.100.2", "tls": "198.51.100.3", "ingress": "198.51.100.4"}
API = "gateway.networking.k8s.io/v1"
CRDS = ("gatewayclasses", "gateways", "httproutes", "grpcroutes", "tlsroutes", "referencegrants")
GATEWAY = {"name": "public", "namespace": "gateways"}
ALL, SAME = ({"namespaces": {"from": where}} for where in ("All", "Same"))


def route(host: str) -> dict[str, Any]:
    return {"httpRoute": {"parentRefs": [GATEWAY], "hostnames": [host]}}


async def serve_as(name: str, tls: ssl.SSLContext | None) -> None:
    """A stand-in for guardrails that says its name, and streams events."""

    async def say(_: web.Request) -> web.Response:
        return web.Response(text=name)

    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(5):
            await answer.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(PAUSE)
        return answer

    app = web.Application()
    app.add_routes([web.get("/", say), web.get("/stream", stream)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, ADDRESSES[name], POD_PORT, ssl_context=tls).start()


async def ask(session: aiohttp.ClientSession, host: str) -> str:
    """Who answered, or what went wrong."""
    try:
        async with session.get(f"http://127.0.0.1:{ENTRY_PORT}/", headers={"Host": host}) as answer:
            text = await answer.text()
            return text if answer.status == 200 else f"{answer.status} {text.strip()}"
    except aiohttp.ClientError as error:
        return repr(error)


async def count(host: str, number: int) -> Counter[str]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:
        return Counter(await asyncio.gather(*(ask(session, host) for _ in range(number))))


async def arrivals(host: str) -> list[float]:
    """Seconds after the first at which the parts of a stream came."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{ENTRY_PORT}/stream", headers={"Host": host}) as answer,
    ):
        found = [time.monotonic() async for _ in answer.content.iter_any()]
    return [round(at - found[0], 1) for at in found]


class Prober(threading.Thread):
    """Asks one after the other until it is told to stop."""

    def __init__(self, host: str) -> None:
        super().__init__(daemon=True)
        self.host, self.seen, self.over = host, Counter[str](), threading.Event()

    def run(self) -> None:
        asyncio.run(self._ask())

    async def _ask(self) -> None:
        async with aiohttp.ClientSession() as session:
            while not self.over.is_set():
                self.seen[await ask(session, self.host)] += 1
                await asyncio.sleep(0.01)


@contextmanager
def running_traefik(binary: Path, kubeconfig: Path, log: Path) -> Iterator[None]:
    command = [
        str(binary),
        f"--entrypoints.web.address=127.0.0.1:{ENTRY_PORT}",
        *("--providers.kubernetesgateway=true", "--providers.kubernetesingress=true"),
        *("--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=INFO"),
    ]
    with log.open("ab") as out:
        environment = {"KUBECONFIG": str(kubeconfig), "PATH": os.environ["PATH"]}
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.kill()
        process.wait(timeout=10)


def apply_gateway(server: ApiServer, allowed: dict[str, Any], hostname: str = "*.example.com") -> None:
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": ENTRY_PORT,
        "allowedRoutes": allowed,
        "hostname": hostname,
    }
    spec = {"gatewayClassName": "traefik", "listeners": [listener]}
    Team(server, "gateways").apply(
        {"apiVersion": API, "kind": "Gateway", "metadata": {"name": "public"}, "spec": spec}
    )


def place(team: Team, pod: dict[str, Any], name: str) -> None:
    """Let a pod be ready at the address of a stand-in, on a node: without one it is in no EndpointSlice."""
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod['metadata']['name']}"
    binding = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": NODE}}
    answer = team.server.http.post(f"{path}/binding", json=binding)
    assert answer.is_success, answer.text
    team.kubelet.serve(pod)
    address = ADDRESSES[name]
    body = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    answer = team.server.http.patch(f"{path}/status", json=body, headers=MERGE)
    assert answer.is_success, answer.text


def bring_up(team: Team, resource: str, name: str, **spec: Any) -> None:
    manifest = guarded(**spec)
    manifest["metadata"]["name"] = resource
    team.apply(manifest)
    team.kubelet.succeed(resource, "fetch")
    serve(team, resource, name)
    team.kubelet.succeed(resource, "prove", proof=GOOD)


def serve(team: Team, resource: str, name: str, num: int = 1) -> None:
    """Let the newest pods of all servers be ready."""
    for role in ("model", "classifier", "guardrails"):
        pod = until(lambda role=role: team.kubelet.server_pods(resource, role, num), f"pods of {role}", 60)[0]
        if role == "guardrails":
            place(team, pod, name)
        else:
            team.kubelet.serve(pod)


def told(team: Team, resource: str, reason: str, word: str = "") -> None:
    began = time.monotonic()

    def look() -> dict[str, Any] | None:
        found = team.condition(KIND, resource, "Exposed")
        return found if found.get("reason") == reason and word in found["message"] else None

    found = until(look, f"Exposed={reason} of {resource}", 90)
    print(
        f"Exposed={found['status']} {reason} after {time.monotonic() - began:.1f} s: {found['message']}",
        flush=True,
    )


def the_route(team: Team, resource: str) -> dict[str, Any]:
    items = team.children(f"/apis/{API}", "httproutes")
    return next(item for item in items if item["metadata"]["ownerReferences"][0]["name"] == resource)


def wait_for_share(team: Team, percent: int) -> bool:
    """Wait until the route gives the new version a share; then count, and say whether it is right."""
    began = time.monotonic()

    def there() -> bool:
        found = the_route(team, "g")
        weights = [item.get("weight") for item in found["spec"]["rules"][0]["backendRefs"]]
        seen = found["status"]["parents"][0]["conditions"][0]["observedGeneration"]
        return weights == [100 - percent, percent] and seen == found["metadata"]["generation"]

    until(there, f"{percent} % taken", 60)
    taken = time.monotonic() - began
    time.sleep(APPLY)
    seen = asyncio.run(count("g.example.com", REQUESTS))
    share, bound = seen["new"] / REQUESTS, 2.58 * math.sqrt(percent / 100 * (1 - percent / 100) / REQUESTS)
    right = abs(share - percent / 100) <= bound and seen["new"] + seen["old"] == REQUESTS
    print(
        f"{percent} %: taken after {taken:.1f} s, {dict(seen)}, {share:.2%} ± {bound:.2%}, {right}",
        flush=True,
    )
    return right


def prove(team: Team, role: str) -> None:
    """End the next proof well; on busy cores its pod takes a while."""
    for last in (False, False, True):
        try:
            team.kubelet.succeed("g", role, proof=GOOD)
        except AssertionError:
            print(f"no pod of {role} yet:", team.condition(KIND, "g", "Promoted"), flush=True)
            if last:
                raise
        else:
            return


def end_pods(team: Team) -> bool:
    """Take away pods that were told to end, as a node's kubelet does; say whether one version is left."""
    path = f"/api/v1/namespaces/{team.namespace}/pods"
    for pod in team.server.http.get(path).json()["items"]:
        if "deletionTimestamp" in pod["metadata"]:
            options = {"gracePeriodSeconds": 0}
            team.server.http.request("DELETE", f"{path}/{pod['metadata']['name']}", json=options)
    return len(team.children("/apis/apps/v1", "deployments")) == 3


def roll_out(team: Team) -> bool:
    prober = Prober("g.example.com")
    prober.start()
    team.patch(KIND, "g", {"model": {"source": {"uri": "hf://org/other"}}})
    other = Artifact(uri=f"{team.namespace}/models/other", digest="sha256:" + "2" * 64, bytes=1)
    team.kubelet.succeed("g", "fetch", output=other)
    serve(team, "g", "new", 2)
    prove(team, "prove-candidate")
    right = []
    for percent in (10, 50):
        right.append(wait_for_share(team, percent))
        time.sleep(STEP)  # a proof from before the step's end does not count
        prove(team, "prove-candidate")
    began = time.monotonic()
    until(lambda: asyncio.run(count("g.example.com", 50)) == Counter(new=50), "all requests", 60)
    print(
        f"all requests at the new version {time.monotonic() - began:.1f} s after the last proof", flush=True
    )
    time.sleep(APPLY)  # a proof from before the change-over does not count
    prove(team, "prove")
    until(lambda: end_pods(team), "the old one goes", 120)
    time.sleep(APPLY)
    prober.over.set()
    prober.join()
    print(f"asked all the time: {dict(prober.seen)}", flush=True)
    return all(right) and set(prober.seen) == {"old", "new"}


def try_tls(team: Team, authority: trustme.CA, secret: dict[str, Any]) -> bool:
    team.apply(secret)
    bring_up(team, "t", "tls", expose=route("t.example.com") | {"tls": {"secretName": "tls"}})
    told(team, "t", "NoCallerKeys")
    time.sleep(APPLY)
    print("TLS without a BackendTLSPolicy:", dict(asyncio.run(count("t.example.com", 20))), flush=True)
    trust = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "authority"}]}
    ref = {"group": "", "kind": "Service", "name": "t"}
    policy = {"targetRefs": [ref], "validation": trust | {"hostname": f"t.{team.namespace}.svc"}}
    data = {"ca.crt": authority.cert_pem.bytes().decode()}
    team.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"}, "data": data},
        {"apiVersion": API, "kind": "BackendTLSPolicy", "metadata": {"name": "t"}, "spec": policy},
    )
    time.sleep(APPLY)
    seen = asyncio.run(count("t.example.com", 20))
    print("TLS with one:", dict(seen), flush=True)
    return seen == Counter(tls=20)


def try_ingress(team: Team) -> bool:
    spec = {"controller": "traefik.io/ingress-controller"}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "traefik"}}
    team.server.kubectl("apply", "-f", "-", stdin=json.dumps(kind | {"spec": spec}))
    bring_up(team, "i", "ingress", expose={"ingress": {"host": "i.example.com", "className": "traefik"}})
    told(team, "i", "NoCallerKeys")
    time.sleep(APPLY)
    seen = asyncio.run(count("i.example.com", 200))
    print(
        "Ingress:", dict(seen), "a stream's parts after", asyncio.run(arrivals("i.example.com")), flush=True
    )
    return seen == Counter(ingress=200)


def try_all(server: ApiServer, folder: Path, traefik: Path, module: Path) -> bool:
    server.install_crds()
    team = make_team(server, "http-route")
    server.kubectl("create", "namespace", "gateways")
    team.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    authority = trustme.CA()
    issued = authority.issue_cert(f"t.{team.namespace}.svc")
    pair = {
        "tls.crt": b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode(),
        "tls.key": issued.private_key_pem.bytes().decode(),
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "type": "kubernetes.io/tls"}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(tls)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    for name in ADDRESSES:
        asyncio.run_coroutine_threadsafe(serve_as(name, tls if name == "tls" else None), loop).result()
    operator = OperatorProcess(server.kubeconfig, folder, team.namespace)
    operator.start()
    try:
        weights = {"strategy": "BlueGreen", "weights": [10, 50], "stepSeconds": STEP}
        bring_up(team, "g", "old", expose=route("g.example.com"), rollout=weights)
        told(team, "g", "ApiMissing")
        crds = [module / f"config/crd/standard/gateway.networking.k8s.io_{name}.yaml" for name in CRDS]
        crds.append(module / "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml")
        for crd in crds:
            server.kubectl("apply", "--server-side", "-f", str(crd))
        told(team, "g", "RouteNotTaken")
        log = folder / "traefik.log"
        with running_traefik(traefik, server.kubeconfig, log):
            kind = {"apiVersion": API, "kind": "GatewayClass", "metadata": {"name": "traefik"}}
            team.apply(kind | {"spec": {"controllerName": "traefik.io/gateway-controller"}})
            apply_gateway(server, SAME)
            told(team, "g", "RouteRefused", "NotAllowedByListeners")
            apply_gateway(server, ALL, "*.example.org")
            told(team, "g", "RouteRefused", "NoMatchingListenerHostname")
            apply_gateway(server, ALL)
            told(team, "g", "NoCallerKeys")
            time.sleep(APPLY)
            print("status.parents:", the_route(team, "g")["status"]["parents"], flush=True)
            seen = asyncio.run(count("g.example.com", 200))
            print(
                "HTTPRoute:",
                dict(seen),
                "a stream's parts after",
                asyncio.run(arrivals("g.example.com")),
                flush=True,
            )
            right = [roll_out(team), try_ingress(team)]
            right.append(try_tls(team, authority, secret | {"stringData": pair}))
        return all(right)
    finally:
        operator.kill()
        lines = (folder / "traefik.log").read_text().splitlines()
        print(*(line for line in lines if "ERR" in line), sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traefik", type=Path, required=True)
    parser.add_argument("--gateway-api", type=Path, required=True)
    given = parser.parse_args()
    if INSIDE not in os.environ:
        command = ["unshare", "--net", sys.executable, *sys.argv]
        return subprocess.run(command, env=os.environ | {INSIDE: "1"}, check=False).returncode
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES.values():
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_apiserver(Path(folder) / "server", "--controllers") as server,
    ):
        return 0 if try_all(server, Path(folder), given.traefik, given.gateway_api) else 1


if __name__ == "__main__":
    sys.exit(main())
