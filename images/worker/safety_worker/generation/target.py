"""Whether an OpenAI-compatible server answers, and how it wants to be asked.

Used by the stages that hand it to a tool of others, which would repeat what is refused until its time is over
and then say nothing of the cause.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from safety_records.stage_base import ServedModel
from safety_worker.errors import InfrastructureError, WorkerError
from safety_worker.generation.client import CHAT, GREETING, GREETING_TOKENS
from safety_worker.generation.completion import NoCompletionError, parse_completion
from safety_worker.generation.error_words import (
    Cause,
    ServerError,
    may_pass,
    read_error_in_body,
    read_server_error,
)
from safety_worker.generation.request_form import LIMIT, RequestForm, key_header
from safety_worker.generation.server_errors import FATAL, Refused, refuses_all
from safety_worker.generation.shown_certificate import verify_of

PROBE_TIMEOUT_SECONDS = 5.0
"""Time for one sign of life; a server under load answers its list of models late."""

ANSWER_TIMEOUT_SECONDS = 60.0
"""Time for a short answer; it may wait behind the requests of others."""

RETRY_SECONDS = 1.0
"""Pause between two signs of life."""

WAIT_SECONDS = 600.0
"""How long a stage waits for the server: a large model needs minutes to load."""


class Target:
    """A served model and the key that opens it.

    Parameters
    ----------
    served
        Where it is.
    key
        API key; empty: none.
    settings
        Parameters that the tool will send with each request: what is refused is reported before it starts.
    """

    def __init__(
        self,
        served: ServedModel,
        key: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.served = served
        self.form = RequestForm()
        self._settings = settings
        self._url = served.base_url.rstrip("/")
        self._headers = key_header(key)
        self._verify = verify_of(served)

    def is_alive(self) -> bool:
        """Whether it lists its models now; where it does not, whether it reacts to a request.

        Raises
        ------
        InputError
            If it refuses the key, or has no such model or route.
        """
        try:
            response = httpx.get(
                f"{self._url}/models",
                headers=self._headers,
                timeout=PROBE_TIMEOUT_SECONDS,
                verify=self._verify,
            )
        except (httpx.TransportError, httpx.DecodingError):
            return False
        return response.is_success or self._reacts()

    def is_answering(self) -> bool:
        """Whether it is alive and reacts to a request for a short answer now.

        A server may list its models and yet answer every prompt with an error. The first time the tool's
        settings are tried as well.

        Raises
        ------
        InputError
            If it refuses the key or the request: every prompt would be refused like this one.
        """
        if not self.is_alive() or not self._reacts():
            return False
        if self._settings is not None:
            words = self.refusal(self._settings, self.form)
            if words is not None and _is_passing(words):
                return False
            if words is not None:
                raise self._explain(words)
            self._settings = None
        return True

    def refusal(self, settings: Mapping[str, Any], form: RequestForm | None = None) -> ServerError | None:
        """What it says to a request with some settings; None: nothing against it.

        A request that takes long, or finds nobody, was not refused. Without ``form`` nothing is left out.

        Raises
        ------
        InputError
            If it refuses the key, or has no such model or route.
        """
        try:
            return self._ask(settings, form)
        except (httpx.TransportError, httpx.DecodingError):
            return None

    def _reacts(self) -> bool:
        """Whether it answers a greeting, or refuses it for a reason that need not hold for other requests."""
        try:
            words = self._ask({LIMIT: GREETING_TOKENS}, self.form)
        except (httpx.TransportError, httpx.DecodingError):
            return False
        return words is None or not _is_passing(words)

    def _ask(self, settings: Mapping[str, Any], form: RequestForm | None) -> ServerError | None:
        greeting = [{"role": "user", "content": GREETING}]
        body = {"model": self.served.model, "messages": greeting, **settings}
        while True:
            sent = body if form is None else form.apply(body)
            response = httpx.post(
                f"{self._url}{CHAT}",
                json=sent,
                headers=self._headers,
                timeout=ANSWER_TIMEOUT_SECONDS,
                verify=self._verify,
            )
            words = _words(response)
            if response.is_redirect:
                raise refuses_all(
                    Refused(self.served, CHAT), read_server_error(response.status_code, b""), response
                )
            if words is None or form is None or not form.learn(words, body, sent):
                break
        if words is not None and words.cause in FATAL and not may_pass(words.status):
            raise self._explain(words)
        return words

    def _explain(self, words: ServerError) -> WorkerError:
        return refuses_all(Refused(self.served, CHAT), words)

    def wait(
        self,
        on_wait: Callable[[float], None],
        seconds: float = WAIT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        *,
        answer: bool = False,
    ) -> None:
        """Return once it lists its models, or once it answers a prompt; ``on_wait`` gets the seconds so far.

        Raises
        ------
        InfrastructureError
            If it does not answer in time.
        """
        started = clock()
        while not (self.is_answering() if answer else self.is_alive()):
            waited = clock() - started
            if waited > seconds:
                raise InfrastructureError(
                    "TargetUnreachable", f"{self.served.base_url} has not answered for {seconds:.0f} s"
                )
            on_wait(waited)
            sleep(RETRY_SECONDS)


def _is_passing(words: ServerError) -> bool:
    """Whether a server may answer later: it says so, or something in front of it gave a page."""
    return may_pass(words.status) or words.cause is Cause.UNREADABLE


def _words(response: httpx.Response) -> ServerError | None:
    """What a response says instead of an answer; None for an answer."""
    if not response.is_success:
        return read_server_error(response.status_code, response.content)
    try:
        parse_completion(response.content)
    except NoCompletionError as error:
        if error.body is None:
            return ServerError(response.status_code, Cause.UNREADABLE)
        return read_error_in_body(error.body)
    return None
