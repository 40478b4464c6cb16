"""spec.telemetry of a GuardedDeployment: where traces are sent."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel, SecretKeyRef, Share
from safety_records.schema import shaped

OtlpUrl = Annotated[
    str,
    shaped(
        r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$",
        "give the base URL of a collector that takes OTLP over HTTP, such as http://collector.tracing.svc:4318",
        max_length=1024,
    ),
]


class GuardedTelemetry(ApiModel):
    """Traces of the guarded endpoint. Metrics need no setting."""

    otlp_endpoint: OtlpUrl = Field(
        description="Collector that takes OTLP over HTTP; spans go to /v1/traces below it. They hold times, "
        "statuses, names of rails and counts of tokens, never a word of a conversation."
    )
    headers_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Headers for the collector, such as its key: name=value, several separated by commas.",
    )
    sample_ratio: Share = Field(
        default="1",
        description="Share of the traces that are sent. A client's trace goes on to the model in any case.",
    )
