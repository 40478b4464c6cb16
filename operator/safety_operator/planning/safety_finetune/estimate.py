"""What a training takes: memory of GPU and pod, and room on the artifact store, from the model's sizes.

Two numbers of a GPU's memory: what is there at any rate (weights, gradients, optimizer), and what is
expected with rows as long as ``batch.maxSequenceLength``. Bytes of state of a trained weight: 4 of itself in
float32, 4 of its gradient, 8 of AdamW's two means. Activations follow Korthikanti et al., arXiv 2205.05198,
for blocks with gated feed-forward parts, grouped keys and attention that keeps no square matrix.
"""

from dataclasses import dataclass

from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_records.model_shape import ModelShape
from safety_records.training import WRITTEN_BEHIND_BYTES, Strategy

FULL = 4
"""Bytes of a number in float32."""
HALF = 2
"""In bfloat16."""
STATE = 16
"""Of a trained weight: itself, its gradient and AdamW's two means in float32."""
SAVED = 12
"""Of a trained weight in a checkpoint: itself and AdamW's two means."""
LOGIT = 14
"""Of a logit: in bfloat16, in float32 for the loss, and their gradients."""
RUNTIME = 2 * 2**30
"""CUDA's own, NCCL's buffers and the workspace of matrix products."""
LOOSE = 1.08
"""What the allocator holds for each byte in use."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a training is spread over processes."""

    processes: int
    strategy: Strategy
    gradient_checkpointing: bool

    @property
    def shards(self) -> int:
        """Parts that states are cut into."""
        return self.processes if self.strategy == "fsdp" else 1


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one GPU."""

    least: int
    """Taken by states alone: less is certainly not enough."""
    expected: int
    """With rows of full length."""


def memory_of(shape: ModelShape, spec: SafetyFinetuneSpec, layout: Layout) -> Memory:
    """Memory that a process of the training takes on its GPU."""
    least = _states(shape, spec) // layout.shards + RUNTIME
    working = _adapter_states(shape, spec) + _copies(shape, spec, layout) + _activations(shape, spec, layout)
    return Memory(least, int(least + LOOSE * working))


def disk_of(shape: ModelShape, spec: SafetyFinetuneSpec, model_bytes: int) -> int:
    """Bytes of checkpoints, one more than are kept, and of the exported model."""
    return checkpoint_bytes(shape, spec) * (spec.checkpoint.keep + 1) + model_bytes


def checkpoint_bytes(shape: ModelShape, spec: SafetyFinetuneSpec) -> int:
    """Bytes of one checkpoint."""
    return SAVED * _trained(shape, spec)


def copy_bytes(shape: ModelShape, spec: SafetyFinetuneSpec, layout: Layout) -> int:
    """Memory of a pod for the copy from which a checkpoint is written while training goes on.

    0 where training waits: adapters, small models, and NeMo-RL. With ddp the first pod alone has one.
    """
    size = checkpoint_bytes(shape, spec)
    waits = spec.method.type == "lora" or spec.backend == "nemo-rl" or size < WRITTEN_BEHIND_BYTES
    return 0 if waits else size // (spec.compute.nodes if layout.shards > 1 else 1)


def _trained(shape: ModelShape, spec: SafetyFinetuneSpec) -> int:
    if spec.method.type == "full":
        return shape.parameters
    return _adapters(shape, spec)


def _adapters(shape: ModelShape, spec: SafetyFinetuneSpec) -> int:
    """Numbers of LoRA adapters, at most: of all linear layers of every block."""
    hidden, width = shape.hidden_size, shape.intermediate_size
    attention = 2 * (hidden + shape.query_size) + 2 * (hidden + shape.key_size)
    return spec.method.rank * shape.layers * (attention + 3 * (hidden + width))


def _states(shape: ModelShape, spec: SafetyFinetuneSpec) -> int:
    """Bytes of all weights with what belongs to them; of LoRA's adapters nothing yet."""
    if spec.method.type == "full":
        return STATE * shape.parameters
    return shape.parameters * (HALF if spec.precision == "bf16" else FULL)


def _adapter_states(shape: ModelShape, spec: SafetyFinetuneSpec) -> int:
    return STATE * _adapters(shape, spec) if spec.method.type == "lora" else 0


def _copies(shape: ModelShape, spec: SafetyFinetuneSpec, layout: Layout) -> int:
    """Copies of weights to compute with, and buffers in which gradients travel.

    fsdp: the two ends of the model and two blocks at a time; ddp: all that is trained.
    """
    number = HALF if spec.precision == "bf16" else FULL
    if layout.shards > 1:
        ends = 2 * shape.vocabulary * shape.hidden_size
        blocks = 2 * max(shape.parameters - ends, 0) // shape.layers
        return (number + FULL) * (ends + blocks)
    cast = HALF * shape.parameters if spec.method.type == "full" and spec.precision == "bf16" else 0
    return cast + (FULL * _trained(shape, spec) if layout.processes > 1 else 0)


def _activations(shape: ModelShape, spec: SafetyFinetuneSpec, layout: Layout) -> int:
    tokens = spec.batch.micro * spec.batch.max_sequence_length
    number = HALF if spec.precision == "bf16" else FULL
    block = _of_block(shape, number)
    kept = FULL * shape.hidden_size * shape.layers + block if layout.gradient_checkpointing else 0
    blocks = kept or block * shape.layers
    return tokens * (blocks + LOGIT * shape.vocabulary)


def _of_block(shape: ModelShape, number: int) -> int:
    """Bytes that a block keeps of a token for its backward pass.

    Two norms each keep their input, its normalised form in float32, and both as they are computed with; then
    queries, keys, values and the attention's output, and the feed-forward part's width four times. Within 1 %
    of what autograd keeps of a small Llama under autocast (docs/experiments.md).
    """
    norms = 2 * 2 * (FULL + number) * shape.hidden_size
    attention = number * (2 * shape.query_size + 2 * shape.key_size + shape.hidden_size)
    return norms + attention + 4 * number * shape.intermediate_size
