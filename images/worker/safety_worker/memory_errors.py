"""What errors of torch and Python say of a full memory. Knows no torch, which most stages do not import."""

POD_SIGNS = ("can't allocate memory", "Cannot allocate memory", "bad_alloc")
"""What messages of torch have where the memory of the pod, not of a GPU, is not enough."""


def is_gpu_full(error: BaseException) -> bool:
    """Whether an error says that a GPU has no memory left."""
    return type(error).__name__ == "OutOfMemoryError"


def is_pod_full(error: BaseException) -> bool:
    """Whether an error says that the pod has no memory left."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in POD_SIGNS)
