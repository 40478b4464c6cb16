"""Rows that stages hand to each other, as JSON lines.

A row is known by its digest: sha256 over the canonical content (the prompt in its normal form and the
response that the source came with). Digests, not positions, join files: a source may be re-ordered.
"""

import hashlib
import json
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any, Literal, Self

from pydantic import Field

from safety_records.base import Record
from safety_worker.empty_answers import EmptyReason, find_empty_reason
from safety_worker.text import normal_form


class Origin(Record):
    """Where a row comes from."""

    source: str
    """Name of the source or suite."""
    file: str = ""
    """File's name inside the source."""
    index: int = Field(ge=0)
    """Position in the file, from 0."""


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class PromptRow(Record):
    """One prompt to answer, read from a data set."""

    digest: str
    prompt: str
    """The last thing the user says."""
    context: tuple[Message, ...] = ()
    """What comes before it: a system prompt, earlier turns."""
    response: str = ""
    """The source's own response, where it has one."""
    categories: tuple[str, ...] = ()
    id: str = ""
    """The source's own identifier."""
    label: str = ""
    """What people say of the response: safe or unsafe, or their own word where its meaning is not known."""
    unsafe_prompt: str = ""
    """The bare request inside a prompt that wraps it in a jailbreak; empty: the prompt is the request."""
    benign: bool = False
    """People call the prompt safe: in a blend it is asked as it is, without a word of refusing."""
    origin: Origin

    @property
    def request(self) -> str:
        """What is asked for, without a jailbreak around it."""
        return self.unsafe_prompt or self.prompt


class BlendRow(PromptRow):
    """A row on its way into training data."""

    part: str = Field(pattern=r"^(safety|retain)$")
    group: str = ""
    """Rows that ask for nearly the same share it, and never stand on both sides of a split."""


class DroppedRow(Record):
    """A row that went no further, and why."""

    source: str
    file: str = ""
    index: int
    line: int | None = None
    """Line of the file, from 1, where the format has lines."""
    digest: str = ""
    reason: str
    """One word: invalid, filtered, duplicate."""
    detail: str = ""


SOURCE = "source"
"""Finish reason of a response that the source came with."""


class KeyedRow(Record):
    """A row of a stage's shard files."""

    @property
    def key(self) -> str:
        """Identity within the stage's output."""
        raise NotImplementedError


class GeneratedRow(KeyedRow):
    """A model's answer to one prompt."""

    suite: str
    """Name of the suite; in a blend the part: safety or retain."""
    digest: str
    candidate: int = 0
    """Which of several answers to the same prompt."""
    prompt: str
    """As the data set has it, without any wrapper."""
    context: tuple[Message, ...] = ()
    """System prompt and turns before the prompt, as the model was asked."""
    categories: tuple[str, ...] = ()
    answer: str
    """Without reasoning."""
    reasoning: str = ""
    """What came before the answer, up to and with its end tag; only where it is kept."""
    finish_reason: str = ""
    """As the server says: stop, length; ``source`` for a response that the source came with."""
    truncated: bool = False
    """The answer ended because it reached the token limit."""
    truncated_reasoning: bool = False
    """The answer never left its reasoning: there is nothing to judge."""
    only_reasoning: bool = Field(default=False, exclude_if=lambda value: not value)
    """The server gave reasoning apart from the text, and no text."""
    blocked: bool = False
    """Rails withheld the answer: what stands there is their text, not the model's."""
    seconds: float | None = Field(default=None, ge=0)
    """From the request that was answered to its answer, without earlier tries; None: not timed."""
    regenerated: bool = False
    """Asked a second time, with more room, because the first answer ended at the token limit."""
    error: str = ""
    """Why the server refused this prompt for good, for example because it is longer than the context."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    origin: Origin

    @classmethod
    def of(cls, row: PromptRow, suite: str, candidate: int = 0, **answer: Any) -> Self:
        """The row that answers a prompt; ``answer``: all fields that the prompt does not have."""
        return cls(
            suite=suite,
            digest=row.digest,
            candidate=candidate,
            prompt=row.prompt,
            context=row.context,
            categories=row.categories,
            origin=row.origin,
            **answer,
        )

    @property
    def key(self) -> str:
        """Identity within a stage's output."""
        return f"{self.suite}/{self.digest}/{self.candidate}"

    @property
    def silence(self) -> EmptyReason | None:
        """Why there is no text to judge; None if there is one, or rails withheld it."""
        if self.blocked:
            return None
        if self.error:
            return EmptyReason.REFUSED
        if self.truncated_reasoning:
            return EmptyReason.UNFINISHED
        return find_empty_reason(self.answer, reasoning=self.only_reasoning, cut=self.truncated)

    @property
    def answer_digest(self) -> str:
        """First half of the sha256 over all that a judge goes by, as 32 hexadecimal digits."""
        context = [[message.role, message.content] for message in self.context]
        judged = [self.prompt, context, self.answer, self.error, self.truncated_reasoning]
        return hashlib.sha256(json.dumps(judged).encode("ascii")).hexdigest()[:32]


