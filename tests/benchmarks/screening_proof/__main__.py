"""``python -m screening_proof STEP...``: runs steps, then shows what is known so far."""

import argparse
import json
from pathlib import Path
from typing import Any

from .measure import (
    detection,
    detection_table,
    exam_scores,
    exam_table,
    read_scored,
)
from .sizes import SIZES
from .stages import Stages
from .steps import ARMS, HIDDEN, Proof

STEPS = (
    "answers",
    "harden",
    "screen",
    "search",
    "exam-base",
    "exam-hardened",
    *(f"arm-{name}" for name in ARMS),
)


def main() -> None:
    """Run the steps and print the results as Markdown; ``results.json`` has the same."""
    parser = argparse.ArgumentParser(prog="screening_proof", description="Measures what screening does.")
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", help=f"one of {', '.join(STEPS)}; all where absent"
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of artifacts, kept between runs")
    parser.add_argument("--size", choices=SIZES, default="small")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.steps) - set(STEPS))
    if unknown:
        parser.error(f"{unknown[0]} is no step; steps are {', '.join(STEPS)}")
    root = arguments.root.resolve() / arguments.size
    proof = Proof(root, SIZES[arguments.size])
    for step in arguments.steps or STEPS:
        name, _, argument = step.partition("-")
        getattr(proof, name)(*filter(None, [argument]))
    found = results(root, proof.stages)
    (root / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(detection_table(found["detection"]), exam_table(found["exams"]), sep="\n\n")  # noqa: T201


def results(root: Path, stages: Stages) -> dict[str, Any]:
    """Everything that has been measured so far."""
    detections, exams = {}, {}
    for path in sorted(root.glob("screen/*/result.json")):
        spec = json.loads((root / "logs" / f"screen-{path.parent.name}.json").read_text())
        for method in spec.get("methods", ()):  # the anchors' own folders have none
            scored = read_scored(path.parent, method, HIDDEN)
            detections[f"{method}, {path.parent.name}"] = detection(scored)
    for name in ("base", "hardened", *ARMS):
        if stages.done(f"exams/{name}/score"):
            exams[name] = exam_scores(stages.result(f"exams/{name}/score"))
        if name in exams and name in ARMS:
            exams[name]["hidden"] = 0 if ARMS[name].clean else hidden_rows(stages, name)
    return {"detection": detections, "exams": exams}


def hidden_rows(stages: Stages, name: str) -> int:
    """Hidden rows in the training set of an arm."""
    return sum(item.kept for item in stages.result(f"arms/{name}-set").counts if item.source == HIDDEN)


if __name__ == "__main__":
    main()
