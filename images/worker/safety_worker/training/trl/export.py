"""The last checkpoint as a Hugging Face model folder: merged weights beside the base's other files."""

import shutil
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from safety_records.stages import TrainStage
from safety_worker.models.model_folder import model_files
from safety_worker.training.checkpoints import Checkpoint


def export_model(spec: TrainStage, checkpoint: Checkpoint, root: Path, scratch: Path) -> None:
    """Write the trained model to the stage's output folder, in the base's data type.

    Configuration, generation configuration, tokenizer and chat template are the base's own files, so that
    nothing but the weights differs. A file appears in the output folder by rename; a kill in the middle is
    repaired by doing it again.

    Parameters
    ----------
    spec
        The stage.
    checkpoint
        Complete checkpoint of the last step.
    root
        Artifact root.
    scratch
        Folder for unfinished files, on the same file system as the output; removed in the end.
    """
    base = root / spec.model
    if spec.method.type == "lora":
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(model, checkpoint.path).merge_and_unload()
    else:
        model = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32)
    shutil.rmtree(scratch, ignore_errors=True)
    dtype = AutoConfig.from_pretrained(base).dtype or torch.float32
    model.to(dtype).save_pretrained(scratch)
    for name in model_files(base):
        if not is_weights(name):
            shutil.copyfile(base / name, scratch / name)
    target = root / spec.out
    target.mkdir(parents=True, exist_ok=True)
    for name in model_files(scratch):
        (scratch / name).chmod(0o644)
        (scratch / name).replace(target / name)
    shutil.rmtree(scratch)


def is_weights(name: str) -> bool:
    """Whether a file of a model folder holds weights, or the list of the files that do."""
    return name.endswith((".safetensors", ".safetensors.index.json"))
