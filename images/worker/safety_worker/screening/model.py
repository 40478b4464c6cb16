"""The model that rows are screened with, and what all methods ask of it.

Shapes: B rows, T tokens, D hidden size.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from safety_records.blend_stages import ScreenStage
from safety_worker.devices import computed_precision
from safety_worker.errors import InputError
from safety_worker.screening.anchors import Anchor
from safety_worker.screening.candidates import Candidate
from safety_worker.screening.encoding import Encoded, batches_by_length, encode_rows
from safety_worker.screening.memory import run_batches
from safety_worker.screening.records import RowScore

Tensor = Any


class Screener(NamedTuple):
    """A model in evaluation mode, with frozen weights."""

    model: Any
    """A causal language model of transformers."""
    tokenizer: Any
    device: str
    max_tokens: int
    """Longer rows get no score."""
    batch_tokens: int
    """Tokens of a batch, padding included."""

    @property
    def decoder(self) -> Any:
        """The model without its head; has ``layers`` and ``norm``."""
        return self.model.get_decoder()

    def pad(self, rows: Sequence[Sequence[int]], side: str = "right") -> Tensor:
        """Rows of tokens (B, T), padded with 0.

        At the end no mask is needed: in a causal model no token sees what follows it.
        """
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_side=side).to(
            self.device
        )

    def release(self) -> None:
        """Give back what torch keeps of a GPU's memory."""
        if self.device == "cuda":
            torch.cuda.empty_cache()


def load_screener(spec: ScreenStage, folder: Path) -> Screener:
    """Load model and tokenizer.

    Raises
    ------
    InputError
        If the model has no chat template or no decoder layers.
    """
    device = "cuda" if spec.device == "gpu" else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if not tokenizer.chat_template:
        raise InputError("NoChatTemplate", "screening: the model has no chat template: use the chat model")
    dtype = torch.bfloat16 if computed_precision(spec.precision, spec.device) == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True).to(device)
    model.eval()
    model.requires_grad_(requires_grad=False)
    decoder = model.get_decoder()
    if not hasattr(decoder, "layers") or not hasattr(decoder, "norm"):
        raise InputError(
            "UnsupportedModel",
            f"screening: {type(model).__name__} has no decoder layers that could be told apart",
        )
    most = getattr(model.config, "max_position_embeddings", None) or spec.max_tokens
    return Screener(model, tokenizer, device, min(spec.max_tokens, most), spec.batch_tokens)


@contextmanager
def first_layers(screener: Screener, count: int) -> Iterator[None]:
    """Let the decoder end behind its first layers: its output is then the hidden state there.

    Behind the last layer the decoder's final norm belongs to the hidden state, as transformers counts them.
    """
    decoder = screener.decoder
    layers, norm = decoder.layers, decoder.norm
    if count < len(layers):
        decoder.layers, decoder.norm = layers[:count], torch.nn.Identity()
    try:
        yield
    finally:
        decoder.layers, decoder.norm = layers, norm


def last_states(screener: Screener, rows: Sequence[Encoded], layer: int | None = None) -> Tensor:
    """Hidden state of each row's last token, float32 (N, D), of length 1.

    Parameters
    ----------
    screener
        The model.
    rows
        Tokens of the rows, at least one each.
    layer
        The decoder layer, from 1, whose output is taken; None: the last.
    """
    lengths = [len(row.ids) for row in rows]
    order = batches_by_length(lengths, screener.batch_tokens)
    decoder = screener.decoder

    def forward(batch: list[int]) -> Tensor:
        ids = screener.pad([rows[n].ids for n in batch])
        ends = torch.tensor([lengths[n] - 1 for n in batch], device=screener.device)
        states = decoder(input_ids=ids, use_cache=False).last_hidden_state
        return states[torch.arange(len(batch), device=screener.device), ends].float()

    with torch.inference_mode(), first_layers(screener, layer or len(decoder.layers)):
        found = list(run_batches(order, lengths, forward, screener.release))
        places = torch.tensor([n for batch, _ in found for n in batch], device=screener.device)
        states_ND = torch.cat([states for _, states in found])[torch.argsort(places)]
        return torch.nn.functional.normalize(states_ND, dim=1)


def score_encoded(
    screener: Screener,
    rows: Sequence[Candidate],
    score: Callable[[Sequence[Encoded]], list[RowScore]],
    *,
    needs_response: bool,
) -> list[RowScore]:
    """Encode rows, set aside those that cannot be scored, and score the others.

    Parameters
    ----------
    screener
        The model.
    rows
        Any number.
    score
        Scores the rows that are left; ``tokens`` is filled in here.
    needs_response
        Whether a row without response tokens cannot be scored.
    """
    encoded = encode_rows(screener.tokenizer, rows, with_start=needs_response)
    problems = [_problem(row, screener.max_tokens, needs_response=needs_response) for row in encoded]
    good = [n for n, problem in enumerate(problems) if not problem]
    scores = dict(zip(good, score([encoded[n] for n in good]), strict=True)) if good else {}
    return [
        _checked(scores.get(n, RowScore(None, missing=problem)))._replace(tokens=len(row.ids))
        for n, (row, problem) in enumerate(zip(encoded, problems, strict=True))
    ]


def _problem(row: Encoded, max_tokens: int, *, needs_response: bool) -> str:
    if len(row.ids) > max_tokens:
        return "too-long"
    if not row.ids:
        return "refused-by-template"
    if needs_response and not 0 < row.start < len(row.ids):
        return "no-response"
    return ""


def _checked(scored: RowScore) -> RowScore:
    """Without numbers that are none."""
    if scored.score is not None and not abs(scored.score) < float("inf"):
        return RowScore(None, missing="not-finite")
    return scored


def encode_anchors(screener: Screener, anchors: Sequence[Anchor], name: str) -> list[Encoded]:
    """Tokens of anchors.

    Raises
    ------
    InputError
        If one is too long, has no response tokens, or is refused by the chat template.
    """
    encoded = encode_rows(screener.tokenizer, anchors)
    for number, row in enumerate(encoded):
        problem = _problem(row, screener.max_tokens, needs_response=True)
        if problem:
            raise InputError(
                "UnusableAnchor", f"anchors {name}: example {number} is of no use: {problem} for this model"
            )
    return encoded
