"""spec.tracking of a SafetyFinetune: where its numbers are sent while it trains."""

from safety_operator.api.common import SecretKeyRef
from safety_records.base import Record
from safety_records.schema import config
from safety_records.tracking import IN_CLUSTER, MlflowSettings, WandbSettings

CLEAR = "http:// would carry credentials in the clear: use https://, or an address of this cluster's Services"


def _inside(url: str) -> str:
    """CEL: whether it is the address of a Service."""
    return f"{url}.matches('{IN_CLUSTER}')"


class Mlflow(MlflowSettings):
    """An MLflow tracking server."""

    model_config = config(
        (
            "!has(self.tokenSecretRef) || !has(self.passwordSecretRef)",
            "give tokenSecretRef, or username and passwordSecretRef, not both",
        ),
        (
            "has(self.username) == has(self.passwordSecretRef)",
            "username and passwordSecretRef belong together: give both, or neither",
        ),
        (
            (
                "!(has(self.tokenSecretRef) || has(self.passwordSecretRef)) || "
                "!self.uri.startsWith('http://') || " + _inside("self.uri")
            ),
            CLEAR,
        ),
    )
    token_secret_ref: SecretKeyRef | None = None
    """Bearer token, as MLFLOW_TRACKING_TOKEN."""
    password_secret_ref: SecretKeyRef | None = None
    """Password of username, as MLFLOW_TRACKING_PASSWORD."""


class Wandb(WandbSettings):
    """Weights & Biases."""

    model_config = config(
        (
            "!has(self.baseUrl) || !self.baseUrl.startsWith('http://') || " + _inside("self.baseUrl"),
            CLEAR,
        )
    )
    api_key_secret_ref: SecretKeyRef
    """API key, as WANDB_API_KEY."""


class TensorBoard(Record):
    """TensorBoard's event files on the artifacts claim."""


class Tracking(Record):
    """Where the numbers of a training are sent while it runs. No tracker can stop or slow the training."""

    model_config = config(
        (
            "has(self.mlflow) || has(self.wandb) || has(self.tensorboard)",
            "name a tracker: mlflow, wandb or tensorboard",
        )
    )
    mlflow: Mlflow | None = None
    """MLflow's tracking server."""
    wandb: Wandb | None = None
    """Weights & Biases, in the cloud or a server of your own."""
    tensorboard: TensorBoard | None = None
    """Event files for TensorBoard, next to the model on the artifacts claim; {} asks for them."""