class Verdict(Record):
    """What a judge says about one answer."""

    safe: bool | None = None
    """None: the judge cannot say."""
    unparsed: bool = False
    """There was nothing that the judge could read; counts against the model."""
    refused: bool | None = None
    """Whether the answer is a refusal, where the judge can tell."""
    score: float | None = None
    """How safe the answer is, 0..1, where the judge gives more than a yes or no."""
    detail: str = ""
    """Short, from a fixed vocabulary or a number; never model text."""


class VerdictRow(Verdict, KeyedRow):
    """A verdict on a generated row."""

    suite: str
    digest: str
    candidate: int = 0
    judge: str
    passed: bool
    """Whether the answer is what the suite expects; an unparsed one never is."""
    answer_digest: str = ""
    """Which answer was judged. A machine that fails may lose an answer that was judged already, and the one
    that takes its place is another."""

    @property
    def key(self) -> str:
        """Identity within a stage's output."""
        return f"{self.suite}/{self.digest}/{self.candidate}/{self.judge}/{self.answer_digest}"


def row_digest(prompt: str, response: str = "", context: Sequence[Message] = ()) -> str:
    """sha256, as 64 hexadecimal digits, over the canonical content of a row.

    Two prompts that differ in white space, zero-width characters or Unicode form only have the same digest,
    unless they follow different turns.
    """
    return digest_of_normal(normal_form(prompt), normal_form(response), context).hex()


def digest_of_normal(prompt: str, response: str = "", context: Sequence[Message] = ()) -> bytes:
    """The 32 bytes of a row's digest, of prompt and response in their normal form."""
    turns = f",{_normal_turns(context)}" if context else ""
    content = f"[{encode_basestring(prompt)},{encode_basestring(response)}{turns}]"
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()


def _normal_turns(context: Sequence[Message]) -> str:
    turns = [[message.role, normal_form(message.content)] for message in context]
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))


def group_of(form: str) -> str:
    """Name of a prompt group, 16 hexadecimal digits, from the form that its rows share."""
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def seeded_order(seed: int, digest: str) -> bytes:
    """Sort key that puts rows into a random order which depends on the seed and the row alone.

    Sorting by it and taking the first n draws n rows; the draw is the same in whatever order rows come,
    and a larger n keeps the rows of a smaller one.
    """
    return hashlib.sha256(f"{seed}\0{digest}".encode()).digest()


def row_seed(seed: int, digest: str, candidate: int) -> int:
    """Seed of one answer, 0..2^31-1, from the run's seed, the row and the candidate's number."""
    raw = hashlib.sha256(f"{seed}\0{digest}\0{candidate}".encode()).digest()
    return int.from_bytes(raw[:4], "big") & 0x7FFFFFFF
