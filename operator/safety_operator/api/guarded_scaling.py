"""How many pods a guarded model and its guardrails have, where that follows the load."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_records.schema import config, shaped


class QueueMetric(ApiModel):
    """A number from Prometheus that the pods follow, by KEDA."""

    model_config = config(
        (
            "!self.serverAddress.matches('^https?://[^/]*@')",
            (
                "a user or password in serverAddress would be shown to everybody who reads the ScaledObject: "
                "leave it out"
            ),
        )
    )
    server_address: Annotated[
        str,
        shaped(
            r"^https?://[^/\s]+[^\s]*$",
            "give the address of Prometheus, such as http://prometheus.monitoring:9090",
            max_length=1024,
        ),
    ] = Field(description="Address of Prometheus, such as http://prometheus.monitoring:9090.")
    query: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="Query that gives one number for all pods together, such as the requests that wait."
    )
    threshold: Annotated[
        str,
        shaped(
            r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|0*\.[0-9]*[1-9][0-9]*)$",
            'write the number for one pod, above 0, such as "5"',
            max_length=16,
        ),
    ] = Field(description="Number of the query that one pod is to have; more of it takes more pods.")


class Autoscaling(ApiModel):
    """Bounds of the number of pods, and what it follows."""

    model_config = config(
        (
            "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
            "maxReplicas is at least minReplicas",
        ),
        ("!has(self.cpuPercent) || !has(self.queue)", "name one of cpuPercent and queue"),
    )
    min_replicas: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="Fewest pods.")
    max_replicas: Annotated[int, Field(ge=1, le=64)] = Field(description="Most pods.")
    cpu_percent: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Use of CPU, in percent of what the pods request, that the number of pods aims at, by a "
        "HorizontalPodAutoscaler; 80 where neither this nor queue is given. The use of CPU says little of a "
        "model on GPUs: name a queue there.",
    )
    queue: QueueMetric | None = Field(
        default=None, description="A number from Prometheus in place of the CPU's, where KEDA is installed."
    )
