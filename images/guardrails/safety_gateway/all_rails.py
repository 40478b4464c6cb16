"""Several sets of rails as one: all at the same time, and the first that blocks decides."""

import asyncio
from collections.abc import Coroutine, Sequence

from safety_gateway.errors import GatewayError
from safety_gateway.rails import Message, Rails, Verdict


class AllRails:
    """One of the :class:`~safety_gateway.rails.Rails` made of several."""

    def __init__(self, rails: Sequence[Rails]) -> None:
        self._rails = tuple(rails)

    async def start(self) -> None:
        """Open the connections of all."""
        for rails in self._rails:
            await rails.start()

    async def stop(self) -> None:
        """Close them."""
        for rails in self._rails:
            await rails.stop()

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Check a conversation by all of them."""
        return await first_block([rails.check_input(messages) for rails in self._rails])

    async def check_output(self, messages: list[Message], answer: str) -> Verdict:
        """Check an answer by all of them."""
        return await first_block([rails.check_output(messages, answer) for rails in self._rails])


async def first_block(checks: Sequence[Coroutine[None, None, Verdict]]) -> Verdict:
    """The first verdict that blocks; the others are cancelled.

    Without one, the error of a check that gave no verdict is raised: a block is worth more than an error, and
    an error more than the others' leave.
    """
    tasks = [asyncio.ensure_future(check) for check in checks]
    error: GatewayError | None = None
    try:
        for task in asyncio.as_completed(tasks):
            try:
                verdict = await task
            except GatewayError as failed:
                error = error or failed
            else:
                if verdict.blocked:
                    return verdict
    finally:
        for left in tasks:
            left.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if error is not None:
        raise error
    return Verdict(blocked=False)
