"""What only NVIDIA's NIM is told, and which fields of serving it does not take."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.base import ApiModel, ObjectName, SecretKeyRef
from safety_records.schema import shaped

_IS_NIM = "has(self.runtime) && self.runtime == 'nim'"
NIM_RULES = (
    (f"!has(self.nim) || {_IS_NIM}", "nim belongs to runtime nim: set runtime: nim, or remove it"),
    (
        f"!({_IS_NIM}) || has(self.image)",
        "runtime nim needs image: a multi-LLM NIM (1.x) or a model-free NIM (2.x), with its tag",
    ),
    (
        f"!({_IS_NIM}) || !has(self.startCache)",
        "runtime nim keeps what it makes in nim.cacheClaimName: leave startCache out",
    ),
    (
        f"!({_IS_NIM}) || !has(self.dtype) || self.dtype == 'auto'",
        "runtime nim chooses the type of weights by its profile: leave dtype out",
    ),
)
"""CEL rules of an object with ``runtime`` and ``nim``."""


class Nim(ApiModel):
    """What only a NIM is told."""

    profile: (
        Annotated[
            str,
            shaped(
                r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
                "write a profile's id or name, as list-model-profiles of the image shows it",
                max_length=128,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Profile, which says engine, precision and parallelism; the NIM's own choice where "
        "absent.",
    )
    ngc_api_key_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Key for NGC. The model is read from the artifact store, so none is needed as a rule; "
        "with one the server's pods may reach port 443 anywhere.",
    )
    cache_claim_name: ObjectName | None = Field(
        default=None,
        description="PersistentVolumeClaim of this namespace that keeps what a NIM makes at its first start, "
        "such as engines; a folder of the pod where absent.",
    )
