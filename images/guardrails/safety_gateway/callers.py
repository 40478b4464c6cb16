"""Who may ask: API keys in files, and what each caller may take.

A file has the name of its caller and holds a key on each line, two while a key is being changed. Files are
read again while the gateway runs, as the kubelet renews those of a Secret. The file ``operator`` holds the
key of the operator's own proofs, also where everybody else needs none: what asks with it is a canary, which
no statistic counts. Nothing but that key makes a request one.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safety_gateway.errors import RateLimitedError, UnauthorizedError
from safety_gateway.settings import CallerSettings

log = logging.getLogger(__name__)

READ_SECONDS = 5.0
"""Pause between two looks at the files of keys."""
MIN_KEY = 16
"""Characters of a key: shorter ones could be guessed, and are not taken."""
PROOF = "operator"
"""The operator's proofs, and the file of their key. No other caller can have the name."""
SCHEME = "bearer "
MINUTE = 60.0


@dataclass(slots=True)
class Allowance:
    """What may be taken in a minute; it grows back evenly, and may be overdrawn once."""

    per_minute: int
    clock: Callable[[], float]
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = float(self.per_minute), self.clock()

    def seconds_until(self, amount: float) -> float:
        """Time until so much is there; 0 now."""
        now = self.clock()
        rate = self.per_minute / MINUTE
        self.left = min(float(self.per_minute), self.left + (now - self.at) * rate)
        self.at = now
        return max(0.0, (amount - self.left) / rate)

    def take(self, amount: float) -> None:
        """Take so much, even if it is not there."""
        self.left -= amount


class Caller:
    """One caller's name and limits."""

    def __init__(
        self, settings: CallerSettings, clock: Callable[[], float] = time.monotonic, *, canary: bool = False
    ) -> None:
        self.name = settings.name
        self.canary = canary
        """Whether what it asks is a proof's, and counts nowhere."""
        self.max_body_bytes = settings.max_body_bytes
        self._requests = _allowance(settings.requests_per_minute, clock)
        self._tokens = _allowance(settings.tokens_per_minute, clock)

    def admit(self) -> None:
        """Count a request. Raises RateLimitedError where the caller has taken what it may."""
        for allowance, what in ((self._requests, "requests"), (self._tokens, "tokens")):
            wait = allowance.seconds_until(1) if allowance else 0
            if allowance and wait > 0:
                raise RateLimitedError(
                    f"{allowance.per_minute} {what} a minute are used up", retry_after=wait
                )
        if self._requests:
            self._requests.take(1)

    def spend(self, tokens: int) -> None:
        """Count what a request took, which is known when it is over."""
        if self._tokens:
            self._tokens.take(tokens)


def _allowance(per_minute: int | None, clock: Callable[[], float]) -> Allowance | None:
    return Allowance(per_minute, clock) if per_minute else None


class Callers:
    """All callers by their keys.

    Parameters
    ----------
    folder
        Where the files of keys are.
    settings
        Name and limits of each caller; without any, everybody may ask.
    """

    def __init__(
        self,
        folder: Path,
        settings: Sequence[CallerSettings],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._callers = {item.name: Caller(item, clock) for item in settings if item.name != PROOF}
        self._proof = Caller(CallerSettings(name=PROOF), clock, canary=True)
        self._proof_keys: tuple[bytes, ...] = ()
        self._anybody = Caller(CallerSettings(name="anybody"), clock) if not settings else None
        self._by_key: Mapping[bytes, Caller] = {}
        self._told: dict[str, str] = {}
        self.read()

    def find(self, authorization: str | None) -> Caller:
        """The caller of a request by its header. Raises UnauthorizedError where it has no key of ours.

        Keys are compared by their hashes, so that the time it takes says nothing about them.
        """
        given = None
        if authorization is not None and authorization.lower().startswith(SCHEME):
            given = _hash(authorization[len(SCHEME) :].strip())
        if given is not None and any(hmac.compare_digest(given, key) for key in self._proof_keys):
            return self._proof
        if self._anybody is not None:
            return self._anybody
        if given is None:
            raise UnauthorizedError("send an API key: Authorization: Bearer KEY")
        caller = self._by_key.get(given)
        if caller is None:
            raise UnauthorizedError("this API key is not known here")
        return caller

    def read(self) -> None:
        """Read the files of keys."""
        found: dict[bytes, Caller] = {}
        for name, caller in self._callers.items():
            for key in self._keys(name):
                if found.setdefault(_hash(key), caller) is not caller:
                    self._tell(name, "its key is another caller's too, who counts as the owner")
        self._by_key = found
        proof = map(_hash, self._keys(PROOF, optional=True))
        # A caller that has the same key is known by its own name, and counts.
        self._proof_keys = tuple(key for key in proof if key not in found)

    def _keys(self, name: str, *, optional: bool = False) -> list[str]:
        """The keys of a caller; ``optional``: a gateway by hand has no file of them."""
        if optional and not (self._folder / name).exists():
            return []
        try:
            lines = (self._folder / name).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            self._tell(name, "its file of keys cannot be read")
            return []
        keys = [line.strip() for line in lines if line.strip()]
        good = [key for key in keys if len(key) >= MIN_KEY]
        if len(good) < len(keys):
            self._tell(name, f"a key has fewer than {MIN_KEY} characters and is not taken")
        elif good:
            self._told.pop(name, None)
        return good

    def _tell(self, name: str, problem: str) -> None:
        """Log a problem once."""
        if self._told.get(name) != problem:
            log.warning("caller %s: %s", name, problem)
            self._told[name] = problem

    async def follow(self) -> None:
        """Read the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            await asyncio.to_thread(self.read)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
