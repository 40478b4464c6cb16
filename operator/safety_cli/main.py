"""The command ``kubectl-safety``, which kubectl runs as ``kubectl safety``."""

import argparse
import importlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from safety_cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, CliError
from safety_cli.terminal import clean, make_console

MIN_SECONDS = 0.5
"""Shortest pause of ``watch``: an API server has other things to do."""
MAX_SECONDS = 3600.0
"""Longest one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; its exit code: 0 well, 1 not well, 2 wrong usage, 130 interrupted."""
    options = vars(build_parser().parse_args(argv))
    try:
        code = run(**options)
        sys.stdout.flush()
    except CliError as error:
        make_console(error=True).print(Text.assemble(("error", "bold red"), f": {clean(error)}"))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def run(command: str, namespace: str, context: str = "", kubeconfig: str = "", **options: Any) -> int:
    """Call ``show`` of the command's module, of which every option is a parameter; its exit code."""
    from safety_cli.kubectl import Kubectl  # noqa: PLC0415 - help needs none of it, and comes at once

    module = importlib.import_module(f"safety_cli.{command}")
    code: int = module.show(make_console(), Kubectl(kubeconfig, context, namespace), **options)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="kubectl safety",
        description="What evaluations, blends, fine-tuning and guarded deployments are doing, and what they "
        "found.",
        epilog="Each command has its own help: kubectl safety COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    _add_status(commands)
    _add_watch(commands)
    _add_report(commands)
    _add_hits(commands)
    _add_compare(commands)
    _add_verify(commands)
    _add_audit(commands)
    _add_rollout(commands)
    _add_render(commands)
    return parser


Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _version() -> str:
    try:
        return importlib.metadata.version("model-safety-operator")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (run from a source tree)"


def _command(
    commands: "Commands[argparse.ArgumentParser]",
    name: str,
    summary: str,
    *,
    cluster: bool = True,
    more: str = "",
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}".strip()
    )
    parser.add_argument("-n", "--namespace", default="", help="namespace; default: that of the context")
    if cluster:
        parser.add_argument("--context", default="", help="context of the kubeconfig")
        parser.add_argument("--kubeconfig", default="", help="kubeconfig file; default: as kubectl")
    return parser


def _add_everywhere(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-A", "--all-namespaces", dest="everywhere", action="store_true", help="of all namespaces"
    )


def _add_status(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "status", "show all resources, or one in full")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="NAME or KIND/NAME")
    _add_everywhere(parser)


def _add_watch(commands: "Commands[argparse.ArgumentParser]") -> None:
    more = "Ends with Ctrl-C. In a pipe it prints a line for each change."
    parser = _command(commands, "watch", "follow resources with live progress bars", more=more)
    parser.add_argument("names", nargs="*", metavar="NAME", help="NAME or KIND/NAME; default: all")
    parser.add_argument(
        "--interval",
        dest="seconds",
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="pause between two looks (default 2)",
    )
    parser.add_argument(
        "--until-done", action="store_true", help="end when nothing is left to do: 0 if all is well, else 1"
    )
    _add_everywhere(parser)


def _add_report(commands: "Commands[argparse.ArgumentParser]") -> None:
    more = "Of a SafetyEval, SafetyBlend or SafetyFinetune. Prints the path of the page."
    parser = _command(commands, "report", "fetch a report and open it", more=more)
    parser.add_argument("name", metavar="NAME", help="NAME or KIND/NAME")
    parser.add_argument(
        "-o", "--output", dest="into", type=Path, metavar="FOLDER", help="also copy all its files here"
    )
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="do not open it")


