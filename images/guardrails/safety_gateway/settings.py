"""The application's settings: ``gateway.json``, next to the rails' own folder."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

SETTINGS_FILE = "gateway.json"
RAILS_FOLDER = "rails"
"""Folder of the rails' configuration, in NeMo Guardrails' own form."""


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


class Settings(_Model):
    """What a gateway serves."""

    served_name: str
    """The model's name in clients' requests."""
    model: ModelServer
    refusal: str
    """What a client reads where a rail blocks."""
    guard_timeout_seconds: float = Field(default=60, gt=0)
    """Longest time that the rails may take for one direction."""


def read_settings(folder: Path) -> Settings:
    """The settings in a configuration folder."""
    return Settings.model_validate_json((folder / SETTINGS_FILE).read_bytes())
