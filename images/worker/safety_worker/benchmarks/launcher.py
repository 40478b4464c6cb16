"""lm-eval's command line for reasoning models: an answer that never leaves its reasoning is none.

lm-eval itself takes what follows the last end of reasoning, and an answer without one as it is: filters then
find an answer among thoughts that were cut off. A program, started by :mod:`safety_worker.stages.benchmark`
with lm-eval's arguments.
"""

import runpy
from importlib import import_module
from typing import Any


def require_reasoning_end() -> None:
    """Let lm-eval's client of chat servers take an answer without the end of reasoning for an empty one."""
    client: Any = import_module("lm_eval.models.openai_completions")
    strip = client.postprocess_generated_text

    def strip_or_nothing(generation: str, stop: Any, think_end_token: str | None) -> str:
        if think_end_token and think_end_token not in generation:
            return ""
        return str(strip(generation, stop, think_end_token))

    client.postprocess_generated_text = strip_or_nothing


if __name__ == "__main__":
    require_reasoning_end()
    runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
