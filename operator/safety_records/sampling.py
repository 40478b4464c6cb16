"""How a model's answers are drawn."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from safety_records.base import Record
from safety_records.numbers import DECIMAL, FRACTION, InResource, exact, exact_digits

MAX_TEMPERATURE = 2.0
"""vLLM takes no more; what is above counts as this."""
LEAST_NUCLEUS = 1e-6
"""vLLM takes no nucleus of 0; what is below counts as this: the likeliest token alone."""

Temperature = Annotated[
    float, Field(ge=0), AfterValidator(lambda value: min(value, MAX_TEMPERATURE)), InResource(exact, DECIMAL)
]
"""From 0 to 2."""
Nucleus = Annotated[
    float,
    Field(ge=0, le=1),
    AfterValidator(lambda value: max(value, LEAST_NUCLEUS)),
    InResource(exact_digits, FRACTION),
]
"""Above 0, up to 1."""
NewTokens = Annotated[int, Field(ge=1, le=131072)]
Seed = Annotated[int, Field(ge=0, le=2147483647)]
SEED = 42
"""Seed of every draw that no spec gives another."""


class Sampling(Record):
    """How answers are drawn from a model."""

    temperature: Temperature = 0.0
    """0 is greedy: the likeliest token each time; above 2 counts as 2."""
    top_p: Nucleus = 1.0
    """Nucleus sampling: only the likeliest tokens that together have this probability; 1: all of them."""
    max_tokens: NewTokens = 512
    """New tokens of an answer; longer ones are cut."""
    seed: Seed = SEED
    """Seed of the draw, and of the choice of rows where a limit is set."""
    reasoning_end: str = Field(default="", max_length=64)
    """End tag of a reasoning model, such as </think>: judged is what follows the last one. Absent: the model
    does not reason."""


Pick = Literal["first", "best"]
"""Which of several safe answers is kept."""
Reasoning = Literal["strip", "keep"]
"""What becomes of the reasoning before an answer."""


class RequestLimit(Record):
    """How many requests are under way at the same time."""

    concurrency: int = Field(default=32, ge=1, le=1024)
    """Requests at a time at most, to the model and to each judge; fewer while a server refuses them or gets
    no faster. lm-eval always makes so many; garak has a parallelism of its own."""


class AnswerSettings(RequestLimit):
    """How often and how fast a blend asks its model."""

    candidates: int = Field(default=1, ge=1, le=16)
    """Answers per safety prompt, of which one safe one is kept."""
    fallback: Literal["drop", "source"] = "drop"
    """Safety prompts without a safe answer: drop them, or take the response that the source came with, if the
    judges pass it and it is not labelled unsafe."""


class GenerationArguments(Record):
    """Generation arguments of tasks in which the model writes an answer; the task's own where absent."""

    temperature: Temperature | None = None
    """Sampling temperature; 0 always takes the most likely token."""
    top_p: Nucleus | None = None
    """Nucleus sampling: only the most likely tokens of this total probability; 1 takes all."""
    max_tokens: NewTokens | None = None
    """New tokens of an answer; a reasoning model needs thousands."""
    stop: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(default=(), max_length=4)
    """Texts that end an answer, instead of the task's own."""
