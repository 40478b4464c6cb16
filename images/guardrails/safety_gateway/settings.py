"""The application's settings: ``gateway.json``, next to the rails' own folder."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

SETTINGS_FILE = "gateway.json"
OWN_FOLDER = "own"
"""Folder of a user's own configuration, in the same form."""
RAILS_FOLDER = "rails"
"""Folder of the rails' configuration, in NeMo Guardrails' own form."""
ANY = "any"
"""Stands in for each rail or each language."""


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, protected_namespaces=()
    )


class ModelServer(_Model):
    """The model behind the rails."""

    url: str
    """Base URL up to /v1."""
    name: str
    """The model's name at its server."""
    key_env: str | None = None
    """Environment variable with the API key; None: no key is sent."""
    timeout_seconds: float = Field(default=600, gt=0)
    """Longest time that an answer may take."""
    show_reasoning: bool = False
    """Whether clients get the model's reasoning, checked like its answers."""
    opens_reasoning: bool = False
    """Whether answers begin within reasoning, as the chat template opens it and the server leaves it in."""


class Streaming(_Model):
    """How a stream is checked: in windows, each of which is shown once the rails have passed it."""

    chunk_tokens: int = Field(default=128, ge=1)
    """Tokens of a window."""
    context_tokens: int = Field(default=64, ge=0)
    """Tokens before a window that the rails read again with it."""
    release_before_check: bool = False
    """Whether text is shown as it comes and checked after that: a block ends the stream."""


class ToolCalls(_Model):
    """What is allowed of tools, and what the rails for texts read of them."""

    enabled: bool = True
    """Whether requests may use tools."""
    allowed: frozenset[str] | None = None
    """Names that a client may offer; None: any."""
    max_argument_bytes: int | None = Field(default=None, ge=1)
    """Longest arguments of a call; longer ones are withheld."""
    check_calls: bool = True
    """Whether the rails for answers read the model's calls; the check by their schemas is always made."""
    check_results: bool = True
    """Whether the rails for requests read what tools gave back."""


class Endpoints(_Model):
    """Endpoints of OpenAI's besides chat."""

    completions: bool = False
    embeddings: bool = False


class CallerSettings(_Model):
    """A caller and what it may take at one pod; None: no limit."""

    name: str
    """Name of the file with its keys, and in logs and metrics."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    max_body_bytes: int | None = Field(default=None, ge=1024)
    """Bytes of a request, below the bound for all."""


class TelemetrySettings(_Model):
    """Where traces are sent."""

    otlp_endpoint: str
    """Base URL of a collector that takes OTLP over HTTP, without /v1/traces."""
    sample_ratio: float = Field(default=1, ge=0, le=1)
    """Share of the traces that is sent."""


class JailbreakServer(_Model):
    """A server that recognizes jailbreaks."""

    url: str
    """Base URL up to /v1."""
    key_env: str | None = None
    """Environment variable with the API key; None: no key is sent."""
    timeout_seconds: float = Field(default=60, gt=0)
    """Longest time for one text."""


class SensitiveData(_Model):
    """Kinds of data that block, by their names in ``sensitive_data.DETECTORS``."""

    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()


class RefusalText(_Model):
    """What is read where a rail blocks."""

    rail: str = ANY
    """As the spec calls it."""
    language: str = ANY
    """As in Accept-Language, such as ``de`` or ``pt-br``."""
    text: str


class Settings(_Model):
    """What a gateway serves."""

    served_name: str
    """The model's name in clients' requests."""
    model: ModelServer
    refusal: str
    """What a client reads where a rail blocks."""
    refusals: tuple[RefusalText, ...] = ()
    """Texts for a rail, a language or both, in place of ``refusal``."""
    speculative: bool = False
    """Whether the model begins while the rails still read the conversation; nothing is shown before."""
    streaming: Streaming = Streaming()
    endpoints: Endpoints = Endpoints()
    tool_calls: ToolCalls = ToolCalls()
    callers: tuple[CallerSettings, ...] = ()
    """Who may ask; empty: everybody."""
    audit_text: bool = False
    """Whether the audit trail holds the blocked text itself."""
    telemetry: TelemetrySettings | None = None
    """None: no traces."""
    texts: dict[str, str] = {}
    """By the name that the rails' prompts give: texts that are put into them as they are."""
    jailbreak: JailbreakServer | None = None
    sensitive_data: SensitiveData | None = None
    guard_timeout_seconds: float = Field(default=60, gt=0)
    """Longest time that the rails may take for one direction."""


def read_settings(folder: Path) -> Settings:
    """The settings in a configuration folder."""
    return Settings.model_validate_json((folder / SETTINGS_FILE).read_bytes())
