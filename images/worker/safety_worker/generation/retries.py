"""When a request to a model server is asked again, and when no more."""

import math
import random
import time
from dataclasses import dataclass

UNREADABLE_TRIES = 4
"""How often a request is asked that gets JSON without an answer in it: some filters answer so, for good."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long the client waits for what."""

    ready_seconds: float = 1200.0
    """For a server that has not answered yet: it may be loading a large model."""
    retry_seconds: float = 600.0
    """For one request that keeps failing, from its first failure on."""
    request_seconds: float = 900.0
    """For one answer: a long chain of reasoning takes minutes."""
    first_delay_seconds: float = 0.5
    """Before the first repetition; doubled each time, with jitter."""
    longest_delay_seconds: float = 30.0


class TryAgainError(Exception):
    """The request may pass later.

    Parameters
    ----------
    why
        Words for the message, none of them the server's own.
    after_seconds
        What the server asks to wait.
    overload
        Whether the server has too much to do.
    elsewhere
        Whether another replica can be asked at once.
    unreadable
        Whether it was JSON without an answer in it.
    """

    def __init__(
        self,
        why: str,
        after_seconds: float | None = None,
        *,
        overload: bool = False,
        elsewhere: bool = False,
        unreadable: bool = False,
    ) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds
        self.overload = overload
        self.elsewhere = elsewhere
        self.unreadable = unreadable


class Retries:
    """The tries of one request.

    By hand, because tenacity would give the loop only: how long is waited, when it ends and what counts as
    the beginning would be callbacks of ours, and 30 lines became 50.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.failures = self.unreadable = 0
        self._failing_since = math.inf

    def next_delay(self, error: TryAgainError, last_success: float) -> float | None:
        """Seconds before the next try; None: there is none.

        Parameters
        ----------
        error
            How the last try failed.
        last_success
            When any request of the client passed last: a server with too much to do works on others.
        """
        now = time.monotonic()
        self._failing_since = min(self._failing_since, now)
        if error.overload:
            self._failing_since = max(self._failing_since, last_success)
        delay = max(self._backoff(), error.after_seconds or 0.0)
        self.failures += 1
        self.unreadable += error.unreadable
        late = now + delay - self._failing_since > self._policy.retry_seconds
        if late or self.is_unreadable:
            return None
        return 0.0 if error.elsewhere else delay

    @property
    def is_unreadable(self) -> bool:
        """Whether the request has got JSON without an answer so often that it will get no other."""
        return self.unreadable >= UNREADABLE_TRIES

    def _backoff(self) -> float:
        doubled = self._policy.first_delay_seconds * 2.0 ** min(self.failures, 30)
        return min(doubled, self._policy.longest_delay_seconds) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
