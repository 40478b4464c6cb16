"""What the stage specifications of all kinds have."""

from pydantic import Field

from safety_records.base import Record


class ServedModel(Record):
    """An OpenAI-compatible server."""

    base_url: str
    """Up to and including ``/v1``."""
    pods_url: str = ""
    """The same with a host that resolves to the addresses of all its pods; empty: it is asked at base_url."""
    model: str
    """Name in the request's ``model`` field."""
    api_key_env: str = ""
    """Variable that holds the key; empty: none."""
    certificate: str = Field(default="", exclude_if=lambda value: not value)
    """File (PEM) whose first certificate it has to show, whatever its name; empty: checked as usual."""
    path: str = ""
    """Folder of the model relative to the artifact root (tokenizer, chat template); empty: an endpoint."""
    digest: str = ""
    max_length: int | None = None
    reasoning_parser: str = Field(default="", exclude_if=lambda value: not value)
    """Parser by which its server takes reasoning out of answers; empty: none, or not known."""


class StageBase(Record):
    """What every stage has."""

    namespace: str
    kind: str
    name: str
    inputs_hash: str
    """Hash of everything that influences the output."""
    root: str
    """Artifact root as an fsspec URI, for example ``file:///artifacts``."""
    out: str
    """Output folder relative to the root: ``<namespace>/<kind>/<name>/<run>/<stage>-<hash>``."""
