"""Speed and memory of a blend's data path: reading, normalising, de-duplicating, sampling, splitting.

- --rows 100000: the collect stage and the split against the same steps in pandas and datasketch, each in a
  process of its own, one after the other in one run (wanted: at least 10 times faster). All find near
  duplicates among runs of five letters at a similarity of 0.8; datasketch with its own 128 permutations, once
  as its documentation has it (``update``), once by its faster ``update_batch``, which is shown as well.
  Ours confirms each pair on the sets, writes its output and the outcome of every row, and computes digests.
- --memory 1000000: ours alone (wanted: at most 4 GiB at its peak).

Rows are made up: prompts of 8 to 60 words over five categories, with a response of 10 to 80 words; 5 % are
exact copies in other white space, 10 % copies with one to three other words. Ends with 1 when something
wanted is missed. CPU time is of all threads, without imports; it is what can be compared where other
work runs at the same time. datasketch comes from PyPI (2.0.0), it is no dependency.
"""

# ruff: noqa: T201, PLC0415 - it prints; each side imports its own libraries

import argparse
import importlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

RATIO = 10.0
"""Times faster than pandas."""
PEAK_GIB = 4.0
"""Of a million rows."""

SAMPLE = 0.2
"""Share of the rows that is drawn."""
VALIDATION = 0.03
THRESHOLD = 0.8
SLOTS = 128
SHINGLE = 5
CATEGORIES = ("violence", "fraud", "privacy", "weapons", "self-harm")


def made_up(count: int) -> Iterator[dict[str, str]]:
    """So many rows; the same for the same number."""
    rng = random.Random(7)
    words = ["".join(rng.choices("etaoinshrdlucmfwyp", k=rng.randint(2, 9))) for _ in range(30_000)]
    recent: list[str] = []
    for number in range(count):
        kind = rng.random()
        if recent and kind < 0.05:
            prompt = "  ".join(rng.choice(recent).split())
        elif recent and kind < 0.15:
            parts = rng.choice(recent).split()
            for _ in range(rng.randint(1, 3)):
                parts[rng.randrange(len(parts))] = rng.choice(words)
            prompt = " ".join(parts)
        else:
            prompt = " ".join(rng.choices(words, k=rng.randint(8, 60))) + "?"
        if len(recent) < 5_000:
            recent.append(prompt)
        else:
            recent[rng.randrange(len(recent))] = prompt
        response = " ".join(rng.choices(words, k=rng.randint(10, 80))) + "."
        yield {
            "id": str(number),
            "prompt": prompt,
            "response": response,
            "category": CATEGORIES[rng.randrange(5)],
        }


def ours(path: Path, rows: int) -> dict[str, int]:
    """The collect stage as a pod runs it, and the split."""
    from safety_records.data import Columns, Dataset
    from safety_records.stages import parse_stage_spec
    from safety_worker.artifacts.store import ArtifactStore
    from safety_worker.blending.collected import read_collected
    from safety_worker.blending.splitting import Member, split
    from safety_worker.context import StageContext
    from safety_worker.dispatch import run_stage

    folder = path.parent
    columns = Columns(response="response", categories="category", id="id")
    dataset = Dataset(uri=f"file://{path}", columns=columns)
    spec = {
        "stage": "collect",
        "namespace": "demo",
        "kind": "SafetyBlend",
        "name": "benchmark",
        "inputsHash": "x",
        "root": f"file://{folder}",
        "out": f"collect-{time.time_ns()}",
        "sources": [{"name": "s", "dataset": dataset.model_dump(by_alias=True)}],
        "size": int(rows * SAMPLE),
        "by": "category",
        "near": THRESHOLD,
        "maxInvalid": 0.02,
    }
    context = StageContext(
        store=ArtifactStore(f"file://{folder}"),
        inputs=folder,
        report_progress=lambda _: None,
        scratch=folder / "scratch",
    )
    result = run_stage(parse_stage_spec(json.dumps(spec)), context)
    kept = read_collected(folder / spec["out"])
    parts = split([Member(row.digest, row.group) for row in kept], VALIDATION, 42)
    (counts,) = result.counts
    return {
        "exact": counts.duplicate,
        "near": counts.near_duplicate,
        "sampled": len(kept),
        "validation": len(parts.validation),
    }


