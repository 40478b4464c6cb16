"""How one server wants to be asked, learned from its refusals, where its answers stay the same.

Used by the client and by the stages that hand a server to a tool of others. Whatever would change what is
measured (another temperature, answers that no seed repeats) is never left out.
"""

from collections.abc import Mapping
from typing import Any

from safety_worker.errors import InputError
from safety_worker.generation.error_words import Cause, ServerError

LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
"""The limit of new tokens, and what OpenAI calls it for reasoning models."""

NEUTRAL: Mapping[str, Any] = {
    "top_p": 1,
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "stop": [],
    "temperature": 1,
}
"""Values that mean the same as leaving the parameter out, in the order in which they are left out. TGI
refuses a top_p of 1, Claude one with a temperature, OpenAI's reasoning models all but the default."""

GREEDY = ("seed", "top_p")
"""Parameters without an effect at temperature 0."""


def key_header(key: str) -> dict[str, str]:
    """The header with an API key; none for an empty one.

    Raises
    ------
    InputError
        If the key holds what no header can, such as a line break in the middle or a letter beyond ASCII.
    """
    if key and not (key.isascii() and key.isprintable()):
        raise InputError(
            "InvalidKey",
            "the API key holds a line break or a character that no key has: check the Secret that "
            "apiKeySecretRef names",
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


class RequestForm:
    """What was learned of one server."""

    def __init__(self) -> None:
        self._left_out: list[str] = []
        self._renamed = False

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body as the server wants it."""
        wanted = {name: value for name, value in body.items() if not self._drops(name, body)}
        if self._renamed and LIMIT in wanted:
            wanted[NEW_LIMIT] = wanted.pop(LIMIT)
        return wanted

    def _drops(self, name: str, body: Mapping[str, Any]) -> bool:
        return name in self._left_out and _is_neutral(name, body)

    def learn(self, words: ServerError, body: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Whether to ask once more after a refusal.

        Parameters
        ----------
        words
            What the server answered.
        body
            The request before :meth:`apply`.
        sent
            What was refused, which another request may have taught to ask otherwise meanwhile.
        """
        if self.apply(body) == sent and words.cause in (Cause.SETTING, Cause.OTHER):
            self._change(words, body, sent)
        return self.apply(body) != sent

    def _change(self, words: ServerError, body: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        if LIMIT in sent and LIMIT in words.mentioned and words.unsupported:
            self._renamed = True
            return
        for name in (*NEUTRAL, *GREEDY):
            if name in words.mentioned and name in sent and _is_neutral(name, body):
                self._left_out.append(name)
                return


def _is_neutral(name: str, body: Mapping[str, Any]) -> bool:
    if name in GREEDY and body.get("temperature") == 0:
        return True
    return name in NEUTRAL and body[name] == NEUTRAL[name]
