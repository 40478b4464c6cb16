"""Generate what follows from something else: ``everything.py`` lists it.

Usage: python hack/codegen/generate.py [--check]
CRDs, the chart's copies of them and docs/reference from the pydantic models, the version's followers, the
README's picture of results, and the measured figures of the judge of refusals. With --check nothing is
written, and any difference, missing file or file that nothing generates ends with exit code 1.
"""

import argparse
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on any difference")
    check = parser.parse_args().check
    # A script is started without an installed package: the repository itself is the place to import from.
    sys.path[:0] = [str(REPO), str(REPO / "operator"), str(REPO / "images/worker")]
    from hack.codegen.everything import build_outputs  # noqa: PLC0415 - needs the path above
    from hack.codegen.outputs import differences, write  # noqa: PLC0415

    try:
        outputs = build_outputs(REPO)
    except ValueError as error:
        print(f"the models cannot be turned into schemas:\n{error}", file=sys.stderr)
        return 1
    if not check:
        print("\n".join(f"wrote {name}" for name in write(REPO, outputs)) or "nothing changed")
        return 0
    found = differences(REPO, outputs)
    print(
        "\n".join([*found, "run `make generate` and commit the result"]) if found else "generated files agree"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
