"""lm-eval's command line and environment for one entry."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safety_records.eval_stages import BenchmarkStage, BenchmarkTask
from safety_records.sampling import GenerationArguments
from safety_worker.transport.hub_cache import OFFLINE, cache_variables

REQUEST_SECONDS = 300
"""Time limit of one request."""

REQUEST_TRIES = 4
"""Tries of one request, with pauses of 1 to 10 s."""

LAUNCHER = ("-P", str(Path(__file__).with_name("launcher.py")))
"""``-P``: without the folder of this package on the path, whose names are not for the top level."""

FEW_TOKENS = 16
"""New tokens of a trial request where the task's own limit is not known."""

DEFAULT_LENGTH = 2048
"""Longest prompt in tokens where the model's is not known."""


def build_command(
    spec: BenchmarkStage, entry: BenchmarkTask, tasks: list[str], tokenizer: Path | None, folder: Path
) -> list[str]:
    """Arguments of one run; tasks of our own are in ``folder``, results go to its ``results``.

    Without a tokenizer (an endpoint), or where reasoning is to be cut off, the server's chat route is asked,
    which applies the chat template itself and gives no log-likelihoods; lm-eval then refuses tasks that
    need them.
    """
    chat = asks_chat(spec, entry)
    model = {**_model(spec), **(_chat(spec, entry) if chat else _completions(spec, tokenizer))}
    shots = 0 if entry.num_fewshot is None and entry.dataset else entry.num_fewshot
    command = [sys.executable, *(LAUNCHER if entry.reasoning_end else ("-m", "lm_eval")), "run"]
    command += ["--model", "local-chat-completions" if chat else "local-completions"]
    command += ["--model_args", json.dumps(model)]
    command += ["--tasks", ",".join(tasks), "--include_path", str(folder), "--batch_size", "1"]
    command += ["--num_fewshot", str(shots)] if shots is not None else []
    command += ["--limit", str(entry.limit)] if entry.limit and not entry.dataset else []
    command += ["--apply_chat_template"] if chat or entry.chat_template else []
    if entry.generation is not None:
        command += ["--gen_kwargs", json.dumps(generation_arguments(entry.generation))]
    command += ["--seed", str(spec.seed), "--output_path", str(folder / "results"), "--log_samples"]
    return command


def asks_chat(spec: BenchmarkStage, entry: BenchmarkTask) -> bool:
    """Whether the server's chat route is asked."""
    return not spec.target.path or bool(entry.reasoning_end)


def lm_eval_settings(spec: BenchmarkStage, entry: BenchmarkTask) -> dict[str, Any]:
    """What lm-eval is sure to send with each request; the rest is its task's own, as a rule temperature 0."""
    given = entry.generation or GenerationArguments()
    named = {
        "max_tokens": given.max_tokens or FEW_TOKENS,
        "seed": spec.seed,
        "temperature": given.temperature,
        "top_p": given.top_p,
        "stop": list(given.stop) or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _model(spec: BenchmarkStage) -> dict[str, Any]:
    return {
        "model": spec.target.model,
        "num_concurrent": spec.concurrency,
        "max_retries": REQUEST_TRIES,
        "timeout": REQUEST_SECONDS,
        "max_length": spec.target.max_length or DEFAULT_LENGTH,
        "seed": spec.seed,  # of requests; --seed is that of the choice of examples
    }


def _completions(spec: BenchmarkStage, tokenizer: Path | None) -> dict[str, Any]:
    return {
        "base_url": f"{spec.target.base_url.rstrip('/')}/completions",
        "tokenizer_backend": "huggingface",
        "tokenizer": str(tokenizer),
    }


def _chat(spec: BenchmarkStage, entry: BenchmarkTask) -> dict[str, Any]:
    end = {"think_end_token": entry.reasoning_end} if entry.reasoning_end else {}
    return {"base_url": f"{spec.target.base_url.rstrip('/')}/chat/completions", **end}


def generation_arguments(given: GenerationArguments) -> dict[str, Any]:
    """lm-eval's names of generation arguments; what is not given is the task's own."""
    named = {
        "temperature": given.temperature,
        "top_p": given.top_p,
        "max_gen_toks": given.max_tokens,
        "until": list(given.stop) or None,
        "do_sample": None if given.temperature is None else given.temperature > 0,
    }
    return {name: value for name, value in named.items() if value is not None}


def lm_eval_environment(
    base: Mapping[str, str], scratch: Path, key: str, *, hub: bool, token: str = "", cache: Path | None = None
) -> dict[str, str]:
    """Environment of the run; whatever lm-eval writes goes below ``scratch``.

    Parameters
    ----------
    base
        The pod's environment.
    scratch
        Folder for files that may be lost.
    key
        API key of the target; empty: none.
    hub
        Whether the run may ask the hub.
    token
        The hub's token; empty: none.
    cache
        Folder with a filled Hugging Face cache.
    """
    environment = {name: value for name, value in base.items() if name not in OFFLINE}
    # Offline is what the pod says; a run that needs no hub is offline in any pod.
    environment |= {name: base.get(name, "0") if hub else "1" for name in OFFLINE}
    environment |= {
        "HF_HOME": str(scratch / "hf"),
        "HF_DATASETS_CACHE": str(scratch / "datasets"),
        "HOME": str(scratch / "home"),
        "OPENAI_API_KEY": key or "none",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }
    if token:
        environment["HF_TOKEN"] = token
    if cache is not None:
        environment |= cache_variables(cache, scratch)
    return environment
