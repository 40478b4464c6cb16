"""``client.py URL PER_SECOND KEY_FILE``: ask a guarded endpoint at a steady rate until told to end.

Requests begin at the rate whatever becomes of the ones before. Most go over connections that are kept, some
over new ones, and each second two streams begin, one of which is open for 12 seconds. Nothing is tried again:
one line of JSON on standard output for each request, with what went wrong where it did. The key is read anew
for each request, as of a client that is given a new one. SIGTERM ends it once all is answered.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PLAIN, SHORT_STREAM, LONG_STREAM = 4, 40, 240
"""Tokens of the answers."""
LIMIT_SECONDS = 60


def headers(key_file: Path) -> dict[str, str]:
    """The key of this moment."""
    key = key_file.read_text(encoding="utf-8").strip() if key_file.is_file() else ""
    return {"Authorization": f"Bearer {key}"} if key else {}


async def ask(session: aiohttp.ClientSession, url: str, key_file: Path, kind: str, tokens: int) -> None:
    """One request; what goes wrong is written, not raised."""
    began = time.time()
    problem = ""
    try:
        problem = await answer(session, url, headers(key_file), tokens, stream="stream" in kind)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        problem = f"{type(error).__name__}: {error}"
    line = {"at": began, "end": time.time(), "kind": kind, "problem": problem}
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


async def answer(
    session: aiohttp.ClientSession, url: str, head: dict[str, str], tokens: int, *, stream: bool
) -> str:
    """Ask; what is wrong with the answer, empty where nothing is."""
    body: dict[str, Any] = {"model": "load", "messages": QUESTION, "max_tokens": tokens, "stream": stream}
    async with session.post(f"{url}/chat/completions", json=body, headers=head) as response:
        text = await response.text()
    if response.status != 200:
        return f"{response.status} {text[:200]}"
    if stream:
        if not text.rstrip().endswith("data: [DONE]") or '"error"' in text:
            return f"stream ended with {text[-200:]}"
        found = sum(len(line.split()) for line in contents(text))
        return "" if found == tokens else f"{found} of {tokens} words"
    content = json.loads(text)["choices"][0]["message"]["content"]
    return "" if len(content.split()) == tokens else f"answer {content[:100]!r}"


def contents(text: str) -> list[str]:
    """Texts of a stream's parts, put together as one answer."""
    parts = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"]]
    return ["".join(deltas)]


async def main(url: str, rate: int, key_file: Path) -> None:
    """Ask until told to end, then wait for what is open."""
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    timeout = aiohttp.ClientTimeout(total=LIMIT_SECONDS)
    kept = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
    new = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True))
    async with kept, new, asyncio.TaskGroup() as group:
        begin = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            if end.is_set():
                return
            kind, tokens = request_of(number % rate)
            group.create_task(ask(new if "new" in kind else kept, url, key_file, kind, tokens))


def request_of(place: int) -> tuple[str, int]:
    """What kind of request has a place in each second, and the tokens of its answer."""
    if place == 0:
        return "long stream, new connection", LONG_STREAM
    if place == 1:
        return "stream", SHORT_STREAM
    return ("new connection" if place % 4 == 0 else "kept connection"), PLAIN


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
