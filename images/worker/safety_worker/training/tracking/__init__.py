"""Sends a training's numbers to MLflow, Weights & Biases and TensorBoard's files, and never disturbs it.

The training writes ``metrics.jsonl`` as it always does. Each tracker is a process of its own
(``process.py``) that follows this file (``steps.py``): the file is the queue, so nothing piles up in memory,
and a tracker that is down, slow or broken costs the training nothing. The trainer starts these processes,
hears from them and ends them in bounded time (``following.py``).

A run has one id through all interruptions. What a tracker has already is asked of the tracker itself, so that
each step is there once whenever either side was killed.

NeMo-RL's image runs this too: the standard library and pydantic only, and ``wandb`` where W&B is asked for.
"""
