"""A request's way: rails on the conversation, the model, rails on its answer."""

import logging

from safety_gateway.answers import BLOCKED, NO_TOKENS, Answer, Usage
from safety_gateway.chat_request import ChatRequest
from safety_gateway.model import Model
from safety_gateway.rails import Rails, Verdict

log = logging.getLogger(__name__)


class Pipeline:
    """What stands behind the endpoint."""

    def __init__(self, rails: Rails, model: Model, refusal: str) -> None:
        self._rails = rails
        self._model = model
        self._refusal = refusal

    async def start(self) -> None:
        """Open connections."""
        await self._rails.start()
        await self._model.start()

    async def stop(self) -> None:
        """Close connections."""
        await self._model.stop()
        await self._rails.stop()

    async def answer(self, request: ChatRequest) -> Answer:
        """The model's answer, or the refusal where a rail blocks. Raises GatewayError where either fails."""
        verdict = await self._rails.check_input(request.messages)
        if verdict.blocked:
            return self._withhold(verdict, NO_TOKENS)
        answer = await self._model.ask(request)
        if not answer.text:
            return answer
        verdict = await self._rails.check_output(request.messages, answer.text)
        return self._withhold(verdict, answer.usage) if verdict.blocked else answer

    def _withhold(self, verdict: Verdict, usage: Usage | None) -> Answer:
        log.info("blocked: rail=%s", verdict.rail)
        return Answer(self._refusal, BLOCKED, usage)
