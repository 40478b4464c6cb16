"""The command ``kubectl-safety``, which kubectl runs as ``kubectl safety``."""

import argparse
import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.text import Text

from safety_cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, CliError
from safety_cli.kubectl import Kubectl
from safety_cli.terminal import clean, make_console

MIN_SECONDS = 0.5
"""Shortest pause of ``watch``: an API server has other things to do."""
MAX_SECONDS = 3600.0
"""Longest one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; its exit code: 0 well, 1 not well, 2 wrong usage, 130 interrupted."""
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
        sys.stdout.flush()
    except CliError as error:
        make_console(error=True).print(Text.assemble(("error", "bold red"), f": {clean(error)}"))
        return EXIT_FAILED
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_status(commands)
    _add_watch(commands)
    _add_report(commands)
    _add_hits(commands)
    _add_compare(commands)
    _add_verify(commands)
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
    words: str,
    run: Callable[[argparse.Namespace], int],
    *,
    cluster: bool = True,
    more: str = "",
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}. {more}".strip()
    )
    parser.set_defaults(run=run)
    parser.add_argument("-n", "--namespace", default="", help="namespace; default: that of the context")
    if cluster:
        parser.add_argument("--context", default="", help="context of the kubeconfig")
        parser.add_argument("--kubeconfig", default="", help="kubeconfig file; default: as kubectl")
    return parser


def _kubectl(arguments: argparse.Namespace) -> Kubectl:
    return Kubectl(arguments.kubeconfig, arguments.context, arguments.namespace)


def _add_everywhere(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")


def _add_status(commands: "Commands[argparse.ArgumentParser]") -> None:
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import status  # noqa: PLC0415 - only what is used is loaded

        return status.show(
            make_console(), _kubectl(arguments), arguments.name, everywhere=arguments.all_namespaces
        )

    parser = _command(commands, "status", "show all resources, or one in full", run)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="NAME or KIND/NAME")
    _add_everywhere(parser)


def _add_watch(commands: "Commands[argparse.ArgumentParser]") -> None:
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import watch  # noqa: PLC0415 - only what is used is loaded

        return watch.watch(
            make_console(),
            _kubectl(arguments),
            arguments.names,
            everywhere=arguments.all_namespaces,
            seconds=arguments.interval,
            until_done=arguments.until_done,
        )

    more = "Ends with Ctrl-C. In a pipe it prints a line for each change."
    parser = _command(commands, "watch", "follow resources with live progress bars", run, more=more)
    parser.add_argument("names", nargs="*", metavar="NAME", help="NAME or KIND/NAME; default: all")
    parser.add_argument(
        "--interval",
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
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import report  # noqa: PLC0415 - only what is used is loaded

        return report.show(
            make_console(),
            _kubectl(arguments),
            arguments.name,
            into=arguments.output,
            browser=not arguments.no_browser,
        )

    more = "Of a SafetyEval or a SafetyBlend. Prints the path of the page."
    parser = _command(commands, "report", "fetch a report and open it", run, more=more)
    parser.add_argument("name", metavar="NAME", help="NAME or KIND/NAME")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="also copy all its files here")
    parser.add_argument("--no-browser", action="store_true", help="do not open it")


def _add_hits(commands: "Commands[argparse.ArgumentParser]") -> None:
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import hits  # noqa: PLC0415 - only what is used is loaded

        return hits.show(
            make_console(),
            _kubectl(arguments),
            arguments.name,
            metrics=arguments.metric,
            limit=arguments.limit,
            reveal=arguments.show,
        )

    more = "Prompts and answers are hidden until asked for."
    parser = _command(commands, "hits", "list the answers of a SafetyEval that failed", run, more=more)
    parser.add_argument("name", metavar="NAME", help="a SafetyEval")
    parser.add_argument(
        "-m",
        "--metric",
        action="append",
        default=[],
        help="only of this one; its last part will do; repeatable",
    )
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="of each metric (default 20)")
    parser.add_argument("--show", action="store_true", help="show prompts and answers, which are unsafe")


def _add_compare(commands: "Commands[argparse.ArgumentParser]") -> None:
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import compare  # noqa: PLC0415 - only what is used is loaded

        return compare.show(make_console(), _kubectl(arguments), arguments.first, arguments.second)

    parser = _command(commands, "compare", "compare the scores of two SafetyEvals", run)
    parser.add_argument("first", metavar="A", help="a SafetyEval, such as that of the model before training")
    parser.add_argument("second", metavar="B", help="another one")


def _add_verify(commands: "Commands[argparse.ArgumentParser]") -> None:
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import verify  # noqa: PLC0415 - only what is used is loaded

        return verify.show(
            make_console(),
            _kubectl(arguments),
            arguments.name,
            public_key=arguments.public_key,
            folder=arguments.folder,
            passed=arguments.passed,
            model_digest=arguments.model_digest or "",
        )

    more = "Without NAME no cluster is asked: give --folder, and the model in --model-digest."
    parser = _command(commands, "verify", "check a SafetyEval's signed report", run, more=more)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a SafetyEval")
    parser.add_argument("--public-key", type=Path, required=True, help="key that has to have signed it (PEM)")
    parser.add_argument(
        "--folder", type=Path, help="copy of the report's folder; default: fetched from the report server"
    )
    parser.add_argument(
        "--model-digest",
        type=_digest,
        help="without NAME: model that it has to be about, as sha256:...",
    )
    parser.add_argument("--passed", action="store_true", help="also fail unless the verdict is: passed")


def _add_render(commands: "Commands[argparse.ArgumentParser]") -> None:
    def run(arguments: argparse.Namespace) -> int:
        from safety_cli import render  # noqa: PLC0415 - only what is used is loaded

        return render.show(
            make_console(),
            make_console(error=True),
            files=arguments.filename,
            kustomizations=arguments.kustomize,
            namespace=arguments.namespace,
            settings=arguments.setting,
            form=arguments.output,
        )

    parser = _command(
        commands,
        "render",
        "show every object that manifests would make the operator create, without a cluster",
        run,
        cluster=False,
        more="A dry run in which all goes well: digests, rows and scores are placeholders.",
    )
    source = parser.add_argument_group("what to render (at least one)")
    source.add_argument(
        "-f", "--filename", action="append", default=[], help="file, folder, or - (repeatable)"
    )
    source.add_argument("-k", "--kustomize", action="append", default=[], help="kustomization (repeatable)")
    parser.add_argument(
        "-o", "--output", choices=("yaml", "json", "table"), default="yaml", help="form (default yaml)"
    )
    parser.add_argument(
        "--setting",
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
