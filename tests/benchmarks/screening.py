"""Speed of screening as ratios within one run, so that they mean the same on every machine.

- representation, larf: rows a second against a bare forward pass of the same model over the same tokens
  (wanted: at least 90 %).
- gradient: rows a second against a loop that takes one example at a time (wanted: at least 3 on a GPU, at
  least 1 on CPU).
- --table ROWS: seconds and peak memory of everything around the model (reading answers and verdicts, windows,
  ranks, tables) with so many rows; needs no torch (wanted: at most 512 MiB more than at the start).

Random weights and random rows: speed does not depend on what they are. --folder takes a real model instead.
Run it where torch is, for example in the worker image: python tests/benchmarks/screening.py --model 135m
--rows 64 --device cpu. Ends with 1 when something wanted is missed.
"""

# ruff: noqa: T201, PLC0415, PLR0917 - it prints; torch is imported by what measures models only

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "images/worker")]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait by spinning would count as work

SIZES: dict[str, dict[str, int | bool]] = {
    "tiny": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 4096},
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    | {"num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    | {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
}
"""Llama architectures; 135m is SmolLM2's, 1b and 8b are those of Llama 3."""

WANTED = {
    "cpu": {"representationRatio": 0.9, "loraRatio": 1.0, "fullRatio": 1.0},
    "cuda": {"representationRatio": 0.9, "loraRatio": 3.0, "fullRatio": 3.0},
}
"""Lowest ratios, by device."""
TABLE_MIB = 512
"""What a table of a million rows may take, beyond what the process had at its start."""

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
ANCHORS = 5
LOOP_ROWS = 16
"""Rows that the loop takes: its speed does not change with more."""


def build_screener(size: str, device: str, precision: str) -> Any:
    """A screener around a random model and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from safety_worker.screening.model import Screener

    shape = dict(SIZES[size])
    marks = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<|unknown|>"]
    words = [*marks, *(f"w{n}" for n in range(int(shape["vocab_size"]) - len(marks)))]
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<|unknown|>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16 if precision == "bf16" else torch.float32)
        model = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=4096, pad_token_id=0)).eval()
        torch.set_default_dtype(torch.float32)
    model.requires_grad_(requires_grad=False)
    name = "cuda" if device.startswith("cuda") else "cpu"
    return Screener(model, tokenizer, name, 4096, 16384 if name == "cuda" else 4096)


def load_real(folder: Path, device: str, precision: str) -> Any:
    """A screener around a model of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from safety_worker.screening.model import Screener

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
    model.to(device).eval().requires_grad_(requires_grad=False)
    name = "cuda" if device.startswith("cuda") else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return Screener(model, tokenizer, name, 4096, 16384 if name == "cuda" else 4096)


def random_rows(count: int, words: Sequence[str], seed: int) -> list[Any]:
    """Rows of 40 to 200 words, as instruction data have."""
    from safety_worker.rows import Origin
    from safety_worker.screening.candidates import Candidate

    draw = random.Random(seed)

    def text(low: int, high: int) -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randrange(low, high)))

    origin = Origin(source="s", index=0)
    return [Candidate("retain", f"{n:064x}", text(15, 60), text(25, 140), origin) for n in range(count)]


def rows_a_second(work: Callable[[], object], rows: int, device: str, tries: int = 3) -> float:
    """The best of some tries, after one to warm up: by the clock on a GPU, by CPU time on a CPU.

    CPU time does not count what else the machine does; it is that of all threads together.
    """
    import torch

    clock = time.perf_counter if device == "cuda" else time.process_time
    best = float("inf")
    for number in range(tries + 1):
        started = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if number:
            best = min(best, clock() - started)
    return rows / best


