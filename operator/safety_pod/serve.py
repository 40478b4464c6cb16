"""Start an inference engine in this very process, if device and model are what they were promised to be.

``python3 /model-safety/safety_pod/serve.py MODULE ARGUMENT...`` is ``python3 -m MODULE ARGUMENT...``, with
the modules of this folder importable, as the engine's middleware has to be.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

DEVICE = "SAFETY_SERVER_DEVICE"
"""Variable: cpu or gpu."""
EXIT_INPUT = 42
"""As a worker's: a person has to act."""
EXIT_TERMINATED = 143
"""As of a process that SIGTERM ended."""
TERMINATION_LOG = Path("/dev/termination-log")
"""Where Kubernetes reads a container's last words."""


def main() -> None:
    """Entry point; ends the process with :data:`EXIT_INPUT` where the promise does not hold."""
    # The first process of a pod gets no signal that it has no handler for: a pod that is deleted while it
    # loads would keep its GPUs for all of its grace period. The engine sets its own.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_TERMINATED))
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this script's folder: its modules would hide others of the same names
    # Not resolved: a ConfigMap's files are links into a folder of another name.
    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
    del sys.argv[0]
    module = sys.argv[0]
    if os.environ.get(DEVICE) == "gpu":
        _check_device(module.partition(".")[0])
    else:
        _choose_dtype()
    _check_model()
    _take_cache()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _take_cache() -> None:
    from safety_pod.start_cache import begin  # noqa: PLC0415 - importable since main has set the path

    begin()


def _choose_dtype() -> None:
    from safety_pod.processor import choose_dtype  # noqa: PLC0415 - importable since main has set the path

    choose_dtype(sys.argv)


def _check_device(engine: str) -> None:
    from safety_pod.cuda import find_trouble  # noqa: PLC0415 - importable since main has set the path

    trouble = find_trouble(engine)
    if trouble is not None:
        _end(f"{trouble.reason}: {trouble.message}")


def _check_model() -> None:
    from safety_pod.in_place import find_change  # noqa: PLC0415 - importable since main has set the path
    from safety_pod.model_digest import find_mismatch  # noqa: PLC0415 - as above

    change = find_change() or find_mismatch()
    if change:
        _end(
            f"ModelChanged: {change}, so this is not the model that its digest stands for. Put the file "
            "back, or give the new version a folder of its own and name that in source.uri."
        )


def _end(words: str) -> None:
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(words, encoding="utf-8")
    sys.stderr.write(f"{words}\n")
    sys.exit(EXIT_INPUT)


if __name__ == "__main__":
    main()
