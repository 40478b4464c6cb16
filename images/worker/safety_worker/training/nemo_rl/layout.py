"""Names of files that the stages of a training with NeMo-RL leave for each other."""

CONFIG_NAME = "config.yaml"
PLAN_NAME = "plan.json"
TRAIN_NAME = "train.jsonl"
VALIDATION_NAME = "validation.jsonl"

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in the working folder, ``<out>.work``."""
INFO_NAME = "training_info.json"
"""NeMo-RL's record of a checkpoint: steps, samples, validation loss."""
WEIGHTS = "policy/weights/model"
"""Folder of a checkpoint with the model's weights."""
DONE_NAME = "trained.json"
"""What the train stage leaves in its output folder: steps and the checkpoint to export."""

VALIDATION_LOSS = "val:val_loss"
"""NeMo-RL's name of the loss on the validation rows, as the metric of checkpoints and in their record."""
