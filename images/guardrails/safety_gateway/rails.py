"""What the gateway asks of the rails, whichever engine carries them out."""

from typing import NamedTuple, Protocol

Message = dict[str, str]
"""``role`` (system, user or assistant) and ``content``."""


class Verdict(NamedTuple):
    """What the rails of one direction decided."""

    blocked: bool
    rail: str = ""
    """The rail that blocked."""
    categories: tuple[str, ...] = ()
    """Of the guard's taxonomy; empty where it names none."""


class Rails(Protocol):
    """Rails on requests and on answers.

    Both checks raise UnavailableError where a rail gave no verdict, and BadRequestError where the guard
    cannot read a text of that length.
    """

    async def start(self) -> None:
        """Open connections."""

    async def stop(self) -> None:
        """Close connections."""

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Check a conversation before the model reads it."""
        ...

    async def check_output(self, messages: list[Message], answer: str) -> Verdict:
        """Check the model's answer to a conversation."""
        ...
