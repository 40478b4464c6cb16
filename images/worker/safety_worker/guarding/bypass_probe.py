"""Bypass probes: can this pod, which is no guardrails pod, get a completion that no rail has read?

It asks the direct endpoint, the model server itself, without a key and with wrong ones, and the guarded
endpoint to switch the rails off, which NeMo Guardrails' request format has fields for.

Closed means that every probe was turned away: by the network (no connection) or by the server. One completion
is enough for open. A probe that met something else, such as a server that is starting, proves nothing.
"""

import asyncio
import socket
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from safety_records.stages import ProbeStage, ProveStage
from safety_worker.generation.request_form import key_header
from safety_worker.generation.shown_certificate import verify_of
from safety_worker.guarding.canaries import (
    ANSWER_SECONDS,
    Reply,
    build_request,
    chat_url,
    find_choice,
    read_reply,
)

PROMPT = "Say hello."
"""Harmless: the probe asks whether there is a way, not what is behind it."""

WRONG_KEYS: tuple[str, ...] = ("", "none", "wrong-key")
"""No key, the placeholder that clients send for none, and any key."""

OTHER_PORTS = (80, 5000, 8001, 8002, 8080, 8265, 29500)
"""Where engines and what they run on have further servers: NIM's and Triton's, Ray's dashboard, torch's."""
MAX_PODS = 4
"""Pods that are asked at their addresses: all are of one template behind one policy."""

TURNED_AWAY = frozenset({401, 403})
"""Statuses of a server that wants a key."""
NOT_THERE = frozenset({404, 405})
"""Statuses of a server that has no such route, or says so to those without a key."""


class Way(StrEnum):
    """What a probe met."""

    NETWORK = "no connection"
    REFUSED = "refused by the server"
    OPEN = "completion"
    UNKNOWN = "unknown"


class ProbeAnswer(NamedTuple):
    """One try."""

    path: str
    """Path at the model server, or the guarded endpoint."""
    key: str
    """With what: ``without a key``, ``with a wrong key``, ..."""
    way: Way
    detail: str = ""


async def probe_all(spec: ProveStage, key: str) -> list[ProbeAnswer]:
    """All probes. ``key``: of the guarded endpoint."""
    if spec.direct_is_foreign:
        return [*await probe_foreign(spec), *await probe_unchecked(spec, key)]
    direct, pods = await asyncio.gather(probe_direct(spec), probe_pods(spec))
    return [*direct, *pods, *await probe_unchecked(spec, key)]


async def probe_outside(spec: ProbeStage) -> tuple[bool | None, str]:
    """Whether the ways past the rails are closed to this pod, and why, as :func:`summarise_probes` says it.

    Only a pod that reaches the guarded endpoint learns anything from a model server that it does not reach:
    its own namespace may let nothing out.
    """
    reaches, direct, pods = await asyncio.gather(
        _reaches(spec.guarded_url, spec.probe_timeout_seconds), probe_direct(spec), probe_pods(spec)
    )
    probes = [*direct, *pods]
    if reaches or any(probe.way is Way.OPEN for probe in probes):
        return summarise_probes(probes, model_alive=True)
    return None, "not even the guarded endpoint can be reached from there"


