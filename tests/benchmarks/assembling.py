"""Speed and memory of assembling a blend: answers and verdicts in, training files and all rows' outcomes out.

Wanted: at most --max-gib of memory (4), whatever --rows is. Without a tokenizer: lengths are another matter.
python tests/benchmarks/assembling.py --rows 1000000. Ends with 1 when something wanted is missed.
"""

# ruff: noqa: T201 - it prints

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

import pyarrow.parquet as pq  # noqa: E402
from tests.unit.worker.conftest import PHRASES, Workplace  # noqa: E402

from safety_records.base import Record  # noqa: E402
from safety_records.result import Counts, StageResult  # noqa: E402
from safety_worker.artifacts.files import atomic_path  # noqa: E402
from safety_worker.blending import dropped  # noqa: E402
from safety_worker.dispatch import run_stage  # noqa: E402
from safety_worker.rows import BlendRow, GeneratedRow, Origin, VerdictRow, row_digest  # noqa: E402

RUN = "demo/safetyeval/base/run"
ANSWER = "A response of the usual length, which says what there is to say. " * 10


def fill(workplace: Workplace, rows: int) -> None:
    """Write what the stages before would have written."""
    prompts = sorted((row_digest(text), number, text) for number, text in enumerate(map(prompt, range(rows))))

    def collected() -> Iterator[Record]:
        for digest, number, text in prompts:
            origin = Origin(source="s", index=number)
            yield BlendRow(
                part="retain", digest=digest, prompt=text, response=ANSWER, group=digest[:16], origin=origin
            )

    def answered() -> Iterator[Record]:
        for digest, number, text in prompts:
            origin = Origin(source="s", index=number)
            yield GeneratedRow(
                suite="retain",
                digest=digest,
                prompt=text,
                answer=ANSWER,
                finish_reason="source",
                origin=origin,
            )

    def judged() -> Iterator[Record]:
        for digest, _, _ in prompts:
            yield VerdictRow(suite="retain", digest=digest, judge=PHRASES.name, refused=False, passed=True)

    made = {
        "collect": ("rows", collected),
        "answer": ("rows-00000", answered),
        "judge": ("verdicts-00000", judged),
    }
    for stage, (name, records) in made.items():
        folder = workplace.context.store.output(f"{RUN}/{stage}")
        with atomic_path(folder / f"{name}.jsonl") as path, path.open("w", encoding="utf-8") as stream:
            stream.writelines(f"{record.to_json()}\n" for record in records())
        if stage == "collect":
            pq.write_table(dropped.SCHEMA.empty_table(), folder / dropped.DROPPED_NAME)
            about = {
                "name": "s",
                "part": "retain",
                "title": "",
                "licence": "",
                "origin": "",
                "digest": "",
                "read": rows,
                "rules": [],
            }
            (folder / "rules.json").write_text("{}", encoding="utf-8")
            (folder / "sources.json").write_text(json.dumps([about]), encoding="utf-8")
        if stage == "judge":
            described = [PHRASES.model_dump(mode="json", by_alias=True)]
            (folder / "judges.json").write_text(json.dumps(described), encoding="utf-8")
        counts = (Counts(source="s", read=rows, sampled=rows),)
        result = StageResult(stage=stage, inputs_hash=stage, rows=rows, counts=counts)
        workplace.context.store.complete(f"{RUN}/{stage}", result)


def prompt(number: int) -> str:
    return f"Question {number}: what do people say about this, and why? " + "Some more words. " * 10


def measure(workplace: Workplace, rows: int, max_gib: float) -> bool:
    """Assemble in this process; whether it was within its memory."""
    spec = workplace.spec(
        "assemble",
        collected=f"{RUN}/collect",
        answered=f"{RUN}/answer",
        judged=f"{RUN}/judge",
        validation=0.03,
    )
    start = time.perf_counter(), time.process_time()
    result = run_stage(spec, replace(workplace.context, report_progress=lambda _: None))
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert result.rows == rows
    print(f"{rows} rows: {wall:.0f} s, {rows / cpu:.0f} rows a CPU second, {peak:.2f} GiB at the most")
    return peak <= max_gib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--max-gib", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        filler = os.fork()  # so that what filling needs is not counted
        if filler == 0:
            fill(workplace, options.rows)
            os._exit(0)
        os.waitpid(filler, 0)
        if not measure(workplace, options.rows, options.max_gib):
            sys.exit(f"more than {options.max_gib} GiB")


if __name__ == "__main__":
    main()
