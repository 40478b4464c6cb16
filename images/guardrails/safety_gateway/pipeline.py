"""A request's way: rails on the conversation, the model, rails on its answer."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from safety_gateway.answers import BLOCKED, NO_TOKENS, Answer, Choice, Usage, dump
from safety_gateway.audit import AuditTrail, Direction
from safety_gateway.chat_request import ChatRequest
from safety_gateway.embeddings import EmbeddingRequest
from safety_gateway.errors import BadRequestError, UnavailableError
from safety_gateway.model import Model
from safety_gateway.model_answers import Delta, unreadable
from safety_gateway.rails import Message, Rails, Verdict
from safety_gateway.refusals import Refusals
from safety_gateway.settings import Settings
from safety_gateway.streaming import ChoiceStream

log = logging.getLogger(__name__)

T = TypeVar("T")
TOOL_RAIL = "tool call validation"
"""Name of the gateway's own rail on calls of tools."""


class Pipeline:
    """What stands behind the endpoint."""

    def __init__(
        self, rails: Rails, model: Model, settings: Settings, audit: AuditTrail | None = None
    ) -> None:
        self._rails = rails
        self._model = model
        self._settings = settings
        self._refusals = Refusals(settings.refusal, settings.refusals)
        self._audit = audit or AuditTrail(keep_text=settings.audit_text)

    async def start(self) -> None:
        """Open connections."""
        await self._rails.start()
        await self._model.start()

    async def stop(self) -> None:
        """Close connections, and the audit trail."""
        await self._model.stop()
        await self._rails.stop()
        await asyncio.to_thread(self._audit.close)

    async def answer(self, request: ChatRequest) -> Answer:
        """The model's answer, or the refusal where a rail blocks. Raises GatewayError where either fails."""
        conversation = request.conversation
        verdict, answer = await self._after_input(conversation, lambda: self._model.ask(request))
        if answer is None:
            return Answer(self._refused(request, verdict), NO_TOKENS)
        checking = (self._check(request, conversation, choice) for choice in answer.choices)
        verdicts = await asyncio.gather(*checking)
        passed = zip(answer.choices, verdicts, strict=True)
        return replace(answer, choices=tuple(self._passed(request, *item) for item in passed))

    async def embed(self, request: EmbeddingRequest) -> dict[str, Any]:
        """Vectors of texts that the rails for requests have passed, in OpenAI's form; raises as answer does.

        There is no vector that says no: what is blocked is an error, with the refusal in its message.
        """
        conversation = request.conversation
        verdict = await self._rails.check_input(conversation)
        if verdict.blocked:
            self._tell(request, verdict, dump(conversation).decode(), "input")
            raise BadRequestError(self._refusal(request, verdict), code=BLOCKED)
        return await self._model.embed(request)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Choice | Usage]:
        """Parts of the answer that the rails have passed, then the counts; raises as :meth:`answer`."""
        conversation = request.conversation
        async with aclosing(self._model.stream(request)) as deltas:
            verdict, first = await self._after_input(conversation, lambda: _next(deltas))
            if first is None:
                for part in self._refused(request, verdict):
                    yield part
                yield NO_TOKENS
                return
            choices, usage = self._choices(request), None
            async for delta in _with_first(first, deltas):
                if isinstance(delta, Usage):
                    usage = delta
                    continue
                async for part in self._parts(request, conversation, _choice(choices, delta), delta):
                    yield part
                if all(choice.finish_reason == BLOCKED for choice in choices):
                    return
            if any(choice.finish_reason is None for choice in choices):
                raise UnavailableError("the model broke its answer off", code="model_unavailable")
            if usage is not None:
                yield usage

    async def _after_input(
        self, conversation: list[Message], work: Callable[[], Awaitable[T]]
    ) -> tuple[Verdict, T | None]:
        """The rails' verdict on the conversation, and the model's work, which is not done where they block.

        It begins meanwhile where the settings say so; nothing of it is shown before the verdict.
        """
        if not self._settings.speculative:
            verdict = await self._rails.check_input(conversation)
            return verdict, None if verdict.blocked else await work()
        working = asyncio.ensure_future(work())
        try:
            verdict = await self._rails.check_input(conversation)
            return verdict, None if verdict.blocked else await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    def _choices(self, request: ChatRequest) -> list[ChoiceStream]:
        settings, server = self._settings, self._settings.model
        if request.endpoint != "chat":  # a text goes on as it is: nothing is taken out of it
            server = server.model_copy(update={"show_reasoning": True})
        return [ChoiceStream(index, settings.streaming, server) for index in range(request.choices)]

    async def _parts(
        self, request: ChatRequest, conversation: list[Message], choice: ChoiceStream, delta: Delta
    ) -> AsyncGenerator[Choice]:
        """What may be shown after one more part of a choice has come."""
        if choice.finish_reason is not None:
            return
        if (early := choice.add(delta)) is not None:
            yield early
        if choice.is_due:
            yield await self._window(request, conversation, choice)

    async def _window(
        self, request: ChatRequest, conversation: list[Message], choice: ChoiceStream
    ) -> Choice:
        """The window of a choice, once it is checked; the end of the choice where a rail blocks it."""
        window = choice.window
        verdict = await self._check(request, conversation, window, choice.context)
        if not verdict.blocked:
            return choice.release()
        self._tell(request, verdict, window.checked_text, "output")
        choice.finish_reason = BLOCKED
        return Choice("" if choice.shown else self._refusal(request, verdict), BLOCKED, choice.index)

    async def _check(
        self, request: ChatRequest, conversation: list[Message], choice: Choice, context: str = ""
    ) -> Verdict:
        """What the rails say of a choice, or a part of one behind its context."""
        if choice.is_empty:
            return Verdict(blocked=False)
        for call in choice.tool_calls:
            if fault := await asyncio.to_thread(request.tools.fault, call):
                log.info("a tool call is withheld: %s", fault)
                return Verdict(blocked=True, rail=TOOL_RAIL)
        text = choice.checked_text if self._settings.tool_calls.check_calls else choice.said
        if not text:
            return Verdict(blocked=False)
        return await self._rails.check_output(conversation, context + text)

    def _refused(self, request: ChatRequest, verdict: Verdict) -> tuple[Choice, ...]:
        """The refusal in place of each answer."""
        self._tell(request, verdict, dump(request.conversation).decode(), "input")
        text = self._refusal(request, verdict)
        return tuple(Choice(text, BLOCKED, index) for index in range(request.choices))

    def _refusal(self, request: ChatRequest | EmbeddingRequest, verdict: Verdict) -> str:
        return self._refusals.choose(verdict.rail, request.languages)

    def _passed(self, request: ChatRequest, choice: Choice, verdict: Verdict) -> Choice:
        """The choice, or the refusal in its place."""
        if not verdict.blocked:
            return choice
        self._tell(request, verdict, choice.checked_text, "output")
        return Choice(self._refusal(request, verdict), BLOCKED, choice.index)

    def _tell(
        self, request: ChatRequest | EmbeddingRequest, verdict: Verdict, text: str, direction: Direction
    ) -> None:
        """Write a block into the audit trail."""
        self._audit.blocked(verdict, text, direction=direction, caller=request.caller, request_id=request.id)


async def _next(deltas: AsyncGenerator[Delta | Usage]) -> Delta | Usage:
    """The first part of an answer. Raises UnavailableError where there is none."""
    first = await anext(deltas, None)
    if first is None:
        raise unreadable()
    return first


async def _with_first(
    first: Delta | Usage, deltas: AsyncIterator[Delta | Usage]
) -> AsyncGenerator[Delta | Usage]:
    yield first
    async for delta in deltas:
        yield delta


def _choice(choices: list[ChoiceStream], delta: Delta) -> ChoiceStream:
    if not 0 <= delta.index < len(choices):
        raise unreadable()
    return choices[delta.index]
