"""The fields reference of a kind in Markdown, from the same schema as its CRD.

What all kinds have stands on a page of its own (``COMMON_PAGE``), to which the pages of the kinds link.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from safety_operator.api.kinds import Kind

Schema = dict[str, Any]
NOTE = "<!-- Generated from operator/safety_operator/api by `make generate`. Do not edit. -->\n"
COMMON = ("pod", "artifacts", "queueName", "suspend")
"""Fields that every kind has: they come last. Required ones come first."""
COMMON_PAGE = "common.md"
SHARED = ("spec.pod", "spec.artifacts", "status.conditions[]", "status.progress", "status.stages[]")
"""Objects that are the same in every kind, but for the roles of pods."""


def build_reference(kind: Kind, crd: Schema, smallest: str) -> str:
    """The page of a kind; ``smallest`` is its smallest manifest."""
    version = crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    scale = " `kubectl scale` works on it." if kind.scale else ""
    about = (
        f"{root['description']} Short name `{kind.short}`, group and version "
        f"`{crd['spec']['group']}/{version['name']}`, namespaced.{scale}\n"
    )
    parts = [
        NOTE,
        f"# {kind.kind}\n",
        about,
        f"The smallest one:\n\n```yaml\n{smallest.strip()}\n```\n",
        "Unknown fields are refused by `kubectl apply`; decimal numbers are strings in quotes.\n",
        _rules(root),
        f"`kubectl get {kind.plural}` shows: {_columns(kind)}.\n",
        *_object("spec", root["properties"]["spec"]),
        *_object("status", root["properties"]["status"]),
    ]
    return "\n".join(part for part in parts if part)


def build_common(crds: Mapping[str, Schema]) -> str:
    """The page of what all kinds have, from the CRDs by kind; raises ValueError where kinds differ."""
    roots = {
        kind: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        for kind, crd in crds.items()
    }
    parts = [NOTE, "# Fields that all kinds have\n"]
    for path in SHARED:
        versions = [_at(root, path) for root in roots.values()]
        if any(_without_roles(version) != _without_roles(versions[0]) for version in versions):
            raise ValueError(f"{path} is not the same in all kinds: take it out of SHARED")
        parts += _object(path, _without_roles(versions[0]), shared=True)
        if path == "spec.pod":
            parts += _roles({kind: _at(root, path)["properties"]["roles"] for kind, root in roots.items()})
    return "\n".join(part for part in parts if part)


def _at(root: Schema, path: str) -> Schema:
    """The schema of a path below ``spec`` and ``status``."""
    top, _, name = path.partition(".")
    node: Schema = root[top]["properties"][name.removesuffix("[]")]
    return node["items"] if name.endswith("[]") else node


def _without_roles(schema: Schema) -> Schema:
    fields = {name: child for name, child in schema["properties"].items() if name != "roles"}
    return schema | {"properties": fields}


def _roles(by_kind: Mapping[str, Schema]) -> Iterator[str]:
    """Which roles of pods a kind has, and the options of one, which are those of all."""
    roles = {name: role for schema in by_kind.values() for name, role in schema["properties"].items()}
    fields = [role["properties"] for role in roles.values()]
    if any(other != fields[0] for other in fields):
        raise ValueError("spec.pod.roles: the options of roles differ")
    yield "## spec.pod.roles\n"
    marks = "\n".join(
        f"| `{name}` | {_cell(role)} | "
        + ", ".join(kind for kind, schema in by_kind.items() if name in schema["properties"])
        + " |"
        for name, role in roles.items()
    )
    yield f"Options by role, over the common ones.\n\n| Role | Pods | Kinds |\n|---|---|---|\n{marks}\n"
    about = {"description": "Options of the pods of one role."}
    yield from _object("spec.pod.roles.ROLE", next(iter(roles.values())) | about, shared=True)


def _columns(kind: Kind) -> str:
    return ", ".join(column.name + (" (`-o wide`)" if column.priority else "") for column in kind.columns)


def _object(path: str, schema: Schema, *, shared: bool = False) -> Iterator[str]:
    """A section with a table of the object's fields and its rules, then the sections of what is below.

    ``shared``: the page of what all kinds have is being written, so nothing is left to it.
    """
    required = set(schema.get("required", []))
    fields = sorted(
        schema["properties"].items(), key=lambda field: (field[0] in COMMON, field[0] not in required)
    )
    rows = [
        f"| `{name}` | {_type(child)} | {_presence(child, name in required)} | "
        f"{_cell(child)}{'' if shared else _link(path, name, child)} |"
        for name, child in fields
    ]
    table = "\n".join(["| Field | Type | Default | Meaning |", "|---|---|---|---|", *rows])
    yield f"## {path}\n"
    yield f"{schema.get('description', '')}\n\n{table}\n"
    yield _rules(schema)
    for name, child in fields:
        inner, suffix = child, ""
        if child.get("type") == "array":
            inner, suffix = child["items"], "[]"
        below = f"{path}.{name}{suffix}"
        if "properties" in inner and (shared or below not in SHARED):
            yield from _object(below, inner, shared=shared)


def _link(path: str, name: str, schema: Schema) -> str:
    """To the section of what all kinds have."""
    below = f"{path}.{name}{'[]' if schema.get('type') == 'array' else ''}"
    if below not in SHARED:
        return ""
    anchor = below.lower().replace(".", "").replace("[]", "")
    return f" [Fields]({COMMON_PAGE}#{anchor})."


def _rules(schema: Schema) -> str:
    lines = [f"- {_escape(rule['message'])}" for rule in schema.get("x-kubernetes-validations", [])]
    return "Checked when applied:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _cell(schema: Schema) -> str:
    """A table cell: the description, and what the API server checks of the value itself."""
    words = [schema["description"].rstrip(".") + "."]
    nodes = [schema] if schema.get("type") == "object" else [schema, schema.get("items", {})]
    for node in nodes:
        if node.get("type") != "object":
            words += [f"Must: {rule['message']}." for rule in node.get("x-kubernetes-validations", [])]
        if "pattern" in node:
            words.append(f"Pattern `{node['pattern']}`.")
    return _escape(" ".join(words))


def _escape(text: str) -> str:
    """Placeholders such as <suite> are no HTML, and a bar ends no cell."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def _presence(schema: Schema, required: bool) -> str:
    if required:
        return "**required**"
    value = schema.get("default")
    return "" if value in (None, {}) else f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind: str = schema["type"]
    if kind == "array":
        return f"list of {_range(schema, 'minItems', 'maxItems')}: {_type(schema['items'])}"
    if kind == "object":
        return _map_type(schema)
    bounds = _range(schema, *(("minLength", "maxLength") if kind == "string" else ("minimum", "maximum")))
    return kind + (f", {bounds}" if bounds else "") + (" characters" if kind == "string" else "")


def _map_type(schema: Schema) -> str:
    if "additionalProperties" not in schema:
        return "any object" if schema.get("x-kubernetes-preserve-unknown-fields") else "object"
    return (
        f"map of {_range(schema, 'minProperties', 'maxProperties')}: {_type(schema['additionalProperties'])}"
    )


def _range(schema: Schema, low: str, high: str) -> str:
    """As words: ``1 to 8``, ``at most 8``, ``at least 0``, or nothing."""
    least, most = schema.get(low), schema.get(high)
    if most is None:
        return "" if least is None else f"at least {least:,}"
    return f"at most {most:,}" if not least and low != "minimum" else f"{least or 0:,} to {most:,}"
