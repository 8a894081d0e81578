"""A ring that remembers steps, for what learns from the same step again and again."""

from __future__ import annotations

import torch
from torch import Tensor


class Ring:
    """The last ``capacity`` steps, each a row of several named tensors.

    Args:
        capacity: Steps kept; the oldest are overwritten.
        device: Where tensors live.
        fields: Name -> a tensor (M, ...) like those to come; it is not kept.
    """

    def __init__(self, capacity: int, device: torch.device | str = "cpu", **fields: Tensor) -> None:
        self.capacity, self.count = capacity, 0
        self.fields = {
            name: torch.zeros((capacity, *like.shape[1:]), dtype=like.dtype, device=device)
            for name, like in fields.items()
        }

    def __len__(self) -> int:
        """Return how many steps are held."""
        return min(self.count, self.capacity)

    def add(self, **fields: Tensor) -> None:
        """Append M steps: each field (M, ...)."""
        some = next(iter(fields.values()))
        rows = (self.count + torch.arange(len(some), device=some.device)) % self.capacity
        for name, values in fields.items():
            self.fields[name][rows] = values
        self.count += len(some)

    def draw(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``size`` of the steps held, with replacement (``generator``: CPU)."""
        rows = torch.randint(len(self), (size,), generator=generator)
        return {name: held[rows.to(held.device)] for name, held in self.fields.items()}

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return the steps held."""
        held = {name: values[: len(self)].clone() for name, values in self.fields.items()}
        return {**held, "count": self.count}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Hold what :meth:`state_dict` returned."""
        self.count = int(state["count"])
        for name, values in self.fields.items():
            values[: len(self)] = state[name]