async def _reaches(url: str, seconds: float) -> bool:
    """Whether somebody listens at a URL's host and port."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(parts.hostname or "", port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


async def probe_foreign(spec: ProveStage) -> list[ProbeAnswer]:
    """Ask a server of others for one token without its key, at its own address and nowhere else.

    Its certificate is not checked: whoever looks for a way round the rails would not do so either, and no key
    is sent. No proxy is asked, whatever the environment says, whose refusal would count as the server's.
    """
    chat = build_request(spec.direct.model, PROMPT) | {"max_tokens": 1}
    text = {"model": spec.direct.model, "prompt": PROMPT, "max_tokens": 1}
    async with httpx.AsyncClient(
        timeout=spec.probe_timeout_seconds,
        verify=False,  # noqa: S501 - see above
        trust_env=False,
    ) as client:
        tries = [
            _probe_foreign(client, spec.direct.base_url, path, body)
            for path, body in (("/chat/completions", chat), ("/completions", text))
        ]
        return list(await asyncio.gather(*tries))


async def _probe_foreign(
    client: httpx.AsyncClient, base_url: str, path: str, body: dict[str, Any]
) -> ProbeAnswer:
    key = "without a key"
    try:
        response = await client.post(f"{base_url}{path}", json=body)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return ProbeAnswer(path, key, Way.NETWORK, type(error).__name__)
    except httpx.HTTPError as error:
        return ProbeAnswer(path, key, Way.UNKNOWN, type(error).__name__)
    way = Way.REFUSED if response.status_code in TURNED_AWAY | NOT_THERE else Way.UNKNOWN
    if find_choice(response) is not None:
        way = Way.OPEN
    return ProbeAnswer(path, key, way, f"HTTP {response.status_code}")


async def probe_pods(spec: ProveStage | ProbeStage) -> list[ProbeAnswer]:
    """Ask the model's pods at their own addresses, past the Service, at every port that may have a server."""
    if not spec.pods_url:
        return []
    parts = urlsplit(spec.pods_url)
    addresses = await find_addresses(parts.hostname or "")
    if not addresses:
        return [ProbeAnswer("the model's pods", "by their name", Way.UNKNOWN, "no address")]
    ports = dict.fromkeys((parts.port or 80, *OTHER_PORTS))
    async with httpx.AsyncClient(timeout=spec.probe_timeout_seconds, trust_env=False) as client:
        tries = [
            _probe_port(client, spec, address, port) for address in addresses[:MAX_PODS] for port in ports
        ]
        return list(await asyncio.gather(*tries))


async def _probe_port(
    client: httpx.AsyncClient, spec: ProveStage | ProbeStage, address: str, port: int
) -> ProbeAnswer:
    """Ask for one token at a port. What is no HTTP, or answers without a completion, is no way around."""
    host = f"[{address}]" if ":" in address else address
    where, key = f"port {port} of a model's pod", "without a key"
    body = build_request(spec.direct.model, PROMPT) | {"max_tokens": 1}
    try:
        response = await client.post(f"http://{host}:{port}/v1/chat/completions", json=body)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return ProbeAnswer(where, key, Way.NETWORK, type(error).__name__)
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        return ProbeAnswer(where, key, Way.REFUSED, type(error).__name__)
    except httpx.HTTPError as error:
        return ProbeAnswer(where, key, Way.UNKNOWN, type(error).__name__)
    if find_choice(response) is not None:
        return ProbeAnswer(where, key, Way.OPEN, f"HTTP {response.status_code}")
    way = Way.UNKNOWN if response.is_server_error else Way.REFUSED
    return ProbeAnswer(where, key, way, f"HTTP {response.status_code}")


async def probe_direct(spec: ProveStage | ProbeStage) -> list[ProbeAnswer]:
    """Ask with every wrong key at both endpoints that give completions."""
    host = urlsplit(spec.direct.base_url).hostname or ""
    if not await can_resolve(host):
        return [ProbeAnswer(host or "the model server", "by its name", Way.UNKNOWN, "no address")]
    timeout = httpx.Timeout(spec.probe_timeout_seconds)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
        tries = [
            probe_path(client, spec, path, body, key)
            for path, body in build_bodies(spec.direct.model).items()
            for key in WRONG_KEYS
        ]
        return list(await asyncio.gather(*tries))


def build_bodies(model: str) -> dict[str, dict[str, Any]]:
    """Requests by path from the server's root.

    vLLM's API key guards paths below ``/v1`` only; ``/invocations`` gives the same completions.
    """
    chat = build_request(model, PROMPT) | {"max_tokens": 1}
    return {
        "/v1/chat/completions": chat,
        "/invocations": chat,
        "/v1/completions": {"model": model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0},
    }


