"""A user's own configuration of rails: which ConfigMap it is, its files, and what is refused unread.

What its files say, the library judges: a pod of the guarded endpoint loads them before it is ready, and the
pods with the version before serve on where it cannot. The files are copied into the endpoint's own ConfigMap,
so that a later change of the user's reaches no pod that runs.
"""

from typing import Any

from safety_operator.api.conditions import Reason
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec, Guardrails
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.references import CONFIG_MAP, Reference, read_config_map
from safety_operator.planning.engine.stages import Run
from safety_operator.state.reading import value_at

WHERE = "spec.guardrails.config.configMapRef"
MAIN_FILE = "config.yml"
ENDINGS = (".yml", ".yaml", ".co")
MAX_BYTES = 512 * 1024
"""Of all files together: a ConfigMap holds 1 MiB, and the endpoint's own files are in it as well."""

Files = tuple[tuple[str, str], ...]
"""Names and texts, in the order of names."""


def own_reference(rails: Guardrails) -> tuple[Reference, ...]:
    """The ConfigMap, where the spec names one."""
    if rails.config is None:
        return ()
    return (Reference(WHERE, CONFIG_MAP, rails.config.config_map_ref.name, MAIN_FILE),)


def engine_of(files: Files) -> str:
    """Which engine of the library carries its rails out, and why, for people."""
    if any(name.endswith(".co") for name, _ in files):
        return "LLMRails, for it has Colang files; the other rails by IORails"
    return "IORails, as all others"


def own_files(run: Run[GuardedDeploymentSpec]) -> Files:
    """The files of the configuration; none where the spec names none. Raises Blocked for what cannot be."""
    found = own_reference(run.spec.guardrails)
    if not found:
        return ()
    read_config_map(run.observed, found[0])
    config_map = run.observed.config_maps[found[0].name]
    where = f"{WHERE}: the ConfigMap {found[0].name}"
    data: dict[str, Any] = dict(value_at(config_map, "data", default={}))
    others = [name for name in data if not name.endswith(ENDINGS)]
    others += value_at(config_map, "binaryData", default={})
    if others:
        message = f"{where} holds {', '.join(sorted(others)[:5])}: only .yml, .yaml and .co files are allowed"
        raise Blocked(Problem(Reason.INVALID_SPEC, f"{message}, and no Python."))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in data.values())
    if size > MAX_BYTES:
        raise Blocked(Problem(Reason.INVALID_SPEC, f"{where} has {size:,} bytes; {MAX_BYTES:,} at most."))
    return tuple(sorted(data.items()))
