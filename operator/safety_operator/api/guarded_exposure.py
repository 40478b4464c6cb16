"""How a guarded endpoint is reached: its Service, from outside of the cluster, and by TLS."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import ApiModel, ObjectName
from safety_records.schema import config, shaped

HostName = Annotated[
    str,
    shaped(
        r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$",
        "write a host name such as assistant.example.com, or *.example.com",
        max_length=253,
    ),
]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)]


class ServicePort(ApiModel):
    """The Service of the guarded endpoint."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP",
        description="Type of the endpoint's Service; LoadBalancer and NodePort are reachable from outside of "
        "the cluster.",
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=8000, description="Port of the endpoint's Service."
    )
    annotations: Annotations = Field(
        default={}, description="Annotations of the Service, such as those of a cloud's load balancer."
    )
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = Field(
        default=None,
        description="IPv4, IPv6 or both, as in a Service; the cluster's default where absent. The endpoint "
        "listens at both.",
    )


class IngressExposure(ApiModel):
    """An Ingress in front of the endpoint's Service."""

    host: HostName = Field(description="Host name at which the endpoint is reached.")
    class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="IngressClass; the cluster's default where absent."
    )
    tls_secret_name: ObjectName | None = Field(
        default=None,
        description="Secret of type kubernetes.io/tls with the certificate of the host, which the ingress "
        "controller reads; no TLS where absent.",
    )
    annotations: Annotations = Field(
        default={},
        description="Annotations of the Ingress, such as time limits of its controller: answers may take "
        "ten minutes, and streams are silent while a window is checked.",
    )


class ParentRef(ApiModel):
    """A Gateway that the route belongs to."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: ObjectName | None = Field(
        default=None, description="Its namespace; this resource's where absent."
    )
    section_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Listener of the Gateway; all of them where absent."
    )


NO_TIMEOUT = "none"
"""In place of a time: the HTTPRoute has none."""
RequestTimeout = Annotated[
    str,
    shaped(
        f"^({NO_TIMEOUT}|([0-9]{{1,5}}(h|m|s|ms)){{1,4}})$",
        f"write a time such as 10m or 90s, 0s for no limit, or {NO_TIMEOUT}",
        max_length=24,
    ),
]
"""A duration of Gateway API, or none."""


class HttpRouteExposure(ApiModel):
    """An HTTPRoute of Gateway API in front of the endpoint's Service."""

    parent_refs: Annotated[list[ParentRef], Field(min_length=1, max_length=8)] = Field(
        description="Gateways that lead requests to the endpoint."
    )
    hostnames: Annotated[list[HostName], Field(max_length=16)] = Field(
        default=[], description="Host names that the route takes; those of the listener where absent."
    )
    request_timeout: RequestTimeout = Field(
        default="0s",
        description="Longest time of a whole answer at the Gateway; 0s: none but the ten minutes of the "
        "endpoint itself. none: the route names no time, for a controller that refuses one; its own counts.",
    )


class GatewayTls(ApiModel):
    """TLS at the guarded endpoint itself: its pods and its Service speak HTTPS only."""

    secret_name: ObjectName = Field(
        description="Secret of type kubernetes.io/tls (tls.crt with its chain, tls.key). A change is in "
        "force within two minutes, without a restart."
    )


class Expose(ApiModel):
    """How the guarded endpoint is exposed."""

    model_config = config(
        (
            (
                "!has(self.tls) || !has(self.ingress) || "
                "has(self.ingress.annotations) && size(self.ingress.annotations) > 0"
            ),
            (
                "with expose.tls the endpoint speaks HTTPS only, which an Ingress tells its controller by an "
                "annotation of the controller's own, such as nginx.ingress.kubernetes.io/backend-protocol: "
                "HTTPS: add it to ingress.annotations, or remove tls and set ingress.tlsSecretName"
            ),
        )
    )
    tls: GatewayTls | None = Field(
        default=None,
        description="TLS at the endpoint itself, for clients inside the cluster and for what leads to it "
        "from outside; HTTP where absent.",
    )
    service: ServicePort = Field(
        default=ServicePort(), description="The Service in front of the guarded endpoint."
    )
    ingress: IngressExposure | None = Field(
        default=None, description="An Ingress in front of that Service; none where absent."
    )
    http_route: HttpRouteExposure | None = Field(
        default=None,
        description="An HTTPRoute in front of that Service, where the cluster has Gateway API; none where "
        "absent.",
    )
