"""Data sets: where they are, which columns and records of them are read, and how rows are drawn."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from safety_records.base import Record
from safety_records.numbers import NonNegative, Real
from safety_records.sampling import SEED, Seed
from safety_records.schema import config, over_signed

ColumnName = Annotated[str, Field(max_length=128)]
"""Name of a column; empty: there is none."""
SomeColumn = Annotated[ColumnName, Field(min_length=1)]
CellText = Annotated[str, Field(min_length=1, max_length=128)]
Meaning = Literal["safe", "unsafe"]
RowFormat = Literal["jsonl", "parquet"]
"""Of training files."""
AT_LEAST_ONE: dict[str, JsonValue] = {"minItems": 1}
"""For lists that a resource leaves out rather than empty."""


class ColumnNames(Record):
    """Which column of a data set holds what."""

    model_config = config(
        (
            (
                "!has(self.labels) || size(self.labels) == 0 || has(self.label) && self.label != '' || "
                "has(self.promptLabel) && self.promptLabel != ''"
            ),
            "labels explain the values of a column: name it in label or promptLabel",
        )
    )

    prompt: ColumnName = "prompt"
    """The prompt."""
    response: ColumnName = ""
    """An answer, where the data has one."""
    categories: ColumnName = ""
    """Harm categories: a list, a text that lists them, flags by name, or a class's number."""
    messages: ColumnName = ""
    """A conversation instead of a prompt: a list of objects with role and content, or such a list as JSON
    text. Its last user turn is the prompt."""
    system: ColumnName = ""
    """A system prompt of the row's own."""
    label: ColumnName = ""
    """What a person says of the response: for calibrating judges."""
    prompt_label: ColumnName = ""
    """What a person says of the prompt. A blend asks its model for a refusal unless that means safe; several
    labels of one prompt mean unsafe if one of them does."""
    labels: dict[Annotated[str, Field(max_length=64)], Meaning] = Field(
        default={}, max_length=32, exclude_if=lambda value: not value
    )
    """What the values of label and promptLabel mean, such as {"0": safe, "1": unsafe}, whatever their case;
    safe, benign, harmless, unharmful, unsafe, harmful and malicious are known."""
    unsafe_prompt: ColumnName = ""
    """The bare request inside a prompt that wraps it in a jailbreak. A blend asks its model for the answer to
    the request, and trains on the prompt as it is."""


class Columns(ColumnNames):
    """The columns as a worker reads them. Empty: absent."""

    id: str = ""
    """Of published files only: the row's own name."""


class RowFilter(Record):
    """Which records are wanted, by a column of theirs. All bounds must hold."""

    model_config = config(
        (
            "has(self.anyOf) || has(self.noneOf) || has(self.atLeast) || has(self.atMost)",
            "say what the column must be: at least one of anyOf, noneOf, atLeast and atMost",
        ),
        (
            over_signed("double(self.atLeast) <= double(self.atMost)", "self.atLeast", "self.atMost"),
            "no number is that: atLeast is above atMost",
        ),
    )
    column: SomeColumn
    """Column of the file; for a preset, of its published file."""
    any_of: tuple[CellText, ...] = Field(default=(), max_length=64, json_schema_extra=AT_LEAST_ONE)
    """Records with one of these values, whatever their case; of a list, one item is enough."""
    none_of: tuple[CellText, ...] = Field(default=(), max_length=64, json_schema_extra=AT_LEAST_ONE)
    """Records with none of these values."""
    at_least: Real | None = None
    """Lowest number that passes, the bound included."""
    at_most: Real | None = None
    """Highest number that passes, the bound included."""


Rows = Annotated[int, Field(ge=1, le=10000000)]


class ReadSettings(Record):
    """Which records of a data set's files are read."""

    filters: tuple[RowFilter, ...] = Field(default=(), max_length=16)
    """Only records that pass all of these are part of the source; of a preset, on the columns of its
    published files."""
    max_records: Rows | None = Field(default=None, exclude_if=lambda value: value is None)
    """Read the first so many records and no more, files in the order of their names, before filters; of
    llama-nemotron so many of each of subsets. What comes after is not fetched (JSON lines, CSV, text,
    Parquet). All where absent."""


class SourceSettings(Record):
    """Which rows of a source take part."""

    categories: tuple[CellText, ...] = Field(default=(), max_length=64)
    """Only rows with one of these categories; all rows where empty."""


class RetainSettings(Record):
    """How many rows of a source are drawn. At most one of the two and a number of rows."""

    ratio: NonNegative | None = None
    """Rows to draw for each safety row of the sample, such as "2" or "0.5"."""
    subsets: dict[CellText, Rows] = Field(default={}, max_length=32, json_schema_extra={"minProperties": 1})
    """Rows to draw by category, such as math: 1000. Of llama-nemotron only these are fetched."""


class Dataset(ReadSettings):
    """Rows to read: a preset, a uri, or a copy of a preset's published file at a uri."""

    preset: str = ""
    uri: str = ""
    """configmap://name/key, pvc://claim/path, file:///path, package://module/path, hf://, s3://, gs:// or
    https://."""
    token_env: str = ""
    """Variable that holds the token of a gated data set."""
    columns: Columns = Columns()
    limit: int | None = None
    """Rows drawn with ``seed``; None: all."""
    seed: int = SEED


class Source(SourceSettings, RetainSettings):
    """One source of a blend."""

    name: str
    dataset: Dataset


class SampleStrategy(StrEnum):
    """How rows are drawn over sources."""

    STRATIFIED = "stratified"
    """The same number from each source, as far as its rows reach."""
    UNIFORM = "uniform"
    """Every row has the same chance."""
    PROPORTIONAL = "proportional"
    """Each source by its share of the rows, rounded."""


class Sample(Record):
    """How many safety rows are drawn, and how."""

    model_config = config(
        (
            "has(self.column) == (has(self.by) && self.by == 'column')",
            "sample.column names the column of by: column, and nothing else",
        )
    )
    size: Rows | None = None
    """Safety rows; all where absent."""
    strategy: SampleStrategy = SampleStrategy.STRATIFIED
    """stratified: the same number from each stratum; uniform: every row alike; proportional: each stratum by
    its share."""
    by: Literal["source", "category", "column"] = "source"
    """What a stratum is: column takes the values of the one that is named."""
    column: ColumnName = Field(default="", json_schema_extra={"minLength": 1})
    """by column: a column of the files, such as tactic; rows without it are one stratum."""
    seed: Seed = SEED
    """Seed of the draw, and of the order of rows."""
