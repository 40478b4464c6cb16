"""Find the layer that refusing depends on most, by scaling (arXiv 2507.18631 after arXiv 2408.17003).

The weights of one decoder layer's linear maps (attention and feed-forward) are multiplied by a factor, the
model answers prompts, and refusals are counted. The layer whose refusals grow most from factors below 1 to
their counterparts above 1 is taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from safety_worker.empty_answers import has_text
from safety_worker.errors import InputError
from safety_worker.judging.base import Pair
from safety_worker.judging.refusals import RefusalPhrases
from safety_worker.models.rendering import CostlyTemplateError, render_text
from safety_worker.screening.anchors import MAX_PROMPTS, Anchors
from safety_worker.screening.encoding import batches_by_length, costly_template
from safety_worker.screening.memory import run_batches
from safety_worker.screening.model import Screener
from safety_worker.screening.pool import Pool

PAIRS = ((0.7, 1.3), (0.8, 1.2), (0.9, 1.1))
"""Factors that are compared."""
NEW_TOKENS = 16
"""Tokens of an answer: a refusal comes first (the scaling study's own number)."""


def find_layer(screener: Screener, anchors: Anchors, pool: Pool) -> dict[str, Any]:
    """The layer, from 1, and the counts it was chosen by, as JSON values.

    Layers are looked at by all pods together.

    Raises
    ------
    InputError
        If scaling no layer up makes the model refuse more than scaling it down.
    """
    prompts = anchors.layer_prompts or [anchor.prompt for anchor in anchors.harmful[:MAX_PROMPTS]]
    layers = screener.decoder.layers
    names = [f"layer-{number:03d}.json" for number in range(len(layers))]
    pool.complete(names, lambda number: count_refusals(screener, layers[number], prompts))
    counts = [pool.read(name) for name in names]
    return {"layer": choose_layer(counts), "prompts": len(prompts), "refusals": counts}


def choose_layer(counts: Sequence[dict[str, int]]) -> int:
    """The layer, from 1, with the largest growth of refusals, the first of equals.

    Parameters
    ----------
    counts
        By layer: refusals by factor.
    """
    growth = [sum(count[str(up)] - count[str(down)] for down, up in PAIRS) for count in counts]
    if max(growth) <= 0:
        raise InputError(
            "NoSensitiveLayer",
            "screening: scaling no layer makes the model refuse more, so larf cannot find the layer by "
            "itself: name it in screening.layer, or give prompts that it sometimes refuses in "
            "screening.layerPrompts",
        )
    return growth.index(max(growth)) + 1


def count_refusals(screener: Screener, layer: Any, prompts: Sequence[str]) -> dict[str, int]:
    """By factor, as text: how many prompts the model refuses."""
    found = {}
    for factor in (factor for pair in PAIRS for factor in pair):
        with scaled(layer, factor):
            answers = answer(screener, prompts)
        pairs = [Pair(prompt, text) for prompt, text in zip(prompts, answers, strict=True) if has_text(text)]
        verdicts = RefusalPhrases().judge(pairs)
        found[str(factor)] = sum(verdict.refused is True for verdict in verdicts)
    return found


@contextmanager
def scaled(layer: Any, factor: float) -> Iterator[None]:
    """Multiply the weights of a layer's linear maps; they come back exactly as they were."""
    maps = [module for module in layer.modules() if isinstance(module, torch.nn.Linear)]
    kept = [module.weight.detach().clone() for module in maps]
    with torch.no_grad():
        for module in maps:
            module.weight.mul_(factor)
    try:
        yield
    finally:
        with torch.no_grad():
            for module, weight in zip(maps, kept, strict=True):
                module.weight.copy_(weight)


def answer(screener: Screener, prompts: Sequence[str]) -> list[str]:
    """Greedy beginnings of answers."""
    tokenizer, model = screener.tokenizer, screener.model
    try:
        texts = [render_text(tokenizer, [{"role": "user", "content": prompt}], True) for prompt in prompts]
    except CostlyTemplateError as error:
        raise costly_template(error) from error
    rows = [ids[-screener.max_tokens :] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    end = model.generation_config.eos_token_id
    end = tokenizer.eos_token_id if end is None else end
    options = GenerationConfig(
        do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=end, pad_token_id=tokenizer.pad_token_id or 0
    )
    lengths = [len(row) + NEW_TOKENS for row in rows]

    def generate(batch: list[int]) -> list[str]:
        ids = screener.pad([rows[n] for n in batch], side="left")
        mask = screener.pad([[1] * len(rows[n]) for n in batch], side="left")
        with torch.inference_mode():
            made = model.generate(input_ids=ids, attention_mask=mask, generation_config=options)
        return list(tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True))

    batches = batches_by_length(lengths, screener.batch_tokens)
    made = run_batches(batches, lengths, generate, screener.release)
    found = {place: text for batch, texts in made for place, text in zip(batch, texts, strict=True)}
    return [found[place] for place in range(len(rows))]
