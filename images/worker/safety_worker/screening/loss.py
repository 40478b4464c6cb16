"""The loss that gradients are taken of, for a batch, and the start of its graph.

Shapes: B rows, T tokens, N counted tokens, V words, D hidden size.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from safety_worker.errors import InputError
from safety_worker.screening.encoding import Encoded, batches_by_length
from safety_worker.screening.memory import run_batches
from safety_worker.screening.model import Screener

Tensor = Any

Hook = Callable[[Any, Any, Tensor], None]
"""A forward hook of torch: module, its arguments, its output."""

TOKENS_SHARE = 4
"""A batch has this part of the tokens that a forward pass alone takes: activations are kept for backward."""


def kept_length(row: Encoded, tokens: int) -> int:
    """Tokens that the loss of the first ``tokens`` response tokens depends on.

    The last counted token is predicted, not read; what follows has no influence in a causal model.
    """
    return min(row.start + tokens, len(row.ids)) - 1


def in_gradient_batches(
    screener: Screener, rows: Sequence[Encoded], tokens: int, work: Callable[[Sequence[Encoded]], Tensor]
) -> list[tuple[list[int], Tensor]]:
    """Results of rows whose gradients are taken together, and their positions; ``tokens`` of each count."""
    lengths = [kept_length(row, tokens) for row in rows]
    batches = batches_by_length(lengths, screener.batch_tokens // TOKENS_SHARE)

    def work_on(batch: list[int]) -> Tensor:
        return work([rows[n] for n in batch])

    return list(run_batches(batches, lengths, work_on, screener.release))


def response_loss(screener: Screener, rows: Sequence[Encoded], tokens: int) -> Tensor:
    """Mean negative log-likelihood of the first response tokens of each row, float32 (B,).

    Parameters
    ----------
    screener
        The model.
    rows
        Each with at least one token before and one in its response.
    tokens
        Response tokens that count, from the first; all where a response has fewer.
    """
    device = screener.device
    ids_BT = screener.pad([row.ids[: kept_length(row, tokens)] for row in rows])
    counts = [min(tokens, len(row.ids) - row.start) for row in rows]
    most = max(counts)
    places = [
        [row.start - 1 + min(n, count - 1) for n in range(most)]
        for row, count in zip(rows, counts, strict=True)
    ]
    wanted = [[row.ids[place + 1] for place in mine] for row, mine in zip(rows, places, strict=True)]
    weights = [[1 / count if n < count else 0.0 for n in range(most)] for count in counts]
    places_BN = torch.tensor(places, device=device)
    rows_B1 = torch.arange(len(rows), device=device)[:, None]
    # The head sees the positions that count only: (B, T, D) becomes (B, N, D).
    with head_of(screener).register_forward_pre_hook(lambda _, args: (args[0][rows_B1, places_BN],)):
        logits_BNV = screener.model(input_ids=ids_BT, use_cache=False).logits.float()
    words = torch.log_softmax(logits_BNV, dim=-1)
    likelihood_BN = words.gather(2, torch.tensor(wanted, device=device)[:, :, None])[:, :, 0]
    return -(likelihood_BN * torch.tensor(weights, device=device)).sum(dim=1)


def head_of(screener: Screener) -> Any:
    """The map from hidden states to words."""
    head = screener.model.get_output_embeddings()
    if head is None:
        raise InputError("UnsupportedModel", "screening: gradient needs a model with an output embedding")
    return head


def differentiate(
    screener: Screener, rows: Sequence[Encoded], tokens: int, hooks: Iterable[tuple[Any, Hook]]
) -> None:
    """Take the gradients of the rows' losses; ``hooks`` by module see them as they pass.

    The graph starts at the embedding's output, since no weight asks for a gradient.
    """

    def start(_module: Any, _args: Any, output: Tensor) -> Tensor:
        return output.detach().requires_grad_()

    with ExitStack() as stack, torch.enable_grad():
        embedding = screener.model.get_input_embeddings()
        stack.enter_context(embedding.register_forward_hook(start))
        for module, hook in hooks:
            stack.enter_context(module.register_forward_hook(hook))
        response_loss(screener, rows, tokens).sum().backward()
