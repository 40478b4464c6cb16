"""Whether an OpenAI-compatible server answers. Used by the stages that hand it to a tool of others."""

import time
from collections.abc import Callable

import httpx

from safety_records.stages import ServedModel
from safety_worker.errors import InfrastructureError, InputError

PROBE_TIMEOUT_SECONDS = 5.0
"""Time for one sign of life; a server under load answers its list of models late."""

ANSWER_TIMEOUT_SECONDS = 60.0
"""Time for an answer of one token; it may wait behind the requests of others."""

BUSY = frozenset({408, 425, 429})
"""Status codes of a request that is worth repeating, beside those from 500 on."""

RETRY_SECONDS = 1.0
"""Pause between two signs of life."""

WAIT_SECONDS = 600.0
"""How long a stage waits for the server: a large model needs minutes to load."""


class Target:
    """A served model and the key that opens it."""

    def __init__(self, served: ServedModel, key: str = "") -> None:
        self.served = served
        self._url = served.base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def is_alive(self) -> bool:
        """Whether it answers its list of models now; some endpoints have none, and say so.

        Raises
        ------
        InputError
            If it refuses the key.
        """
        try:
            response = httpx.get(f"{self._url}/models", headers=self._headers, timeout=PROBE_TIMEOUT_SECONDS)
        except httpx.TransportError:
            return False
        self._check_key(response)
        return response.is_success or response.status_code == httpx.codes.NOT_FOUND

    def is_answering(self) -> bool:
        """Whether it is alive and gives an answer of one token now.

        A server may list its models and yet answer every prompt with an error, which garak would repeat
        until its time is over, probe for probe.

        Raises
        ------
        InputError
            If it refuses the key or the request: every prompt would be refused like this one.
        """
        if not self.is_alive():
            return False
        body = {
            "model": self.served.model,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 1,
        }
        try:
            response = httpx.post(
                f"{self._url}/chat/completions",
                json=body,
                headers=self._headers,
                timeout=ANSWER_TIMEOUT_SECONDS,
            )
        except httpx.TransportError:
            return False
        self._check_key(response)
        if response.is_client_error and response.status_code not in BUSY:
            raise InputError(
                "RequestRefused",
                f"{self.served.base_url} answers a chat request for the model {self.served.model!r} with "
                f"HTTP {response.status_code}: check the model's name, and that it has a chat template",
            )
        return response.is_success

    def _check_key(self, response: httpx.Response) -> None:
        if response.status_code in (401, 403):
            raise InputError(
                "KeyRefused", f"{self.served.base_url} refuses the API key: check target's Secret"
            )

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
