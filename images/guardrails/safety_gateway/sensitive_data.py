"""Data with a form of their own, such as card numbers, found without a model.

NeMo Guardrails' detectors for these need a language model from a hub, and know no check digits. What is
looked for takes time in proportion to the text: each expression begins at one place of a word only, and its
repetitions have bounds.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from safety_gateway.rails import Message, Verdict
from safety_gateway.settings import SensitiveData

RAIL = "sensitive data"
"""Name of the rail."""


class Detector(NamedTuple):
    """Finds one kind of data."""

    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = bool
    """Whether what the pattern found is really such data."""

    def finds(self, text: str) -> bool:
        """Whether the text holds any."""
        return any(self.holds(match.group()) for match in self.pattern.finditer(text))


def passes_luhn(number: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812)."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])  # noqa: PLR2004 - the standard's
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def passes_mod_97(number: str) -> bool:
    """The check digits of account numbers (ISO 13616)."""
    text = "".join(number.split())
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def is_address(text: str) -> bool:
    """Whether four numbers are an address of IPv4."""
    return all(int(part) <= 255 for part in text.split("."))  # noqa: PLR2004 - a byte


DETECTORS: Mapping[str, Detector] = {
    "EMAIL_ADDRESS": Detector(
        re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}\b", re.IGNORECASE)
    ),
    "CREDIT_CARD": Detector(
        re.compile(r"(?<!\d)(?<!\d[ -])\d(?:[ -]?\d){12,18}(?!\d)", re.ASCII), passes_luhn
    ),
    "IBAN_CODE": Detector(
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII), passes_mod_97
    ),
    "US_SSN": Detector(
        re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", re.ASCII)
    ),
    "PHONE_NUMBER": Detector(re.compile(r"(?<![\w+])\+\d(?:[ ()./-]{0,2}\d){7,14}(?!\d)", re.ASCII)),
    "IP_ADDRESS": Detector(
        re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)", re.ASCII), is_address
    ),
    "SECRET_KEY": Detector(
        re.compile(
            r"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b"
            r"|\bgh[opsu]_[A-Za-z0-9]{36}\b"
            r"|\bgithub_pat_\w{22,255}|\bsk-[A-Za-z0-9_-]{20,200}|\bhf_[A-Za-z0-9]{30,40}\b"
            r"|\bnvapi-[A-Za-z0-9_-]{40,100}|\bxox[abpr]-[A-Za-z0-9-]{10,200}"
            r"|(?<![\w-])eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}",
            re.ASCII,
        )
    ),
}
"""By the names that Presidio has, and one more."""


def find_kinds(texts: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Which of the wanted kinds any text holds."""
    found = tuple(texts)
    return tuple(kind for kind in wanted if any(map(DETECTORS[kind].finds, found)))


class SensitiveDataRail:
    """Blocks texts with such data; one of the :class:`~safety_gateway.rails.Rails`."""

    def __init__(self, settings: SensitiveData) -> None:
        self._settings = settings
        unknown = {*settings.input, *settings.output} - set(DETECTORS)
        if unknown:
            raise ValueError(f"no detector for {', '.join(sorted(unknown))}")

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Look at every text of the conversation."""
        kinds = find_kinds((message["content"] for message in messages), self._settings.input)
        return Verdict(bool(kinds), RAIL, kinds)

    async def check_output(self, _messages: list[Message], answer: str) -> Verdict:
        """Look at the answer."""
        kinds = find_kinds((answer,), self._settings.output)
        return Verdict(bool(kinds), RAIL, kinds)
