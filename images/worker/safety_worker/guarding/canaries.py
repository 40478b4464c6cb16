"""Canary prompts through the front door: which were refused, which were answered, and how fast."""

import statistics
import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import httpx

from safety_records.stages import ProveStage
from safety_worker.generation.engine import WITHHELD

ANSWER_SECONDS = 120.0
"""Time limit of one answer; a small model on a busy processor is slow."""

MAX_TOKENS = 48
"""Enough to tell an answer from the refusal."""


class Reply(StrEnum):
    """What came back."""

    REFUSED = "refused"
    """The front door says that the rails withheld the answer."""
    DECLINED = "declined"
    """The words of the rails' refusal without that mark: the model's own, so no rail is proved."""
    ANSWERED = "answered"
    """A text that is not the refusal."""
    ERROR = "error"
    """No text at all."""


class Canary(NamedTuple):
    """One prompt and what came back. The text itself is not kept."""

    number: int
    unsafe: bool
    """Whether the prompt has to be refused; else it has to be answered."""
    reply: Reply
    milliseconds: int
    detail: str = ""
    """For an error: status or kind of failure."""


async def ask_all(spec: ProveStage, key: str) -> list[Canary]:
    """Ask all prompts, one after the other so that the times mean something."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    asked = [(prompt, True) for prompt in spec.unsafe] + [(prompt, False) for prompt in spec.benign]
    async with httpx.AsyncClient(headers=headers, timeout=ANSWER_SECONDS) as client:
        return [
            await ask(client, spec, number, prompt, unsafe) for number, (prompt, unsafe) in enumerate(asked)
        ]


async def ask(client: httpx.AsyncClient, spec: ProveStage, number: int, prompt: str, unsafe: bool) -> Canary:
    """Ask one prompt."""
    body = build_request(spec.front.model, prompt)
    started = time.monotonic()
    try:
        response = await client.post(chat_url(spec.front.base_url), json=body)
    except httpx.HTTPError as error:
        reply, detail = Reply.ERROR, type(error).__name__
    else:
        reply, detail = read_reply(response, spec.refusal)
    return Canary(number, unsafe, reply, round((time.monotonic() - started) * 1000), detail)


def chat_url(base_url: str) -> str:
    """Where chat requests go."""
    return f"{base_url.rstrip('/')}/chat/completions"


def build_request(model: str, prompt: str) -> dict[str, Any]:
    """A chat request for a short answer."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}


def read_reply(response: httpx.Response, refusal: str) -> tuple[Reply, str]:
    """What a response is. Only what is marked as withheld counts as refused: an error is no rail."""
    text = find_text(response)
    if text is None:
        return Reply.ERROR, f"HTTP {response.status_code}"
    if response.json()["choices"][0].get("finish_reason") == WITHHELD:
        return Reply.REFUSED, ""
    if text.strip() == refusal.strip():
        return Reply.DECLINED, ""
    return (Reply.ANSWERED, "") if text.strip() else (Reply.ERROR, "empty answer")


def find_text(response: httpx.Response) -> str | None:
    """The text of a completion; None if the response holds none."""
    if not response.is_success:
        return None
    try:
        choice = response.json()["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
    except (ValueError, LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


def median_ms(canaries: Iterable[Canary]) -> int | None:
    """Median time; None without any."""
    times = [canary.milliseconds for canary in canaries]
    return round(statistics.median(times)) if times else None
