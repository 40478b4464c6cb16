"""Gradients of LoRA adapters, projected at random (arXiv 2404.01099 after LESS, arXiv 2402.04333).

At the start of training an adapter's second factor is zero: the model is the base model, the gradient of the
first factor is zero, and that of the second is the linear map's output gradient times the input behind the
first factor. So no adapter is put in; its gradient is made from what comes by. The factor alpha / rank is
the same for all and does not change a cosine.

Shapes: B rows, T tokens, I inputs and O outputs of a linear map, R rank, P its number of values O * R,
K dimensions of the projection, S anchor sets.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from safety_records.screening import GradientOptions
from safety_worker.errors import InputError
from safety_worker.screening.encoding import Encoded
from safety_worker.screening.loss import Hook, differentiate, in_gradient_batches
from safety_worker.screening.model import Screener
from safety_worker.screening.projection import SignProjection

Tensor = Any

NOT_PROJECTION = 1 << 32
"""Added to the seed of the adapters' first factors, so that they share no numbers with the projection."""


class LoraGradient:
    """Projected gradients of adapters on some linear maps.

    Parameters
    ----------
    screener
        The model.
    sets
        Examples of each anchor set.
    options
        Rank, modules, dimensions, seed.

    Raises
    ------
    InputError
        If no linear map has one of the names.
    """

    def __init__(
        self, screener: Screener, sets: Sequence[Sequence[Encoded]], options: GradientOptions
    ) -> None:
        self._screener = screener
        self._tokens = options.tokens
        self._maps = find_maps(screener.model, options.target_modules)
        self._first = [
            first_factor(options.rank, module.in_features, options.seed, number).to(module.weight)
            for number, module in enumerate(self._maps)
        ]
        sizes = [module.out_features * options.rank for module in self._maps]
        self._projection = SignProjection(sizes, options.projection, options.seed, screener.device)
        means_SK = torch.stack([self._mean(rows) for rows in sets])
        self._anchors_SK = torch.nn.functional.normalize(means_SK, dim=1)

    def cosines(self, rows: Sequence[Encoded]) -> Tensor:
        """Cosine of each row's projected gradient to each anchor set, float32 (B, S)."""
        return self.project(rows) @ self._anchors_SK.T

    def project(self, rows: Sequence[Encoded]) -> Tensor:
        """Projected gradients of length 1, float32 (B, K)."""
        total_BK = torch.zeros(len(rows), self._projection.dimensions, device=self._screener.device)
        hooks = ((module, self._watch(number, total_BK)) for number, module in enumerate(self._maps))
        differentiate(self._screener, rows, self._tokens, hooks)
        return torch.nn.functional.normalize(total_BK, dim=1)

    def _mean(self, rows: Sequence[Encoded]) -> Tensor:
        """Mean of the examples' gradients (K,). In batches: unpacking the signs costs as much for one row."""
        made = in_gradient_batches(self._screener, rows, self._tokens, self.project)
        return torch.cat([projected for _, projected in made]).mean(dim=0)

    def _watch(self, number: int, total_BK: Tensor) -> Hook:
        def forward(_module: Any, args: Any, output: Tensor) -> None:
            inputs_BTR = args[0].detach() @ self._first[number].T

            def backward(gradient_BTO: Tensor) -> None:
                values_BOR = gradient_BTO.transpose(1, 2) @ inputs_BTR
                total_BK.add_(self._projection.project(number, values_BOR.flatten(1)))

            output.register_hook(backward)

        return forward


def find_maps(model: Any, names: Sequence[str]) -> list[Any]:
    """Linear maps whose last name is one of those given."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    found = [module for name, module in linear.items() if name.rpartition(".")[2] in names]
    if not found:
        there = ", ".join(sorted({name.rpartition(".")[2] for name in linear})) or "none"
        raise InputError(
            "NoTargetModules",
            f"screening.gradient.targetModules: the model has none of {', '.join(names)}; it has {there}",
        )
    return found


def first_factor(rank: int, inputs: int, seed: int, number: int) -> Tensor:
    """A as PEFT draws it: uniform in +-1 / sqrt(inputs), (R, I). The same on every machine."""
    words = np.random.Philox(key=[seed + NOT_PROJECTION, number]).random_raw(rank * inputs)
    values = ((words >> np.uint64(11)) * 2.0**-53 * 2 - 1) / np.sqrt(inputs)
    return torch.from_numpy(values.reshape(rank, inputs)).float()
