"""Gradients of all weights of a model, compared with anchor sets without keeping any of them.

For a linear map with inputs a and output gradients b, a row's gradient G is the sum over tokens of b times a.
Its dot product with an anchor's gradient and its length come either from G itself, made for a few rows at a
time, or from a and b alone: <G, V> = sum of (b V) * a, |G|^2 = sum of (a a') * (b b') (Goodfellow, arXiv
1510.01799; Li et al., arXiv 2110.05679). The cheaper way is taken. Embeddings and norms have their own.

Shapes: B rows, T tokens, I inputs and O outputs of a linear map, D hidden size, K anchor sets.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch.func import functional_call, grad, vmap

from safety_records.screening import GradientOptions
from safety_worker.errors import InputError
from safety_worker.screening.encoding import Encoded
from safety_worker.screening.loss import Hook, differentiate, head_of, response_loss
from safety_worker.screening.model import Screener

Tensor = Any

MADE_VALUES = 32 * 1024 * 1024
"""Values of G that are made at a time, over all rows."""
READ_COST = {"cpu": 8, "cuda": 256}
"""Reading or writing a value, in multiply-adds of a matrix product: what makes G dear on a GPU."""


class FullGradient:
    """Gradients of all weights.

    Parameters
    ----------
    screener
        The model.
    sets
        Examples of each anchor set.
    options
        Tokens that count.

    Raises
    ------
    InputError
        If the model has weights in modules whose gradient cannot be taken per row.
    """

    def __init__(
        self, screener: Screener, sets: Sequence[Sequence[Encoded]], options: GradientOptions
    ) -> None:
        self._screener = screener
        self._tokens = options.tokens
        self._modules = find_modules(screener)
        # Copies without hooks: the backward pass calls small modules once more to differentiate them.
        self._copies = {m: copy.deepcopy(m) for m in self._modules if is_small(m)}
        self._embedding = screener.model.get_input_embeddings()
        self._head = head_of(screener)
        self._tied = self._head.weight is self._embedding.weight
        self._anchors = anchor_gradients(screener, sets, options.tokens)
        self._read_cost = READ_COST[screener.device]
        self._of_head: tuple[Tensor, Tensor] | None = None

    def cosines(self, rows: Sequence[Encoded]) -> Tensor:
        """Cosine of each row's gradient to each anchor set, float32 (B, K)."""
        count = len(next(iter(self._anchors.values())))
        self._of_head = None  # of a batch that did not fit
        self._dots_BK = torch.zeros(len(rows), count, device=self._screener.device)
        self._squares_B = torch.zeros(len(rows), device=self._screener.device)
        hooks = ((module, self._watch()) for module in self._modules)
        differentiate(self._screener, rows, self._tokens, hooks)
        self._of_head = None
        return self._dots_BK / self._squares_B.sqrt()[:, None]

    def _watch(self) -> Hook:
        calls = 0

        def forward(module: Any, args: Any, output: Tensor) -> None:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise _unsupported(f"{type(module).__name__} is used more than once")
            inputs = args[0].detach()
            output.register_hook(lambda gradient: self._add(module, inputs, gradient))

        return forward

    def _add(self, module: Any, inputs: Tensor, gradient: Tensor) -> None:
        """Take what a module's weights contribute."""
        if module is self._embedding:
            self._add_embedding(inputs, gradient)
        elif isinstance(module, torch.nn.Linear):
            self._add_linear(module, inputs, gradient)
        else:
            self._add_small(module, inputs, gradient)

    def _add_linear(self, module: Any, a_BTI: Tensor, b_BTO: Tensor) -> None:
        if module is self._head and self._tied:
            self._of_head = (a_BTI, b_BTO)
        if module.bias is not None:
            self._add_values(module.bias, b_BTO.sum(dim=1), slice(None))
        anchors_KOI = self._anchors[module.weight]
        count, outputs, inputs = anchors_KOI.shape
        tokens = a_BTI.shape[1]
        from_both = count * tokens + tokens * tokens * (outputs + inputs) / (outputs * inputs)
        if from_both < tokens + self._read_cost * (count + 2):
            for number, anchor_OI in enumerate(anchors_KOI):
                self._dots_BK[:, number] += _sum_of_products(b_BTO @ anchor_OI, a_BTI)
            self._squares_B += _sum_of_products(a_BTI @ a_BTI.mT, b_BTO @ b_BTO.mT)
            return
        step = max(1, MADE_VALUES // (outputs * inputs))
        for start in range(0, len(a_BTI), step):
            rows = slice(start, start + step)
            self._add_values(module.weight, b_BTO[rows].mT @ a_BTI[rows], rows)

    def _add_embedding(self, ids_BT: Tensor, b_BTD: Tensor) -> None:
        padding = self._embedding.padding_idx
        if padding is not None:  # torch gives this word no gradient
            b_BTD = b_BTD * (ids_BT != padding)[:, :, None]
        for number, anchor_VD in enumerate(self._anchors[self._embedding.weight]):
            self._dots_BK[:, number] += _sum_of_products(anchor_VD[ids_BT], b_BTD)
        same = ids_BT[:, :, None] == ids_BT[:, None, :]
        self._squares_B += _sum_of_products(b_BTD @ b_BTD.mT, same)
        if self._tied:  # one weight with two gradients: |G + H|^2 = |G|^2 + |H|^2 + 2 <G, H>
            assert self._of_head is not None
            a_BND, b_BNV = self._of_head
            words_BNT = b_BNV.gather(2, ids_BT[:, None, :].expand(-1, b_BNV.shape[1], -1))
            self._squares_B += 2 * _sum_of_products(words_BNT, a_BND @ b_BTD.mT)

    def _add_small(self, module: Any, inputs: Tensor, gradient: Tensor) -> None:
        """Take what a norm, or anything else with few weights, contributes, by differentiating it alone."""
        weights = dict(module.named_parameters(recurse=False))
        own = self._copies[module]

        def product(values: dict[str, Tensor], one: Tensor, its_gradient: Tensor) -> Tensor:
            return (functional_call(own, values, (one,)) * its_gradient).sum()

        made = vmap(grad(product), in_dims=(None, 0, 0))(
            {name: weight.detach() for name, weight in weights.items()}, inputs, gradient
        )
        for name, values in made.items():
            self._add_values(weights[name], values, slice(None))

    def _add_values(self, weight: Any, values: Tensor, rows: slice) -> None:
        """Take the contribution of gradients that are there, (B, ...)."""
        flat = values.flatten(1)
        self._dots_BK[rows] += (flat @ self._anchors[weight].flatten(1).T).float()
        self._squares_B[rows] += torch.linalg.vector_norm(flat, dim=1, dtype=torch.float32).square()


def _sum_of_products(one: Tensor, other: Tensor) -> Tensor:
    """Per row: the sum over all but the first dimension, added up in float32."""
    return (one.float() * other).flatten(1).sum(dim=1)


def is_small(module: Any) -> bool:
    """Whether a module has few weights of its own: no matrix."""
    return all(weight.dim() <= 1 for weight in module.parameters(recurse=False))


def find_modules(screener: Screener) -> list[Any]:
    """Modules with weights of their own, each of a kind whose gradient can be taken per row."""
    found, seen = [], set()
    embedding, head = screener.model.get_input_embeddings(), head_of(screener)
    for name, module in screener.model.named_modules():
        weights = dict(module.named_parameters(recurse=False))
        if not weights:
            continue
        known = type(module) is torch.nn.Linear or (
            module is embedding and type(module) is torch.nn.Embedding and module.max_norm is None
        )
        if not known and not is_small(module):
            raise _unsupported(f"{name} is a {type(module).__name__}")
        for weight in weights.values():
            if weight in seen and module is not head:
                raise _unsupported(f"{name} shares weights")
            seen.add(weight)
        found.append(module)
    return found


def _unsupported(why: str) -> InputError:
    return InputError(
        "UnsupportedModel",
        f"screening.gradient.parameters: full gradients are not known for this model: {why}; use lora",
    )


def anchor_gradients(screener: Screener, sets: Sequence[Sequence[Encoded]], tokens: int) -> dict[Any, Tensor]:
    """By weight: mean of unit gradients of each anchor set, of length 1 over all weights, (K, ...).

    Made one example at a time by plain differentiation, added up in float32 in main memory, and kept in the
    model's precision.
    """
    weights = list(dict.fromkeys(screener.model.parameters()))
    means = [_mean_gradient(screener, rows, weights, tokens) for rows in sets]
    return {
        weight: torch.stack([mean[number] for mean in means]).to(weight)
        for number, weight in enumerate(weights)
    }


def _mean_gradient(
    screener: Screener, rows: Sequence[Encoded], weights: Sequence[Any], tokens: int
) -> list[Tensor]:
    """Sum of unit gradients, of length 1."""
    total = [torch.zeros_like(weight, dtype=torch.float32, device="cpu") for weight in weights]
    screener.model.requires_grad_(requires_grad=True)
    try:
        for row in rows:
            with torch.enable_grad():
                loss = response_loss(screener, [row], tokens).sum()
            made = torch.autograd.grad(loss, weights, materialize_grads=True)
            length = _length(made)
            for mine, gradient in zip(total, made, strict=True):
                mine.add_((gradient.float() / length).cpu())
    finally:
        screener.model.requires_grad_(requires_grad=False)
    length = _length(total)
    return [item / length for item in total]


def _length(parts: Sequence[Tensor]) -> Tensor:
    """Length of a vector that comes in parts."""
    return torch.stack([part.float().square().sum() for part in parts]).sum().sqrt()
