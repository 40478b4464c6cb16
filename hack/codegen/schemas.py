"""JSON schemas of what workers leave for others to read, from the records that write them."""

import json
from typing import Any, NamedTuple

from pydantic import BaseModel

from safety_operator.api import GROUP
from safety_records.attestation import SafetyStatement
from safety_records.blend import VERSION as BLEND_VERSION
from safety_records.blend import BlendReport
from safety_records.finetune import VERSION as FINETUNE_VERSION
from safety_records.finetune import FinetuneReport
from safety_records.report import VERSION, Report

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Published(NamedTuple):
    """A schema that is published."""

    model: type[BaseModel]
    version: int
    about: str


SCHEMAS = {
    "report.schema.json": Published(Report, VERSION, "`report.json`, the report of a SafetyEval"),
    "attestation.schema.json": Published(
        SafetyStatement, 1, "the payload of `report.json.intoto.jsonl`, the signed statement about it"
    ),
    "blend.schema.json": Published(
        BlendReport, BLEND_VERSION, "`blend.json`, what a SafetyBlend is made of and what became of every row"
    ),
    "finetune.schema.json": Published(
        FinetuneReport, FINETUNE_VERSION, "`finetune.json`, how a SafetyFinetune's model was trained"
    ),
}
"""By file name."""


def build_schemas() -> dict[str, str]:
    """File names and texts."""
    return {name: json.dumps(_schema(name, item), indent=2) + "\n" for name, item in SCHEMAS.items()}


def _schema(name: str, item: Published) -> dict[str, Any]:
    schema = _open(item.model.model_json_schema(by_alias=True, mode="serialization"))
    stem = name.removesuffix(".schema.json")
    return {"$schema": DIALECT, "$id": f"https://{GROUP}/schemas/{stem}-v{item.version}.json", **schema}


def _open(node: Any) -> Any:
    """The schema without what would refuse the fields of a newer worker: new fields keep the version."""
    if isinstance(node, dict):
        return {
            key: _open(value)
            for key, value in node.items()
            if (key, value) != ("additionalProperties", False)
        }
    return [_open(value) for value in node] if isinstance(node, list) else node
