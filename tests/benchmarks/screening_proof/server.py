"""Serves a model on the loopback device, with the arguments that the operator gives its servers on CPU."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .stages import say

PORT = 18431
START_SECONDS = 420
ARGUMENTS = ("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-seqs", "64", "--dtype", "bfloat16")
# One thread in one process: least in the way of what else this machine does (docs/experiments.md).
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_CACHE_ROOT": "/opt/vllm-cache",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def serving(root: Path, model: str) -> Iterator[dict[str, Any]]:
    """Serve a model of the artifact root; gives the fields of a ServedModel."""
    log = root / "logs" / f"server-{model.replace('/', '-')}.log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *ARGUMENTS]
    command += ["--model", str(root / model), "--served-model-name", "model", "--max-model-len", "2048"]
    command += ["--host", "127.0.0.1", "--port", str(PORT)]
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=stream, stderr=stream)
    try:
        while not _healthy():
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise SystemExit(f"no server for {model}:\n{log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.5)
        say(f"{model} is served after {time.monotonic() - started:.0f} s")
        yield {"baseUrl": f"http://127.0.0.1:{PORT}/v1", "model": "model", "path": model, "maxLength": 2048}
    finally:
        process.terminate()
        process.wait(60)


def _healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