def pandas_version(path: Path, rows: int, *, batch: bool = False) -> dict[str, int]:
    """The same steps as one would write them in a notebook."""
    import re
    import unicodedata

    import pandas as pd
    from datasketch import MinHash, MinHashLSH

    frame = pd.read_json(path, lines=True, dtype={"id": str})
    frame = frame[frame["prompt"].map(lambda text: isinstance(text, str) and bool(text.strip()))]
    frame["normal"] = frame["prompt"].map(lambda text: " ".join(unicodedata.normalize("NFKC", text).split()))
    read = len(frame)
    frame = frame.drop_duplicates(subset=["normal"])
    exact = read - len(frame)
    frame["form"] = frame["normal"].str.lower().map(lambda text: re.sub(r"[\W_]+", "", text))
    index = MinHashLSH(threshold=THRESHOLD, num_perm=SLOTS)
    keep = []
    for number, form in zip(frame.index, frame["form"], strict=True):
        shingles = {form[start : start + SHINGLE] for start in range(max(len(form) - SHINGLE + 1, 1))}
        signature = MinHash(num_perm=SLOTS)
        if batch:
            signature.update_batch([shingle.encode() for shingle in shingles])
        else:
            for shingle in shingles:
                signature.update(shingle.encode())
        if not index.query(signature):
            index.insert(number, signature)
            keep.append(number)
    near = len(frame) - len(keep)
    frame = frame.loc[keep]
    each = int(rows * SAMPLE) // len(CATEGORIES)
    sample = frame.groupby("category", group_keys=False).sample(n=each, random_state=42)
    validation = sample.sample(frac=VALIDATION, random_state=42)
    train = sample.drop(validation.index)
    train.to_json(path.with_name("train.jsonl"), lines=True, orient="records")
    return {"exact": exact, "near": near, "sampled": len(sample), "validation": len(validation)}


def pandas_batch(path: Path, rows: int) -> dict[str, int]:
    """With datasketch's ``update_batch``."""
    return pandas_version(path, rows, batch=True)


SIDES = {"ours": ours, "pandasBatch": pandas_batch, "pandas": pandas_version}


def run_child(side: str, path: Path, rows: int) -> None:
    """Run one side in this process and print what it took, without its imports, which both need."""
    names = ("safety_worker.dispatch", "safety_worker.stages.collect", "safety_worker.blending.splitting")
    for name in ("pandas", *(names if side == "ours" else ("datasketch",))):  # pyarrow imports pandas as well
        importlib.import_module(name)
    started = resource.getrusage(resource.RUSAGE_SELF)
    before = time.perf_counter()
    found = SIDES[side](path, rows)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime - started.ru_utime - started.ru_stime
    print(
        json.dumps(
            {
                "seconds": round(time.perf_counter() - before, 2),
                "cpuSeconds": round(used, 2),
                "peakMiB": round(usage.ru_maxrss / 1024),
                **found,
            }
        )
    )


def measure(side: str, path: Path, rows: int) -> dict[str, float]:
    """What one side takes in a process of its own."""
    command = [sys.executable, __file__, "--child", side, "--path", str(path), "--rows", str(rows)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    print(side, json.dumps(found))
    return found


def write_rows(folder: Path, rows: int) -> Path:
    """The rows as JSON lines."""
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in made_up(rows))
    return path


def main() -> None:
    """Print figures, and end with what was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the comparison; 0: none")
    parser.add_argument("--memory", type=int, default=0, metavar="ROWS", help="rows of the memory run")
    parser.add_argument("--child", choices=SIDES, help="only this side, in this process")
    parser.add_argument("--path", type=Path)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments.path, arguments.rows)
        return
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rows:
            path = write_rows(Path(folder), arguments.rows)
            found = {side: measure(side, path, arguments.rows) for side in SIDES}
            ratios = {
                f"{side}.{name}Ratio": found[side][name] / found["ours"][name]
                for side in ("pandas", "pandasBatch")
                for name in ("seconds", "cpuSeconds")
            }
            print(json.dumps({name: round(ratio, 1) for name, ratio in ratios.items()}))
            if ratios["pandas.cpuSecondsRatio"] < RATIO:
                missed.append(f"less than {RATIO:g} times faster")
        if arguments.memory:
            path = write_rows(Path(folder), arguments.memory)
            peak = measure("ours", path, arguments.memory)["peakMiB"] / 1024
            if peak > PEAK_GIB:
                missed.append(f"{peak:.2f} GiB at the peak, {PEAK_GIB:g} are allowed")
    sys.exit("; ".join(missed) or 0)


if __name__ == "__main__":
    main()
