"""Settings that NeMo-RL cannot keep to, by the fields of the resource. Pure."""

from safety_records.nemo_rl.errors import ConfigurationError
from safety_records.stages import PrepareStage


def check_settings(spec: PrepareStage) -> None:
    """Refuse what settings alone show to be wrong.

    Raises
    ------
    ConfigurationError
        Naming the field and the remedy.
    """
    if spec.device == "cpu":
        raise ConfigurationError(
            "NoGpu", "compute.device: NeMo-RL trains on GPUs only; use backend trl on CPU"
        )
    if spec.early_stop_after is not None:
        raise ConfigurationError(
            "NoEarlyStop",
            "validation.earlyStopAfter: NeMo-RL cannot stop early; use trl, or remove it",
        )
    if spec.best != "none" and spec.checkpoint_steps % spec.validation_steps:
        raise ConfigurationError(
            "InvalidSchedule",
            f"checkpoint.everySteps {spec.checkpoint_steps} is no multiple of validation.everySteps "
            f"{spec.validation_steps}: a checkpoint without a validation loss is never the best",
        )
