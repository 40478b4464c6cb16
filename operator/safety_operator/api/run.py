"""What every kind has: pods, artifacts, queue, suspension."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel, ObjectName
from safety_operator.api.pods import PodOptions
from safety_records.schema import shaped

QueueName = Annotated[
    str,
    shaped(
        r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
        "name a LocalQueue: lower-case letters, digits, '-' and '.'",
        max_length=63,
    ),
]
"""Name of a LocalQueue, which becomes a label; empty: none."""


class Artifacts(ApiModel):
    """Where results and models are kept."""

    claim_name: ObjectName | None = Field(
        default=None,
        description="PersistentVolumeClaim of this namespace; safety-artifacts or the chart's where absent.",
    )


class RunSpec(ApiModel):
    """Fields that every kind has. ``pod`` has the roles of the kind there."""

    pod: PodOptions = Field(
        default=PodOptions(), description="Options of all pods of this resource, over the chart's pods."
    )
    artifacts: Artifacts = Field(
        default=Artifacts(), description="The volume that results and models are kept on."
    )
    queue_name: QueueName | None = Field(
        default=None,
        description="Kueue LocalQueue for Jobs and model servers, which take the GPUs. Kueue queues servers "
        "where its integration for Deployments is on (its default since 0.15). Guardrails, classifier and "
        "proofs are never queued.",
    )
    suspend: bool = Field(
        default=False,
        description="True: nothing new is started and what runs is stopped; what is finished is kept.",
    )