def measure_forward(screener: Any, rows: Sequence[Any], anchors: Any, tries: int) -> dict[str, float]:
    """Representation and LARF against the bare forward pass of the decoder, without its head."""
    import torch

    from safety_worker.screening.encoding import batches_by_length, encode_rows
    from safety_worker.screening.representation import LayerScorer, RepresentationScorer

    encoded = encode_rows(screener.tokenizer, rows, with_start=False)
    batches = batches_by_length([len(row.ids) for row in encoded], screener.batch_tokens)
    padded = [screener.pad([encoded[n].ids for n in batch]) for batch in batches]

    def bare() -> None:
        with torch.inference_mode():
            for ids in padded:
                screener.decoder(input_ids=ids, use_cache=False)

    scorer = RepresentationScorer(screener, anchors, 1)
    half = max(1, len(screener.decoder.layers) // 2)
    larf = LayerScorer(screener, anchors, half)
    base = rows_a_second(bare, len(rows), screener.device, tries)
    found = rows_a_second(lambda: scorer.score(rows), len(rows), screener.device, tries)
    middle = rows_a_second(lambda: larf.score(rows), len(rows), screener.device, tries)
    return {
        "bareForwardRowsPerSecond": base,
        "representationRowsPerSecond": found,
        "representationRatio": found / base,
        f"larfAtLayer{half}Ratio": middle / base,
    }


def measure_gradient(
    screener: Any, rows: Sequence[Any], anchors: Any, parameters: str, projection: int, tries: int
) -> dict[str, float]:
    """Gradient screening against one example at a time."""
    from safety_records.screening import GradientOptions
    from safety_worker.screening.gradient import GradientScorer

    options = GradientOptions(parameters=parameters, projection=projection, seed=42)
    scorer = GradientScorer(screener, anchors, options)
    found = rows_a_second(lambda: scorer.score(rows), len(rows), screener.device, tries)
    few = rows[:LOOP_ROWS]
    loop = full_loop if parameters == "full" else lora_loop
    one_by_one = loop(screener, few, scorer)
    base = rows_a_second(one_by_one, len(few), screener.device, tries)
    return {
        f"{parameters}LoopRowsPerSecond": base,
        f"{parameters}RowsPerSecond": found,
        f"{parameters}Ratio": found / base,
    }


def one_loss(screener: Any, row: Any) -> Any:
    """The loss of one row as anyone would write it: whole row, labels of the first response tokens."""
    import torch

    from safety_worker.screening.encoding import encode_rows

    (encoded,) = encode_rows(screener.tokenizer, [row])
    ids = screener.pad([encoded.ids])
    labels = torch.full_like(ids, -100)
    labels[0, encoded.start : encoded.start + 10] = ids[0, encoded.start : encoded.start + 10]
    return screener.model(input_ids=ids, labels=labels, use_cache=False).loss


def full_loop(screener: Any, rows: Sequence[Any], scorer: Any) -> Callable[[], None]:
    """Backward, length and dot products, row by row."""
    import torch

    anchors = scorer._gradients._anchors

    def loop() -> None:
        screener.model.requires_grad_(requires_grad=True)
        for row in rows:
            screener.model.zero_grad(set_to_none=True)
            one_loss(screener, row).backward()
            gradients = [(weight, weight.grad) for weight in anchors]
            length = torch.stack([g.float().square().sum() for _, g in gradients]).sum().sqrt()
            dots = sum(anchors[weight].flatten(1) @ gradient.flatten() for weight, gradient in gradients)
            (dots / length).tolist()
        screener.model.zero_grad(set_to_none=True)
        screener.model.requires_grad_(requires_grad=False)

    return loop


def lora_loop(screener: Any, rows: Sequence[Any], scorer: Any) -> Callable[[], None]:
    """Adapters by hand, backward and projection with the same signs, row by row."""
    import torch

    own = scorer._gradients

    def loop() -> None:
        for row in rows:
            factors, handles = [], []
            for module, first in zip(own._maps, own._first, strict=True):
                second = torch.zeros(
                    module.out_features,
                    len(first),
                    device=first.device,
                    dtype=first.dtype,
                    requires_grad=True,
                )

                def adapt(
                    _module: Any, args: Any, output: Any, first: Any = first, second: Any = second
                ) -> Any:
                    return output + (args[0] @ first.T) @ second.T

                factors.append(second)
                handles.append(module.register_forward_hook(adapt))
            one_loss(screener, row).backward()
            for handle in handles:
                handle.remove()
            total = sum(
                own._projection.project(part, second.grad.flatten()[None])
                for part, second in enumerate(factors)
            )
            (torch.nn.functional.normalize(total, dim=1) @ own._anchors_SK.T).tolist()

    return loop


def measure_models(arguments: argparse.Namespace) -> dict[str, Any]:
    """All ratios of a model."""
    from safety_worker.screening.anchors import Anchor, Anchors

    if arguments.folder:
        screener = load_real(arguments.folder, arguments.device, arguments.precision)
        words = __doc__.split()
    else:
        screener = build_screener(arguments.model, arguments.device, arguments.precision)
        words = [f"w{n}" for n in range(int(SIZES[arguments.model]["vocab_size"]) - 5)]
    examples = random_rows(3 * ANCHORS, words, seed=2)
    rows = random_rows(arguments.rows, words, seed=1)

    def group(name: str, start: int) -> tuple[Anchor, ...]:
        return tuple(
            Anchor(name=f"{name}/{n}", prompt=row.prompt, answer=row.answer)
            for n, row in enumerate(examples[start : start + ANCHORS])
        )

    safe = (group("safe-0", ANCHORS), group("safe-1", 2 * ANCHORS))
    anchors = Anchors(harmful=group("harmful", 0), safe=safe)
    name = arguments.folder.name if arguments.folder else arguments.model
    found: dict[str, Any] = {
        "model": name,
        "precision": arguments.precision,
        "device": screener.device,
        "rows": len(rows),
    }
    if arguments.forward:
        found |= measure_forward(screener, rows, anchors, arguments.tries)
    for parameters in filter(None, arguments.gradient.split(",")):
        found |= measure_gradient(screener, rows, anchors, parameters, arguments.projection, arguments.tries)
    return found


def measure_table(rows: int) -> dict[str, Any]:
    """Time and memory of the stage around the model."""
    from tests.unit.worker.screening.blends import complete
    from tests.unit.worker.support.stage_settings import SETTINGS

    from safety_records.stages import parse_stage_spec
    from safety_worker.artifacts.store import ArtifactStore
    from safety_worker.context import StageContext
    from safety_worker.rows import GeneratedRow, Origin, VerdictRow
    from safety_worker.screening.records import RowScore
    from safety_worker.stages import screen as stage

    class Instant:
        method = "larf"

        def score(self, given: Sequence[Any]) -> list[RowScore]:
            return [RowScore(int(row.digest, 16) * 37 % 1009 / 1009, "harmful/0", 0.5, 100) for row in given]

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("answer", "judge"):
            (root / folder).mkdir()
        (root / "judge/judges.json").write_text('[{"name": "j", "type": "refusal-phrases"}]')
        text = "word " * 100
        with (
            (root / "answer/rows-00000.jsonl").open("w") as answers,
            (root / "judge/verdicts-00000.jsonl").open("w") as verdicts,
        ):
            for n in range(rows):
                digest = f"{n:064x}"
                origin = Origin(source="s", index=n)
                row = GeneratedRow(
                    suite="retain", digest=digest, prompt=f"{n} {text}", answer=text, origin=origin
                )
                answers.write(row.to_json() + "\n")
                verdict = VerdictRow(suite="retain", digest=digest, judge="j", passed=True, safe=True)
                verdicts.write(verdict.to_json() + "\n")
        for folder in ("answer", "judge"):
            complete(root / folder)
        stage.load = lambda _target: lambda *_: [Instant()]  # type: ignore[assignment]
        stage.load_anchors = lambda *_: None  # type: ignore[assignment]
        fields = {"stage": "screen", "namespace": "n", "kind": "k", "name": "n", "inputsHash": "h"}
        fields |= {"root": f"file://{root}", "out": "screen", "answered": "answer", "judged": "judge"}
        fields |= {"model": "m", "methods": ["larf"], "anchors": "none", **SETTINGS["screen"]}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        context = StageContext(ArtifactStore(f"file://{root}"), root, lambda _progress: None)
        stage.run(parse_stage_spec(json.dumps(fields)), context)  # type: ignore[arg-type]
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "tableRows": rows,
            "tableRowsPerCpuSecond": rows / seconds,
            "tablePeakMiB": peak / 1024,
            "tableGrowthMiB": (peak - before) / 1024,
        }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=SIZES, default="tiny")
    parser.add_argument("--folder", type=Path, help="a model of transformers, instead of --model")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="fp32")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--gradient", default="lora,full", help="kinds of gradients, by commas; may be empty")
    parser.add_argument("--no-forward", dest="forward", action="store_false", help="gradients alone")
    parser.add_argument("--projection", type=int, default=8192)
    parser.add_argument(
        "--table", type=int, default=0, metavar="ROWS", help="measure the stage around the model"
    )
    arguments = parser.parse_args()
    found = measure_table(arguments.table) if arguments.table else measure_models(arguments)
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
    print(json.dumps(shown, indent=1))
    missed = [
        f"{name} is below {bound}"
        for name, bound in WANTED.get(found.get("device", ""), {}).items()
        if found.get(name, bound) < bound
    ]
    if found.get("tableGrowthMiB", 0) > TABLE_MIB:
        missed.append(f"tableGrowthMiB is above {TABLE_MIB}")
    sys.exit("; ".join(missed) or 0)


if __name__ == "__main__":
    main()