def _add_hits(commands: "Commands[argparse.ArgumentParser]") -> None:
    more = "Prompts and answers are hidden until asked for."
    parser = _command(commands, "hits", "list the answers of a SafetyEval that failed", more=more)
    parser.add_argument("name", metavar="NAME", help="a SafetyEval")
    parser.add_argument(
        "-m",
        "--metric",
        dest="metrics",
        metavar="METRIC",
        action="append",
        default=[],
        help="only of this one; its last part will do; repeatable",
    )
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="of each metric (default 20)")
    parser.add_argument(
        "--show", dest="reveal", action="store_true", help="show prompts and answers, which are unsafe"
    )


def _add_compare(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "compare", "compare the scores of two SafetyEvals")
    parser.add_argument("first", metavar="A", help="a SafetyEval, such as that of the model before training")
    parser.add_argument("second", metavar="B", help="another one")


def _add_verify(commands: "Commands[argparse.ArgumentParser]") -> None:
    more = "Without NAME no cluster is asked: give --folder, and the model in --model-digest."
    parser = _command(commands, "verify", "check a SafetyEval's signed report", more=more)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a SafetyEval")
    parser.add_argument("--public-key", type=Path, required=True, help="key that has to have signed it (PEM)")
    parser.add_argument(
        "--folder", type=Path, help="copy of the report's folder; default: fetched from the report server"
    )
    parser.add_argument(
        "--model-digest", type=_digest, help="without NAME: model that it has to be about, as sha256:..."
    )
    parser.add_argument("--passed", action="store_true", help="also fail unless the verdict is: passed")


def _add_audit(commands: "Commands[argparse.ArgumentParser]") -> None:
    more = "Exit code 1 where a line is missing or changed. Without NAME no cluster is asked: give --file."
    parser = _command(commands, "audit", "check the audit trail of a guarded endpoint", more=more)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a GuardedDeployment")
    parser.add_argument(
        "--file",
        dest="files",
        type=Path,
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="logs of its guardrails pods as they were collected, files of audit.claim, or folders of them",
    )
    parser.add_argument(
        "--retention-days",
        type=int,
        metavar="DAYS",
        help="audit.retentionDays of the files: what is missing at the beginning of a chain has to be older",
    )


def _add_rollout(commands: "Commands[argparse.ArgumentParser]") -> None:
    more = (
        "status: exit code 0 where what the spec asks for is in service and proven, else 1. undo: serve the "
        "model of an earlier revision (spec.rollout.modelDigest); resume: serve spec.model again. "
        "retry: try a version that failed again (rollout.strategy BlueGreen)."
    )
    summary = "show the revisions of a GuardedDeployment, and go back to one"
    parser = _command(commands, "rollout", summary, more=more)
    parser.add_argument("action", choices=("status", "history", "undo", "resume", "retry"))
    parser.add_argument("name", metavar="NAME", help="a GuardedDeployment")
    parser.add_argument(
        "--to-revision",
        dest="number",
        type=_count,
        metavar="N",
        help="undo: revision to go back to; default: the last proven one of another model",
    )


def _add_render(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "render",
        "show every object that manifests would make the operator create, without a cluster",
        cluster=False,
        more="A dry run in which all goes well: digests, rows and scores are placeholders.",
    )
    source = parser.add_argument_group("what to render (at least one)")
    source.add_argument(
        "-f",
        "--filename",
        dest="files",
        metavar="FILE",
        action="append",
        default=[],
        help="file, folder, or - (repeatable)",
    )
    source.add_argument(
        "-k",
        "--kustomize",
        dest="kustomizations",
        metavar="FOLDER",
        action="append",
        default=[],
        help="kustomization (repeatable)",
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="form",
        choices=("yaml", "json", "table"),
        default="yaml",
        help="form (default yaml)",
    )
    parser.add_argument(
        "--setting",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the operator, such as device=cpu or worker_image=... (repeatable)",
    )


def _digest(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("write sha256: and 64 hexadecimal digits")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not MIN_SECONDS <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"write seconds from {MIN_SECONDS} to {MAX_SECONDS:.0f}")
    return value


if __name__ == "__main__":
    sys.exit(main())
