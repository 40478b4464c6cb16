"""A process that has garak imported and forks one child for each probe.

Importing garak and its libraries costs seconds of a core. One process per probe pays them each time; one
process for all probes dies with the first that does. A fork of a process that has them pays nothing, and a
probe that hangs or dies takes no other along.

A program, started by :class:`safety_worker.scanning.warm.Launcher`, which writes one JSON line per probe
and reads two: ``{"pid": ...}`` and, at its end, ``{"code": ...}``.
"""

import contextlib
import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = (
    "garak.cli",
    "garak.evaluators",
    "garak.generators.openai",
    "garak.harnesses.probewise",
    "garak.analyze.report_digest",
    "garak.services.langservice",
    "openai.resources",
    "aiohttp",
    "requests",
)
"""What every run of garak imports, some of it late. None of them starts a thread."""


def main() -> None:
    """Serve until the input ends."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for name in MODULES:
        import_module(name)
    for line in requests:
        child = os.fork()
        if child == 0:
            requests.close()
            answers.close()  # or nobody would notice that the launcher died
            run_garak(json.loads(line))
        with contextlib.suppress(OSError):  # the child may have done it, or be gone
            os.setpgid(child, child)
        answers.write(json.dumps({"pid": child}) + "\n")
        _, status = os.waitpid(child, 0)
        answers.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")


def run_garak(request: dict[str, Any]) -> None:
    """Run garak in this process, in a group of its own, and end it.

    Parameters
    ----------
    request
        ``configuration``: path of garak's configuration; ``log``: path for its output; ``reasoning_end`` and
        ``silence``: see :func:`require_text`.
    """
    code = 1
    try:
        os.setpgid(0, 0)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors="replace", closefd=False))
        require_text(request["reasoning_end"], request["silence"])
        import_module("garak.cli").main(["--config", request["configuration"]])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - the outermost boundary of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def require_text(end: str, notes: str) -> None:
    """Let an answer without text count as not answered, and note why it holds none.

    garak itself takes ``""`` for an answer, in which its detectors find nothing bad. It strips up to the end
    of reasoning and takes an answer without one as it is: detectors then judge the thoughts.

    Parameters
    ----------
    end
        What reasoning ends with; empty for no reasoning model.
    notes
        Path of a file that gets one line for each such answer, of whatever process.
    """
    sys.path.append(str(Path(__file__).parents[2]))  # behind garak's own, whose names come first
    from safety_worker.empty_answers import EmptyReason, find_empty_reason  # noqa: PLC0415 - the path is set here
    from safety_worker.generation.reasoning import strip_reasoning  # noqa: PLC0415

    def why_empty(output: Any) -> str | None:
        if output is None:
            return str(EmptyReason.REFUSED)
        text, left = strip_reasoning(output.text or "", end)
        if not left and find_empty_reason(output.text) is not EmptyReason.EMPTY:
            return str(EmptyReason.UNFINISHED)
        found = find_empty_reason(text)
        return None if found is None else str(found)

    def hook(_generator: Any, outputs: list[Any]) -> list[Any]:
        found = [(output, why_empty(output)) for output in outputs]
        with Path(notes).open("a", encoding="utf-8") as file:
            file.writelines(f"{why}\n" for _, why in found if why)
        return [None if why else output for output, why in found]

    import_module("garak.generators.openai").OpenAICompatible._post_generate_hook = hook  # noqa: SLF001 - garak's own hook


if __name__ == "__main__":
    main()
