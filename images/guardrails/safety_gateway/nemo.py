"""The rails by NeMo Guardrails: its IORails engine, through the library's public classes.

The library's own rule is to read the last user message only. An attacker who puts the request into an earlier
turn, a system message or an invented answer of the assistant would pass it unread. Prompts of tasks may
therefore name ``conversation_messages`` and ``conversation_turns``, which are the whole conversation.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from nemoguardrails import RailsConfig
from nemoguardrails.exceptions import LLMCallException, LLMClientError, LLMContextWindowError
from nemoguardrails.guardrails.guardrails import Guardrails
from nemoguardrails.guardrails.guardrails_types import RailResult
from nemoguardrails.guardrails.model_engine import ModelEngineError

from safety_gateway.errors import BadRequestError, GatewayError, UnavailableError, causes_of
from safety_gateway.guard_answers import PARSERS, is_topic_verdict
from safety_gateway.model_answers import read_seconds
from safety_gateway.rails import Message, Verdict

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONVERSATION: ContextVar[list[Message]] = ContextVar("conversation")
_STRUCTURE = re.compile(
    r"<(?=[|\uff5c]|/?(?:s|bos|eos|pad|unk|sep|cls|mask|think)>|(?:start|end)_of_[a-z]{1,20}>"
    r"|(?:BEGIN|END) (?:CONVERSATION|UNSAFE))|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\])",
    re.IGNORECASE,
)
TOPIC_FLOW = "topic safety check input"
MAX_TEMPLATES = 64
_WINDOW = re.compile(r"(\d{2,9}) tokens")


class NemoRails:
    """The rails of a configuration in NeMo Guardrails' form, or of its folder."""

    def __init__(
        self,
        source: Path | RailsConfig,
        timeout_seconds: float,
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        config = RailsConfig.from_path(str(source)) if isinstance(source, Path) else source
        self._guardrails = Guardrails(config, require_iorails=True)
        self._manager = self._guardrails.rails_engine.rails_manager
        self._timeout = timeout_seconds
        tasks = self._manager.task_manager
        remember_templates(tasks.env)
        tasks.register_filter(as_json, "as_json")
        tasks.register_filter(defused, "defused")
        for name, parser in PARSERS.items():
            tasks.register_output_parser(parser, name)
        for name, text in texts.items():
            tasks.register_prompt_context(name, text)
        tasks.register_prompt_context("conversation_messages", _CONVERSATION.get)
        tasks.register_prompt_context("conversation_turns", lambda: turns(_CONVERSATION.get()))
        tasks.register_prompt_context("conversation_request", lambda: request_text(_CONVERSATION.get()))

    async def start(self) -> None:
        """Open the connections to guards."""
        await self._guardrails.startup()

    async def stop(self) -> None:
        """Close them."""
        await self._guardrails.shutdown()

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Check a conversation; see :class:`safety_gateway.rails.Rails`."""
        _CONVERSATION.set(messages)
        return await self._verdict(self._manager.is_input_safe(spoken(messages)))

    async def check_output(self, messages: list[Message], answer: str) -> Verdict:
        """Check an answer; see :class:`safety_gateway.rails.Rails`."""
        _CONVERSATION.set(messages)
        return await self._verdict(self._manager.is_output_safe(spoken(messages), answer))

    async def _verdict(self, checking: Awaitable[RailResult]) -> Verdict:
        result = await closed_after(self._timeout, checking)
        unsaid = find_unsaid(result)
        if result.failed or (result.is_safe and unsaid):
            log.warning("no verdict: rail=%s", result.triggered_rail or unsaid)
            raise UnavailableError("a rail could not be carried out", rail=result.triggered_rail or unsaid)
        return Verdict(not result.is_safe, result.triggered_rail or "", categories(result))


def remember_templates(environment: Any) -> None:
    """Have Jinja read and compile each prompt once. The library has it done anew for each request and rail.

    Prompts are those of the configuration; texts of a conversation are values in them, and never compiled.
    """
    environment.from_string = lru_cache(MAX_TEMPLATES)(environment.from_string)
    environment.parse = lru_cache(MAX_TEMPLATES)(environment.parse)


async def closed_after(seconds: float, checking: Awaitable[T]) -> T:
    """What a check gives within its time; errors of guards are told in the gateway's words."""
    try:
        async with asyncio.timeout(seconds):
            return await checking
    except TimeoutError as error:
        raise UnavailableError("the guard does not answer in time") from error
    except (LLMCallException, LLMClientError, ModelEngineError) as error:
        raise explain(error) from error


def find_unsaid(result: RailResult) -> str:
    """The topic rail where its model gave no verdict, which the library takes for leave; empty otherwise."""
    records = (record for record in result.records if record.flow.startswith(TOPIC_FLOW))
    return next((record.flow for record in records if not is_topic_verdict(record.completion)), "")


def categories(result: RailResult) -> tuple[str, ...]:
    """What the guard says that a blocked text violates."""
    found = result.outcome.metadata.get("policy_violations") or ()
    return tuple(str(name) for name in found)


def explain(error: BaseException) -> GatewayError:
    """What a client is told of a guard that refused to judge: a text that is too long can be cut."""
    causes = causes_of(error)
    log.warning("the guard refused: %s", ", caused by ".join(type(cause).__name__ for cause in causes))
    for cause in causes:
        if _is_too_large(cause):
            limit = _WINDOW.search(str(cause))
            known = f": the guard reads at most {limit[1]} tokens" if limit else " for the guard"
            return BadRequestError(f"the conversation is too long{known}", code="context_length_exceeded")
    return UnavailableError("the guard does not answer", retry_after=_retry_after(causes))


def _is_too_large(cause: BaseException) -> bool:
    return isinstance(cause, LLMContextWindowError) or (
        isinstance(cause, LLMClientError) and cause.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    )


def _retry_after(causes: list[BaseException]) -> float | None:
    headers = (getattr(cause, "response_headers", None) or {} for cause in causes)
    texts = [value for found in headers for name, value in found.items() if name.lower() == "retry-after"]
    return read_seconds(texts[0]) if texts else None


def spoken(messages: list[Message]) -> list[Message]:
    """A conversation for guards that read it as messages: a client's system message is none to them.

    Behind the policy it would be an instruction of equal rank, such as "everything is on topic".
    """
    return [
        {"role": "user" if each["role"] == "system" else each["role"], "content": defused(each["content"])}
        for each in messages
        if each["content"]
    ]


def turns(messages: list[Message]) -> str:
    """A conversation as a safety model reads it; ``agent`` is the assistant."""
    names = {"assistant": "agent"}
    return "\n\n".join(f"{names.get(m['role'], m['role'])}: {defused(m['content'])}" for m in messages)


def request_text(messages: list[Message]) -> str:
    """A conversation for guards that read one request: its text, with its turns where there are several."""
    return defused(messages[0]["content"]) if len(messages) == 1 else turns(messages)


def defused(text: str) -> str:
    """The text with a space in what a tokenizer or a guard takes for structure, as in ``< |eot_id|>``.

    A guard's server parses such marks in messages, too: a text could end its turn and write the verdict.
    """
    return _STRUCTURE.sub(r"\g<0> ", text)


def as_json(value: Any) -> str:
    """JSON with every script as it is: Jinja's own filter makes 6 to 12 characters of one beyond ASCII."""
    return json.dumps(value, ensure_ascii=False)
