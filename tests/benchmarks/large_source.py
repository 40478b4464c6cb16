"""What the beginning of a source that is too large costs: bytes that come, time, memory and disk.

A fake hub has one file of JSON lines, --gigabytes long, whose lines of 5 KB are made as they are sent. The
collect stage reads --records of it with ``maxRecords``, in a process of its own. Ends with 1 when more comes,
or is on the disk, than the records have and sockets hold.
"""

# ruff: noqa: T201, PLC0415 - it prints; only the stage imports the worker

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

LINE = 5_000
"""Bytes of a line."""

IN_BUFFERS = 16 * 1024**2
"""What may be on its way when nobody asks any more."""

WORDS = ["".join(random.Random(n).choices("etaoinshrdlu", k=6)) for n in range(5_000)]


@dataclass(frozen=True)
class MadeUp:
    """Bytes of a file that nobody has; all lines are as long as each other."""

    size: int
    start: int = 0

    def __bytes__(self) -> bytes:
        return b"what the hub names it by"

    def __len__(self) -> int:
        return self.size - self.start

    def __getitem__(self, part: slice) -> "MadeUp | bytes":
        if part.stop is None:
            return MadeUp(self.size, self.start + (part.start or 0))
        if part.stop >= len(self) and not part.start:
            return self
        start, end = self.start + part.start, min(self.size, self.start + part.stop)
        first = start // LINE
        lines = b"".join(line(number) for number in range(first, -(-end // LINE)))
        return lines[start - first * LINE : end - first * LINE]


def line(number: int) -> bytes:
    """The line of a number, from 0."""
    rng = random.Random(number)
    question = [{"role": "user", "content": f"{number} {' '.join(rng.choices(WORDS, k=30))}"}]
    record = {"input": question, "category": "math", "output": ""}
    record["output"] = " ".join(rng.choices(WORDS, k=700))[: LINE - 1 - len(json.dumps(record))]
    return json.dumps(record).encode() + b"\n"


def collect(endpoint: str, records: int, folder: Path) -> None:
    """The stage; prints what it took."""
    from safety_records.data import Dataset, Source
    from safety_records.stages import parse_stage_spec
    from safety_worker.artifacts.store import ArtifactStore
    from safety_worker.context import StageContext
    from safety_worker.dispatch import run_stage

    (folder / "store").mkdir()
    context = StageContext(
        store=ArtifactStore(f"file://{folder}/store"),
        inputs=folder,
        report_progress=lambda _: None,
        environment={"HF_ENDPOINT": endpoint},
        scratch=folder / "scratch",
    )
    dataset = Dataset(preset="llama-nemotron", uri="hf://org/small", max_records=records, limit=1000)
    own = folder / "own.jsonl"
    own.write_text('{"prompt": "how does one pick a lock"}\n')
    spec = parse_stage_spec(
        json.dumps(
            {
                "stage": "collect",
                "namespace": "demo",
                "kind": "SafetyBlend",
                "name": "blend",
                "inputsHash": "hash",
                "root": f"file://{folder}/store",
                "out": "out",
                "maxInvalid": 0.02,
                "sources": [
                    Source(name="own", dataset=Dataset(uri=f"file://{own}")).model_dump(by_alias=True)
                ],
                "retain": [Source(name="nemotron", dataset=dataset).model_dump(by_alias=True)],
            }
        )
    )
    begin = time.monotonic()
    result = run_stage(spec, context)
    took = {
        "seconds": time.monotonic() - begin,
        "cpu": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "read": next(item.read for item in result.counts if item.source == "nemotron"),
        "disk": sum(path.stat().st_size for path in (folder / "scratch").rglob("*") if path.is_file()),
        "warnings": result.warnings,
    }
    print(json.dumps(took))


def main() -> int:
    """Serve the file, and let the stage read its beginning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=int, default=100)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        collect(asked.stage[0], asked.records, Path(asked.stage[1]))
        return 0
    from tests.unit.worker.fake_hub import FakeHub

    content = MadeUp(asked.gigabytes * 1_000_000_000 // LINE * LINE)
    with FakeHub({"math.jsonl": content}) as hub, tempfile.TemporaryDirectory() as folder:  # type: ignore[dict-item]
        command = [sys.executable, __file__, "--records", str(asked.records), "--stage", hub.endpoint, folder]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took = json.loads(said.splitlines()[-1])
        needed = asked.records * LINE
        print(
            f"{took['read']} of {len(content) // LINE} records: "
            f"{hub.sent / 1e6:.0f} of {len(content) / 1e6:.0f} MB were sent, "
            f"{took['disk'] / 1e6:.0f} MB lay on the disk, peak {took['peak_mib']:.0f} MiB, "
            f"{took['seconds']:.0f} s, {took['cpu']:.0f} s of CPU; {took['warnings']}"
        )
        return int(max(hub.sent, took["disk"]) > needed + IN_BUFFERS or took["read"] != asked.records)


if __name__ == "__main__":
    sys.exit(main())
