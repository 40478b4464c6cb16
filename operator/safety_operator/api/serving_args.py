"""What ``serving.args`` may not hold: flags of the engine that are set elsewhere, and names of files.

vLLM takes a flag as ``--flag value``, ``--flag=value``, with underscores, with a dotted key, and shortened to
any beginning that is unambiguous (``--served``): so anything that begins one of these flags is refused.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class OwnedFlags(NamedTuple):
    """Flags that are set by one field, or by nobody but the operator."""

    flags: tuple[str, ...]
    instead: str
    """What to do, as the end of a sentence."""


OWNED = (
    OwnedFlags(
        ("--model", "--served-model-name", "--config", "--runner", "--convert", "--task"),
        "spec.model says what is served, as a model that writes; each argument stands in args itself",
    ),
    OwnedFlags(
        ("--enable-lora", "--lora-modules", "--default-mm-loras", "--tokenizer", "--hf-config-path"),
        "their files are in no model's digest; an adapter is merged into its base as model.source (with "
        "base), and tokenizer and configuration are files of the model's folder",
    ),
    OwnedFlags(
        ("--api-key", "--middleware", "--hf-token"),
        "the operator makes a key and closes what it leaves open; a hub's token goes into "
        "source.tokenSecretRef, and command lines are no place for either",
    ),
    OwnedFlags(
        (
            *("--host", "--port", "--uds", "--root-path", "--headless", "--grpc", "--grpc-port"),
            *("--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--ssl-cert-reqs", "--ssl-ciphers"),
            "--enable-ssl-refresh",
        ),
        "a server listens where its Service, probes and clients look for it, by plain HTTP",
    ),
    OwnedFlags(("--tensor-parallel-size", "-tp"), "set serving.tensorParallelSize"),
    OwnedFlags(("--max-model-len",), "set serving.maxModelLen"),
    OwnedFlags(("--dtype",), "set serving.dtype"),
    OwnedFlags(("--chat-template",), "set model.chatTemplate, which becomes part of the model's digest"),
    OwnedFlags(("--reasoning-parser",), "set serving.reasoningParser"),
    OwnedFlags(("--tool-call-parser", "--enable-auto-tool-choice"), "set serving.toolCallParser"),
    OwnedFlags(
        ("--nnodes", "-n", "--node-rank", "-r", "--master-addr", "--master-port"),
        "a server is one pod on one node; a model that needs several nodes is served elsewhere, such as by "
        "LeaderWorkerSet or Ray, and evaluated as model.endpoint",
    ),
    OwnedFlags(("--device",), "set serving.device"),
)

MULTIPLIERS = (
    ("--pipeline-parallel-size", "-pp"),
    ("--data-parallel-size", "-dp"),
    ("--prefill-context-parallel-size", "-pcp"),
)
"""Flags that multiply the GPUs of a pod besides tensorParallelSize."""
SHORTENED = ("--pi", "--prefill-c")
"""Beginnings of theirs that no other flag of vLLM has: the engine takes these and what goes on from them."""

_NAME = "^--?[A-Za-z0-9_][A-Za-z0-9_-]*"
"""The name of a flag at the beginning of an argument; a value or a dotted key may stand behind it."""

_FILE = r"(^|[^<])/|\\u|artifacts"
"""What names a file: a slash, but for that of a closing tag (``</think>``), one that JSON hides, or the
claim's folder, which a server whose working directory is / needs no slash for."""
_URL = r"^(--?[A-Za-z_-]+=)?https?://[^\\]*$"
"""An address, such as that of --otlp-traces-endpoint; the engine opens no file by it."""

NAMES = f"self.args.map(a, a.find('{_NAME}').replace('_', '-'))"
"""CEL: the flags that an object's ``args`` are, with dashes; empty texts for values."""


def _flag_name(argument: str) -> str:
    """The flag that an argument is, with dashes; empty if it is a value."""
    found = re.match(_NAME, argument)
    return found[0].replace("_", "-") if found else ""


def args_rules() -> tuple[tuple[str, str], ...]:
    """CEL rules of an object with ``args``, each with its message."""
    return (
        (
            f"!has(self.args) || !self.args.exists(a, a.matches('{_NAME}[.A-Za-z0-9_-]* '))",
            (
                "write a flag and its value as two items of args, or as --flag=value: with a blank in it an "
                "item is no flag to the engine, which then does not start"
            ),
        ),
        *_owned_rules(NAMES),
        (
            f"!has(self.args) || !self.args.exists(a, a.matches({_raw(_FILE)}) && !a.matches({_raw(_URL)}))",
            (
                "name no file or folder in args (by / or \\u): it is in no model's digest, and may change "
                "after the evaluation. Put the model's files into its folder, and code as a module into "
                "serving.image; speculative decoding works by ngram, suffix or mtp, which have no draft "
                "model of their own"
            ),
        ),
    )


def _owned_rules(names: str) -> tuple[tuple[str, str], ...]:
    """A rule for each of OWNED, of the names of flags by a CEL expression."""
    return tuple(
        (
            (
                f"!has(self.args) || !{names}.exists(n, n != '' && [{_quoted(owned.flags)}].exists(f, "
                "f.startsWith(n)))"
            ),
            f"leave {', '.join(owned.flags)} and what begins them out of args: {owned.instead}",
        )
        for owned in OWNED
    )


def _raw(pattern: str) -> str:
    """A regular expression as a CEL text in which backslashes stand for themselves."""
    return f"r'{pattern}'"


def _quoted(flags: Sequence[str]) -> str:
    return ", ".join(f"'{flag}'" for flag in flags)


def asks_for_more_gpus() -> str:
    """CEL: whether an object's ``args`` may ask for more GPUs than tensorParallelSize."""
    whole = [flag for names in MULTIPLIERS for flag in names]
    long = [names[0] for names in MULTIPLIERS]
    shortened = (
        f"[{_quoted(SHORTENED)}].exists(b, n.startsWith(b)) && [{_quoted(long)}].exists(f, f.startsWith(n))"
    )
    return f"(has(self.args) && {NAMES}.exists(n, n in [{_quoted(whole)}] || {shortened}))"


def gpu_factor(args: Sequence[str]) -> int:
    """How many times tensorParallelSize GPUs a server takes; a value that is no number counts as one."""
    factor = 1
    for names in MULTIPLIERS:
        given = [value for name, value in _pairs(args) if name in names or _shortens(name, names[0])]
        if given and given[-1].isdigit():
            factor *= max(1, int(given[-1]))
    return factor


def _shortens(name: str, flag: str) -> bool:
    return flag.startswith(name) and name.startswith(SHORTENED)


def _pairs(args: Sequence[str]) -> list[tuple[str, str]]:
    """Flags with their values, which stand behind = or in the next argument."""
    return [
        (_flag_name(argument), argument.partition("=")[2] if "=" in argument else after)
        for argument, after in pairwise([*args, ""])
        if argument.startswith("-")
    ]
