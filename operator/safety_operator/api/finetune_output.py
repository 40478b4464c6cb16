"""Where SafetyFinetune's model goes besides the artifact store."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel, SecretKeyRef
from safety_operator.api.conditions import ArtifactStatus
from safety_records.push import PUSH_URI
from safety_records.schema import config, shaped

PushUri = Annotated[
    str,
    shaped(
        PUSH_URI,
        "say where the model goes: hf://org/name or hf://org/name@branch, s3://bucket/prefix, "
        "gs://bucket/prefix, or oci://registry/repository:tag",
        max_length=1024,
    ),
]


class Push(ApiModel):
    """A copy of the trained model outside the cluster's claims."""

    model_config = config(
        (
            "!self.uri.startsWith('hf://') || has(self.tokenSecretRef)",
            "a hub takes models with a token only: set tokenSecretRef to one that may write",
        ),
    )
    uri: PushUri = Field(
        description="hf://org/name[@branch] (main where absent; a repository that does not exist is made, "
        "private), s3://bucket/prefix, gs://bucket/prefix, or oci://registry/repository:tag."
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Token of a hub that may write; for s3:// an AWS credentials file; for gs:// the JSON "
        "of a service account; for oci:// Docker's configuration, as the key .dockerconfigjson of a Secret "
        "for pulling images has it. Where absent, a bucket is written with the pod's environment "
        "(spec.pod.env), a registry without credentials.",
    )
    replace: bool = Field(
        default=False,
        description="Whether another model at the target gives way. Where false, it is left as it is, and "
        "the push fails.",
    )


class Output(ApiModel):
    """What is done with the trained model besides keeping it in the artifact store."""

    push: Push | None = Field(
        default=None, description="Where the model and its card are copied to; nowhere where absent."
    )


class PushedStatus(ApiModel):
    """Where the model was pushed to."""

    uri: Annotated[str, Field(max_length=1100)] = Field(
        default="",
        description="What names this very content: with the commit of a hub, or the digest of an image. A "
        "bucket knows the prefix alone.",
    )
    revision: Annotated[str, Field(max_length=71)] = Field(
        default="", description="Commit, or digest of the image; absent for a bucket."
    )
    at: Annotated[str, Field(max_length=32)] = Field(default="", description="When.")


class FinetuneOutputStatus(ArtifactStatus):
    """Where the trained model is."""

    pushed: PushedStatus | None = Field(
        default=None, description="Where it was pushed to; absent until all of it is there."
    )