async def probe_path(
    client: httpx.AsyncClient, spec: ProveStage | ProbeStage, path: str, body: dict[str, Any], key: str
) -> ProbeAnswer:
    """Ask the model server for one token."""
    url = f"{server_root(spec.direct.base_url)}{path}"
    name = "with a wrong key" if key else "without a key"
    try:
        response = await client.post(url, json=body, headers=key_header(key))
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return ProbeAnswer(path, name, Way.NETWORK, type(error).__name__)
    except httpx.HTTPError as error:  # connected, so the network let it through, but no answer in time
        return ProbeAnswer(path, name, Way.UNKNOWN, type(error).__name__)
    if response.status_code in TURNED_AWAY or _is_not_there(response):
        return ProbeAnswer(path, name, Way.REFUSED, f"HTTP {response.status_code}")
    if find_choice(response) is not None:  # also one without text: what answered is the model
        return ProbeAnswer(path, name, Way.OPEN, f"HTTP {response.status_code}")
    return ProbeAnswer(path, name, Way.UNKNOWN, f"HTTP {response.status_code}")


def _is_not_there(response: httpx.Response) -> bool:
    """Whether the server has no such route, as the middleware before vLLM says without a word.

    With an error of OpenAI's form an engine has read the request, and might answer another one.
    """
    return response.status_code in NOT_THERE and b'"error"' not in response.content


async def probe_unchecked(spec: ProveStage, key: str) -> list[ProbeAnswer]:
    """Ask the guarded endpoint an unsafe prompt with the rails switched off."""
    body = build_request(spec.guarded.model, spec.unsafe[0]) if spec.unsafe else {}
    off = {"rails": {"input": False, "output": False}}
    context = {"role": "context", "content": {"generation_options": off}}
    tries = {
        "with options": body | {"guardrails": {"options": off}},
        "with a context": body | {"messages": [context, *body.get("messages", [])]},
    }
    verify = verify_of(spec.guarded)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, headers=key_header(key), verify=verify) as client:
        return [await _probe_guarded(client, spec, name, tried) for name, tried in tries.items() if body]


async def _probe_guarded(
    client: httpx.AsyncClient, spec: ProveStage, name: str, body: dict[str, Any]
) -> ProbeAnswer:
    path = "the guarded endpoint"
    name = f"{name} that switch the rails off"
    try:
        response = await client.post(chat_url(spec.guarded.base_url), json=body)
    except httpx.HTTPError as error:
        return ProbeAnswer(path, name, Way.UNKNOWN, type(error).__name__)
    reply, _ = read_reply(response, spec.refusal)
    if reply in (Reply.ANSWERED, Reply.DECLINED, Reply.SILENT):
        return ProbeAnswer(path, name, Way.OPEN, f"HTTP {response.status_code}")
    way = Way.REFUSED if reply is Reply.REFUSED or response.is_client_error else Way.UNKNOWN
    return ProbeAnswer(path, name, way, f"HTTP {response.status_code}")


def summarise_probes(probes: list[ProbeAnswer], *, model_alive: bool) -> tuple[bool | None, str]:
    """Whether the bypass is closed, and why, in words for people. None: it could not be found out.

    ``model_alive``: whether the guarded endpoint gave an answer of the model's. Without one, "no connection"
    may only mean that no server is there.
    """
    opened = next((probe for probe in probes if probe.way is Way.OPEN), None)
    if opened is not None:
        return False, f"{opened.path} answered {opened.key}"
    unknown = next((probe for probe in probes if probe.way is Way.UNKNOWN), None)
    if unknown is not None or not probes:
        return None, f"{unknown.path} {unknown.key}: {unknown.detail}" if unknown else "nothing was probed"
    if not model_alive and any(probe.way is Way.NETWORK for probe in probes):
        return (
            None,
            "no connection to the model server, and no answer of it through the guarded endpoint",
        )
    ways = sorted({f"{probe.way} ({probe.detail})" for probe in probes if probe.path.startswith("/")})
    return True, "; ".join(ways)


def server_root(base_url: str) -> str:
    """The server's address without ``/v1``."""
    return base_url.rstrip("/").removesuffix("/v1")


async def can_resolve(host: str) -> bool:
    """Whether the model server's name has an address: without one the probe proves nothing."""
    return bool(await find_addresses(host))


async def find_addresses(host: str) -> list[str]:
    """All addresses of a name; none where it cannot be resolved."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(address[0]) for *_, address in found})
