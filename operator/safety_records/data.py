"""Data sets: where they are, which columns and records of them are read, and how rows are drawn."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from safety_records.base import Record


class Columns(Record):
    """Which column of a data set holds what. Empty: absent."""

    prompt: str = "prompt"
    response: str = ""
    categories: str = ""
    id: str = ""
    messages: str = ""
    """A conversation: a list of objects with role and content, or such a list as JSON; stands for prompt."""
    system: str = ""
    """A system prompt of the row's own."""
    label: str = ""
    """What a person says of the response, where a judge is calibrated."""
    prompt_label: str = ""
    """What a person says of the prompt: ``safe`` and the like for one that asks for no harm."""
    unsafe_prompt: str = ""
    """The bare request inside a prompt that wraps it in a jailbreak: what the model is asked."""
    labels: dict[str, Literal["safe", "unsafe"]] = Field(default={}, exclude_if=lambda value: not value)
    """What values of label and prompt_label mean beyond the names that are known, whatever their case."""


class RowFilter(Record):
    """Which records are wanted, by a column of theirs. All that is said must hold."""

    column: str
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None


class Dataset(Record):
    """Rows to read: a preset, a uri, or a copy of a preset's published file at a uri."""

    preset: str = ""
    uri: str = ""
    """configmap://name/key, pvc://claim/path, file:///path, package://module/path, hf://, s3://, gs:// or https://."""
    token_env: str = ""
    """Variable that holds the token of a gated data set."""
    columns: Columns = Columns()
    filters: tuple[RowFilter, ...] = ()
    """On the columns of the published files, also of a preset."""
    limit: int | None = None
    """Rows drawn with ``seed``; None: all."""
    seed: int = 42
    max_records: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    """Records that are read, from the first; of a preset with subsets, of each of them. None: all."""


class Source(Record):
    """One source of a blend."""

    name: str
    dataset: Dataset
    categories: tuple[str, ...] = ()
    """Only rows with one of these; empty: all rows."""
    ratio: float | None = Field(default=None, gt=0)
    """Retain: rows for each safety row. At most one of ratio, subsets and the data set's limit."""
    subsets: dict[str, int] = {}
    """Retain: rows by first category."""


class SampleStrategy(StrEnum):
    """How rows are drawn over sources."""

    STRATIFIED = "stratified"
    """The same number from each source, as far as its rows reach."""
    UNIFORM = "uniform"
    """Every row has the same chance."""
    PROPORTIONAL = "proportional"
    """Each source by its share of the rows, rounded."""
