"""Settings that NeMo-RL cannot keep to, by the fields of the resource. Pure."""

from safety_records.finetune_stages import PrepareStage
from safety_records.nemo_rl.errors import ConfigurationError


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
    if spec.early_stop_after is not None and spec.validation_steps % spec.checkpoint_steps:
        raise ConfigurationError(
            "InvalidSchedule",
            f"validation.everySteps {spec.validation_steps} is no multiple of checkpoint.everySteps "
            f"{spec.checkpoint_steps}: with validation.earlyStopAfter NeMo-RL ends where it has saved",
        )
    if spec.best != "none" and spec.checkpoint_steps % spec.validation_steps:
        raise ConfigurationError(
            "InvalidSchedule",
            f"checkpoint.everySteps {spec.checkpoint_steps} is no multiple of validation.everySteps "
            f"{spec.validation_steps}: a checkpoint without a validation loss is never the best",
        )
