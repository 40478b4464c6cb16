"""Rails of a user's own NeMo Guardrails configuration, next to those of the spec.

Its input and output rails are carried out; what else such a configuration may hold would have no effect here,
or reach out of the rails, and is refused at start. It has no say in who answers: the main model is the one
that is served. Colang needs the library's LLMRails engine, which reads the last text of a conversation only;
all else is IORails' work.
"""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.rails.llm.config import Model
from nemoguardrails.rails.llm.options import RailsResult, RailStatus, RailType
from pydantic import ValidationError
from yaml import MarkedYAMLError

from safety_gateway.errors import UnavailableError
from safety_gateway.nemo import NemoRails, closed_after
from safety_gateway.rails import Message, Rails, Verdict
from safety_gateway.settings import Settings

log = logging.getLogger(__name__)

MAX_WORDS = 500
"""Characters of the library's error that are told."""
ENDINGS = frozenset({".yml", ".yaml", ".co"})
"""Files of a configuration; anything else is refused, Python above all."""
HARMLESS = "What is the capital of France?"
TRIAL_SECONDS = 10.0
"""Longest time for a trial: what a rail asks may start at the same time, and its silence is no fault here."""
HISTORY = "events_history_cache"
"""Attribute in which LLMRails keeps every conversation that it ever saw."""


class OwnConfigError(ValueError):
    """The configuration cannot be used; its words are for who wrote it."""


def load_own_rails(folder: Path, settings: Settings) -> Rails:
    """The rails of a folder, by the engine that can carry them out. Raises OwnConfigError."""
    wrong = sorted(path.name for path in folder.iterdir() if path.suffix not in ENDINGS)
    if wrong:
        raise OwnConfigError(f"{', '.join(wrong)}: only .yml, .yaml and .co files, and no Python")
    try:
        config = RailsConfig.from_path(str(folder))
    except Exception as error:
        raise OwnConfigError(f"the library cannot load it: {words_of(error)}") from error
    check(config)
    server = settings.model
    main = {"engine": "openai", "model": server.name, "api_key_env_var": server.key_env}
    config.models.insert(0, Model(type="main", parameters={"base_url": server.url}, **main))
    colang = any(path.suffix == ".co" for path in folder.iterdir())
    log.info("own configuration: engine=%s", "LLMRails" if colang else "IORails")
    try:
        seconds = settings.guard_timeout_seconds
        return ColangRails(config, seconds) if colang else NemoRails(config, seconds)
    except Exception as error:
        raise OwnConfigError(f"the library cannot start it: {words_of(error)}") from error


async def try_own_rails(folder: Path, settings: Settings) -> None:
    """Carry out the rails of a folder once on a harmless text: a fault in Colang shows then, and not before.

    Raises OwnConfigError.
    """
    rails = load_own_rails(folder, settings)
    asked = [{"role": "user", "content": HARMLESS}]
    await rails.start()
    try:
        await _tried(rails.check_input(asked))
        await _tried(rails.check_output(asked, "Paris."))
    finally:
        await rails.stop()


async def _tried(checking: Coroutine[Any, Any, Verdict]) -> None:
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            await checking
    except (UnavailableError, TimeoutError):
        log.info("own configuration: a rail gave no verdict when it was tried")
    except Exception as error:
        raise OwnConfigError(f"the library cannot carry it out: {words_of(error)}") from error


def words_of(error: Exception) -> str:
    """An error's words without what it quotes: a configuration may hold a key."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        found = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
    elif isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        found = f"{error.problem} in line {error.problem_mark.line + 1}"
    else:
        found = f"{type(error).__name__}: {error}".partition(". Falling back")[0]
    return found[:MAX_WORDS]


def check(config: RailsConfig) -> None:
    """Raise OwnConfigError for what would have no effect, or more than rails have."""
    refused: dict[str, Any] = {
        "models of type main (the model is the one that is served)": [
            model for model in config.models if model.type == "main"
        ],
        "dialog flows (define user)": config.user_messages,
        "rails.retrieval": config.rails.retrieval.flows,
        "documents": config.docs,
        "import_paths": config.import_paths,
        "actions_server_url": config.actions_server_url,
        "tracing": config.tracing.enabled,
        "colang_version 2": config.colang_version != "1.0",
    }
    found = [name for name, value in refused.items() if value]
    if found:
        raise OwnConfigError(f"not available here: {', '.join(found)}")
    if not config.rails.input.flows and not config.rails.output.flows:
        raise OwnConfigError("it has neither rails.input.flows nor rails.output.flows")


class ColangRails:
    """Rails written in Colang; one of the :class:`~safety_gateway.rails.Rails`."""

    def __init__(self, config: RailsConfig, timeout_seconds: float) -> None:
        self._rails = LLMRails(config)
        self._config = config
        self._timeout = timeout_seconds

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Check the last text that is not the assistant's."""
        if not self._config.rails.input.flows:
            return Verdict(blocked=False)
        return await self._check([{"role": "user", "content": last_text(messages)}], RailType.INPUT)

    async def check_output(self, messages: list[Message], answer: str) -> Verdict:
        """Check the answer."""
        if not self._config.rails.output.flows:
            return Verdict(blocked=False)
        asked = {"role": "user", "content": last_text(messages)}
        return await self._check([asked, {"role": "assistant", "content": answer}], RailType.OUTPUT)

    async def _check(self, messages: list[Message], kind: RailType) -> Verdict:
        checking = self._rails.check_async(messages, rail_types=[kind])
        try:
            result: RailsResult = await closed_after(self._timeout, checking)
        finally:  # after a failure, too
            getattr(self._rails, HISTORY).clear()
        if result.status is RailStatus.MODIFIED:  # as after an error, too
            raise UnavailableError("a rail changed the text", rail=result.rail or kind.value)
        return Verdict(result.status is RailStatus.BLOCKED, result.rail or "")


def last_text(messages: list[Message]) -> str:
    """The last text that is not the assistant's; empty without any."""
    return next((each["content"] for each in reversed(messages) if each["role"] != "assistant"), "")
