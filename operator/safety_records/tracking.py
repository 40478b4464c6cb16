"""Where a training's numbers are sent while it runs, as a resource says it and as the trainer is told."""

from typing import Annotated, Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.schema import shaped, shaped_if_given

Tracker = Literal["mlflow", "wandb", "tensorboard"]

SERVER_URL = r"^https?://[^/\s@?#]+(/[^\s@?#]*)?$"
"""Address of a server, without a user, a query or a fragment."""

IN_CLUSTER = r"^https?://([a-z0-9-]+|[a-z0-9-]+[.][a-z0-9-]+[.]svc([.]cluster[.]local)?)(:[0-9]+)?(/.*)?$"
"""Address of a Service: ``name`` in the same namespace, ``name.namespace.svc`` in any."""


class MlflowSettings(Record):
    """An MLflow tracking server and an experiment there."""

    uri: Annotated[
        str,
        shaped(
            SERVER_URL,
            "give the address of an MLflow tracking server, such as https://mlflow.example.com; credentials "
            "belong in a Secret",
            max_length=256,
        ),
    ]
    """Address of the tracking server, as MLFLOW_TRACKING_URI has it: https:// or http://."""
    experiment: str = Field(default="", max_length=256)
    """Name of the experiment, which is made where it is missing; the namespace's name where absent."""
    username: str = Field(default="", max_length=128)
    """User whose password passwordSecretRef has, as MLFLOW_TRACKING_USERNAME."""


class WandbSettings(Record):
    """A project of Weights & Biases."""

    project: Annotated[
        str,
        shaped_if_given(
            r"^[A-Za-z0-9._ -]+$",
            "write the project's name without the entity: letters, digits, '-', '_', '.' and spaces",
            max_length=128,
        ),
    ] = ""
    """Name of the project, which is made where it is missing; the namespace's name where absent."""
    entity: Annotated[
        str,
        shaped_if_given(r"^[A-Za-z0-9._-]+$", "write the name of a team or user", max_length=128),
    ] = ""
    """Team or user that has the project; the default of the API key's user where absent."""
    base_url: Annotated[
        str,
        shaped_if_given(
            SERVER_URL, "give the address of a W&B server, such as https://wandb.example.com", max_length=256
        ),
    ] = ""
    """Address of a W&B server of your own; https://api.wandb.ai where absent."""


class MlflowTarget(MlflowSettings):
    """An MLflow tracking server, with the variables that hold its credentials."""

    token_env: str = ""
    """Variable with a bearer token; empty: none."""
    password_env: str = ""
    """Variable with the password of ``username``; empty: none."""


class WandbTarget(WandbSettings):
    """A project of Weights & Biases, with the variable that holds the API key."""

    api_key_env: str


class TrackingTargets(Record):
    """Where a training's numbers go."""

    mlflow: MlflowTarget | None = None
    wandb: WandbTarget | None = None
    tensorboard: bool = False

    @property
    def names(self) -> tuple[Tracker, ...]:
        """The trackers that are asked for."""
        wanted: dict[Tracker, bool] = {
            "mlflow": self.mlflow is not None,
            "wandb": self.wandb is not None,
            "tensorboard": self.tensorboard,
        }
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)


class TrackedRun(Record):
    """A training as a tracker has it."""

    tracker: Tracker
    """The tracker: mlflow, wandb or tensorboard."""
    run: str = Field(default="", max_length=128, exclude_if=lambda value: not value)
    """Its id there; absent until the tracker has answered."""
    url: str = Field(default="", max_length=512, exclude_if=lambda value: not value)
    """Its page; for tensorboard the folder of the event files, as pvc://claim/path."""
    problem: str = Field(default="", max_length=200, exclude_if=lambda value: not value)
    """Why it lacks numbers, and what helps; absent where it has all. Training does not depend on it."""
