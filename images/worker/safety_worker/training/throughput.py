"""What share of a GPU's arithmetic a training uses (MFU), where the GPU's peak is known. Pure."""

from typing import NamedTuple

TERA = 1e12

PEAKS: dict[str, float] = {
    "H100 PCIe": 756 * TERA,
    "H100 NVL": 835 * TERA,
    "H100": 989 * TERA,
    "H800": 989 * TERA,
    "H200": 989 * TERA,
    "H20": 148 * TERA,
    "GH200": 989 * TERA,
    "GB200": 2500 * TERA,
    "B200": 2250 * TERA,
    "A100": 312 * TERA,
    "A800": 312 * TERA,
    "A40": 150 * TERA,
    "A30": 165 * TERA,
    "A10G": 70 * TERA,
    "A10": 125 * TERA,
    "L40S": 362 * TERA,
    "L40": 181 * TERA,
    "L4": 121 * TERA,
}
"""Operations a second in bf16 without sparsity, by a part of the GPU's name; NVIDIA's data sheets."""


EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Settings of transformers' configurations with the number of experts."""


class ModelSize(NamedTuple):
    """What decides how much arithmetic a token costs."""

    parameters: int
    """Without the table of input embeddings, unless it is the output's, too."""
    trained: int
    layers: int
    hidden: int


def find_peak(gpu: str) -> float | None:
    """Peak of a GPU by its name; None where it is not known. The longest part that fits counts.

    A part of a GPU (MIG) has its name, and not its peak.
    """
    words = gpu.replace("-", " ").split()
    if "MIG" in words:
        return None
    found = [name for name in PEAKS if all(part in words for part in name.split())]
    return PEAKS[max(found, key=len)] if found else None


def is_sparse(config: object) -> bool:
    """Whether a model's configuration says that a token uses a part of the weights only."""
    return any((getattr(config, name, None) or 1) > 1 for name in EXPERTS)


def flops_per_token(size: ModelSize, length: float) -> float:
    """Operations for a token, forward and backward, recomputation not counted.

    Two for each weight and pass: forward, gradient of the input, and of the weight where it is trained;
    attention over a causal sequence of ``length`` tokens adds to it (arXiv 2204.02311, appendix B, halved).
    """
    weights = 4 * size.parameters + 2 * min(size.trained, size.parameters)
    return weights + 6 * size.layers * size.hidden * length


def find_mfu(tokens_per_second: float, per_token: float, peak: float | None, gpus: int) -> float | None:
    """Share of the peak of all GPUs, from 0 to 1; None where the peak is not known."""
    return None if peak is None else tokens_per_second * per_token / (peak * gpus)
