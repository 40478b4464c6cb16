"""The inputs hash of a stage: what its output depends on, and nothing else."""

from typing import Any

from safety_operator.children.metadata import canonical_hash
from safety_operator.planning.engine.stages import Work

NOT_HASHED = frozenset(
    {
        *("namespace", "kind", "name", "inputs_hash", "root", "out"),
        *("concurrency", "parallelism", "shards"),
        *(
            "checkpoint_steps",
            "checkpoint_keep",
            "gradient_checkpointing",
            "step_timeout_seconds",
            "launcher",
            "grace_seconds",
        ),
        *("folders", "kept", "lineage", "tracking", "serving"),
    }
)
"""Fields of a specification that do not influence the output: whose it is, where it goes, how fast it is
made and launched, how often it is saved on the way, who is told, what of earlier runs is kept, and what a
report says of a server, whose identity is hashed where it answers."""
NOT_HASHED_OF = {"train": frozenset({"nodes", "processes"})}
"""The same of one stage. How many processes train changes a model by rounding alone: a training goes on from
its checkpoints with more or fewer of them, and a finished one stays finished."""
NOT_HASHED_INSIDE = "pods_url"
"""The same of a part of it, such as a served model: how many pods a server has influences no answer."""


def inputs_hash(work: Work) -> str:
    """Hash of everything that influences a stage's output.

    The operator's own images are left out, those that a spec names are part of ``work.inputs``: an
    upgrade of the operator must not repeat finished evaluations of a whole cluster.
    """
    left_out = NOT_HASHED | NOT_HASHED_OF.get(getattr(work.spec, "stage", ""), frozenset())
    fields = work.spec.model_dump(mode="json", by_alias=False, exclude=set(left_out))
    return canonical_hash({"fields": _hashed(fields) | dict(work.inputs)})


def _hashed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hashed(item) for key, item in value.items() if key != NOT_HASHED_INSIDE}
    return [_hashed(item) for item in value] if isinstance(value, list) else value
