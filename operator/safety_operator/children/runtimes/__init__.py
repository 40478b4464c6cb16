"""Inference engines by the names that ``spec.serving.runtime`` takes.

A further one is a module here and a row below, its name in ``api.common.Serving``, and the flags that users
may not set in ``api.serving_args``.
"""

from safety_operator.children.runtimes.nim import NIM
from safety_operator.children.runtimes.runtime import Runtime
from safety_operator.children.runtimes.vllm import VLLM

RUNTIMES: dict[str, Runtime] = {"vllm": VLLM, "nim": NIM}
