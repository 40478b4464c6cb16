"""What a model's own files say about its size: enough to estimate what training it takes."""

from pydantic import Field

from safety_records.base import Record


class ModelShape(Record):
    """Sizes of a decoder-only transformer."""

    parameters: int = Field(ge=1)
    """Numbers in its weights."""
    layers: int = Field(ge=1)
    """Transformer blocks."""
    hidden_size: int = Field(ge=1)
    """Numbers of a token's state between two blocks."""
    intermediate_size: int = Field(ge=1)
    """Width of a block's feed-forward part; with experts, of those that a token passes."""
    query_size: int = Field(ge=1)
    """Heads times numbers of a head."""
    key_size: int = Field(ge=1)
    """Key heads times numbers of a head."""
    vocabulary: int = Field(ge=1)
    """Tokens that the model tells apart, padding of the matrix included."""
