"""guardrails.toolCalls: which tools clients may offer a guarded model, and what is read of their calls."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_records.schema import SET, config, shaped

ToolName = Annotated[
    str,
    shaped(
        r"^[A-Za-z0-9_.-]+$",
        "write a tool's name as in requests: letters, digits, dots, dashes and underscores",
        max_length=64,
    ),
]


class ToolCalls(ApiModel):
    """Rails on tools. A call has to name an offered tool and to fit its schema, whatever is said here."""

    model_config = config(
        (
            "!has(self.enabled) || self.enabled || !has(self.allowed) && !has(self.maxArgumentBytes)",
            "enabled: false refuses every request with tools: leave allowed and maxArgumentBytes out",
        ),
    )
    enabled: bool = Field(
        default=True, description="Whether requests may use tools; those that do are refused (400) if not."
    )
    allowed: Annotated[list[ToolName], Field(min_length=1, max_length=128, json_schema_extra=SET)] | None = (
        Field(
            default=None,
            description="Names of the tools that clients may offer; a request with another is refused (400). "
            "Any where absent.",
        )
    )
    max_argument_bytes: Annotated[int, Field(ge=2, le=1048576)] | None = Field(
        default=None,
        description="Longest arguments of a call; a longer one is withheld as a blocked answer. No bound of "
        "its own where absent.",
    )
    check_calls: bool = Field(
        default=True, description="Whether the rails for answers read the model's calls of tools."
    )
    check_results: bool = Field(
        default=True,
        description="Whether the rails for requests read what tools gave back. False: words that a web page "
        "or a document holds for the model pass unread.",
    )
