"""A gateway between rails and a model of the test's own."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from safety_gateway.answers import Answer, Choice, Usage
from safety_gateway.app import build_app
from safety_gateway.audit import MARK
from safety_gateway.callers import Callers
from safety_gateway.chat_request import ChatRequest
from safety_gateway.course import current
from safety_gateway.embeddings import EmbeddingRequest
from safety_gateway.errors import GatewayError
from safety_gateway.model_answers import Delta
from safety_gateway.observed import ObservedAudit, ObservedModel, ObservedRails
from safety_gateway.pipeline import Pipeline
from safety_gateway.rails import Message, Verdict
from safety_gateway.settings import ModelServer, Settings
from safety_gateway.telemetry import Telemetry

REFUSAL = "I'm sorry, I can't help with that."
SETTINGS = Settings(
    served_name="assistant", model=ModelServer(url="http://m/v1", name="model"), refusal=REFUSAL
)


class FakeRails:
    """Blocks what holds ``bomb``; raises what a test gives it."""

    def __init__(self) -> None:
        self.started = 0
        self.error: GatewayError | None = None
        self.inputs: list[list[Message]] = []
        self.outputs: list[str] = []

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.started -= 1

    async def check_input(self, messages: list[Message]) -> Verdict:
        self.inputs.append(messages)
        if self.error:
            raise self.error
        return Verdict(any("bomb" in message["content"] for message in messages), "input rail", ("S4",))

    async def check_output(self, _messages: list[Message], answer: str) -> Verdict:
        self.outputs.append(answer)
        return Verdict("bomb" in answer, "output rail")


def answer(text: str, finish_reason: str = "stop", usage: Usage | None = None) -> Answer:
    return Answer((Choice(text, finish_reason),), usage)


class FakeModel:
    """Answers what a test gives it, once it may; ``parts`` are those of a stream."""

    def __init__(self) -> None:
        self.answer: Answer | Exception = answer("Paris.", usage=Usage(5, 2, 7))
        self.parts: list[Delta | Usage | Exception] | None = None
        self.asked: list[ChatRequest] = []
        self.traces: list[str] = []
        self.embedded: list[EmbeddingRequest] = []
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def ask(self, request: ChatRequest) -> Answer:
        self.asked.append(request)
        self.traces.append(current().trace_parent)
        self.arrived.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def embed(self, request: EmbeddingRequest) -> dict[str, Any]:
        self.embedded.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        data = [{"object": "embedding", "index": at, "embedding": [0.5]} for at in range(len(request.texts))]
        return {"object": "list", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Usage]:
        whole = await self.ask(request)
        given = [Delta(c.index, c.text, finish_reason=c.finish_reason) for c in whole.choices]
        try:
            for part in self.parts or [*given, *([whole.usage] if whole.usage else [])]:
                if isinstance(part, Exception):
                    raise part
                yield part
        except GeneratorExit:
            self.cancelled.set()
            raise


class Gateway:
    def __init__(
        self,
        settings: Settings = SETTINGS,
        keys: Path = Path("/none"),
        telemetry: Telemetry | None = None,
    ) -> None:
        self.rails = FakeRails()
        self.model = FakeModel()
        self.audited: list[dict[str, Any]] = []
        self.telemetry = telemetry or Telemetry()
        audit = ObservedAudit(
            self.telemetry,
            keep_text=settings.audit_text,
            write=lambda line: self.audited.append(json.loads(line)[MARK]),
        )
        self.pipeline = Pipeline(
            ObservedRails(self.rails, self.telemetry),
            ObservedModel(self.model, self.telemetry),
            settings,
            audit,
        )
        self.app = build_app(settings, self.pipeline, Callers(keys, settings.callers), self.telemetry)

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample's value; None where there is none."""
        return self.telemetry.metrics.registry.get_sample_value(f"safety_gateway_{name}", labels)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client

    async def post(self, content: Any, path: str = "/v1/chat/completions") -> httpx.Response:
        async with self.client() as client:
            if isinstance(content, bytes):
                return await client.post(path, content=content)
            return await client.post(path, json=content)

    async def get(self, path: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get(path)

    async def ask(self, text: str = "capital of France?", **fields: Any) -> httpx.Response:
        return await self.post({"model": "assistant", "messages": [user(text)], **fields})


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(response: httpx.Response) -> tuple[str, str]:
    """Text and finish reason."""
    (choice,) = response.json()["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def code(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return response.status_code, response.json()["error"]["code"]
