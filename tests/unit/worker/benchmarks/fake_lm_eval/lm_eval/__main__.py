"""``python -m lm_eval run ...``."""

import argparse
import json
import os
import sys
from pathlib import Path
from urllib.request import urlopen

parser = argparse.ArgumentParser()
parser.add_argument("command")
for name in ("--model", "--model_args", "--tasks", "--include_path", "--output_path"):
    parser.add_argument(name, required=True)
for name in ("--batch_size", "--seed", "--num_fewshot", "--limit", "--gen_kwargs"):
    parser.add_argument(name)
for name in ("--log_samples", "--apply_chat_template"):
    parser.add_argument(name, action="store_true")
arguments = parser.parse_args()

with Path(os.environ["FAKE_LM_EVAL_LOG"]).open("a", encoding="utf-8") as log:
    names = (
        *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"),
        *("HF_HUB_CACHE", "HF_DATASETS_CACHE", "NLTK_DATA"),
    )
    seen = {name: os.environ[name] for name in names if name in os.environ}
    log.write(json.dumps({**vars(arguments), "environment": seen}) + "\n")
if "FAKE_LM_EVAL_ASKS" in os.environ:
    base_url = json.loads(arguments.model_args)["base_url"].removesuffix("/chat/completions")
    urlopen(f"{base_url}/models", timeout=20).close()
runs = len(Path(os.environ["FAKE_LM_EVAL_LOG"]).read_text(encoding="utf-8").splitlines())
if runs <= int(os.environ.get("FAKE_LM_EVAL_FAILS", "0")):
    sys.exit("Traceback (most recent call last):\naiohttp.client_exceptions.ClientConnectorError: gone")
sys.stderr.write("Requesting API: 50%|#| 2/4 [00:01<00:01, 1it/s]\n")

task = arguments.tasks
folder = Path(arguments.output_path) / "model"
folder.mkdir(parents=True)
if task == "unknown_task":
    sys.exit("ValueError: Tasks not found: unknown_task")
if task == "written":
    metrics = {
        "alias": task,
        "exact_match,strict": 0.25,
        "exact_match,loose": 0.5,
        "exact_match_stderr,loose": 0.1,
    }
    right = {"strict": (1, 0, 0, 0), "loose": (1, 1, 0, 0)}
    samples = [
        {"doc_id": n, "doc": {}, "doc_hash": f"h{n}", "filter": name, "exact_match": value, "text": "\u2028"}
        for name, values in right.items()
        for n, value in enumerate(values)
    ]
elif task == "partial":
    metrics = {"alias": task, "f1,none": 0.5, "f1_stderr,none": 0.1}
    samples = [
        {"doc_id": n, "doc": {}, "doc_hash": f"h{n}", "filter": "none", "f1": value}
        for n, value in enumerate((0.25, 0.75, 0.5))
    ]
elif task == "graded":
    metrics = {"alias": "graded", "score,flexible": 0.25, "score_stderr,flexible": "N/A", "other,none": 0.5}
    samples = [{"doc_id": 0, "doc": {}, "doc_hash": "h", "filter": "flexible", "score": 0.5}]
else:
    lines = (Path(arguments.include_path) / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
    docs = [json.loads(line) for line in lines]
    samples = [
        {"doc_id": n, "doc": doc, "doc_hash": str(n), "filter": "none", "acc": float(doc["answer"] == 0)}
        for n, doc in enumerate(docs)
    ]
    share = sum(sample["acc"] for sample in samples) / len(samples)
    metrics = {"alias": task, "acc,none": share, "acc_stderr,none": 0.1}
asked = len({sample["doc_hash"] for sample in samples})
count = {"original": asked, "effective": asked}
results = {"results": {task: metrics}, "n-samples": {task: count}, "versions": {task: 2.0}}
(folder / "results_2026-01-01.json").write_text(json.dumps(results), encoding="utf-8")
(folder / f"samples_{task}_2026-01-01.jsonl").write_text(
    "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples), encoding="utf-8"
)
