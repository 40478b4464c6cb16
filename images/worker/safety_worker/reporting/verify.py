"""The command ``safety-worker verify-report``: whether a signed report says what it should, and is whole."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from safety_attestation.verification import (
    PublicKeyError,
    VerificationFailedError,
    Verified,
    load_public_key,
    verify,
)

EXIT_NOT_VERIFIED = 1
EXIT_USAGE = 2
"""Exit code for a wrong command line, as argparse has it."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; 0 if everything holds, 1 if not, 2 if it could not be tried."""
    parser = argparse.ArgumentParser(
        prog="safety-worker verify-report",
        description="Checks a report's signed statement, and the report's files against it.",
    )
    parser.add_argument("folder", type=Path, help="folder with report.json and the statement beside it")
    parser.add_argument("--public-key", type=Path, required=True, help="key that has to have signed it (PEM)")
    parser.add_argument("--model-digest", type=_digest, help="model that it has to be about, as sha256:...")
    parser.add_argument(
        "--passed", action="store_true", help="also fail unless the verdict is that it passed"
    )
    arguments = parser.parse_args(argv)
    try:
        key = load_public_key(arguments.public_key.read_bytes())
    except OSError as error:
        return _say(f"--public-key: {arguments.public_key}: {error.strerror}", EXIT_USAGE)
    except PublicKeyError as error:
        return _say(str(error), EXIT_USAGE)
    try:
        found = verify(arguments.folder, key, arguments.model_digest or "", passed=arguments.passed)
    except VerificationFailedError as error:
        return _say(f"NOT VERIFIED: {error}", EXIT_NOT_VERIFIED)
    print(describe_statement(found))  # noqa: T201 - the command's output
    return 0


def describe_statement(found: Verified) -> str:
    """What the statement says, for people."""
    predicate = found.statement.predicate
    verdict = {"True": "passed", "False": "not passed"}.get(predicate.verdict, "no verdict")
    subjects = ", ".join(
        f"{item.name} {name}:{value}"
        for item in found.statement.subject
        for name, value in item.digest.items()
    )
    return "\n".join(
        (
            f"verified: signed by key {found.key_id}",
            f"model:    {subjects}",
            f"report:   {predicate.namespace}/{predicate.name}, {predicate.created_at.isoformat()}",
            f"verdict:  {verdict} ({len(predicate.thresholds)} thresholds)",
            f"files:    {', '.join(found.files)}",
        )
    )


def _digest(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("write sha256: and 64 hexadecimal digits")
    return text


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)  # noqa: T201 - the command's output
    return code
