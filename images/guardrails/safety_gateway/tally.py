"""What a request took."""

from collections.abc import AsyncGenerator

from safety_gateway.answers import NO_TOKENS, Answer, Choice, Usage
from safety_gateway.errors import GatewayError

CHARACTERS_OF_TOKEN = 4
"""Characters of a token, about."""


class Tally:
    """Tokens that a request took: as the model counted, or by the length of the texts where it did not."""

    def __init__(self, asked: int) -> None:
        self._usage: Usage | None = None
        self._characters = asked

    @property
    def usage(self) -> Usage | None:
        """Tokens as the model counted them; None where it did not."""
        return self._usage

    @property
    def tokens(self) -> int:
        """Tokens so far."""
        if self._usage is not None:
            return self._usage.total_tokens
        return self._characters // CHARACTERS_OF_TOKEN

    def take(self, outcome: Answer | Choice | Usage | GatewayError) -> None:
        """Count what came of it. A request without an answer took nothing."""
        if isinstance(outcome, GatewayError):
            self._usage = NO_TOKENS
        elif isinstance(outcome, Choice):
            self._characters += len(outcome.checked_text)
        elif isinstance(outcome, Usage):
            self._usage = outcome
        else:
            self._usage = outcome.usage
            self._characters += sum(len(choice.checked_text) for choice in outcome.choices)

    async def count(self, parts: AsyncGenerator[Choice | Usage]) -> AsyncGenerator[Choice | Usage]:
        """Hand the parts of a stream on, and count them."""
        async for part in parts:
            self.take(part)
            yield part
