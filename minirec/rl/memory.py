"""What was played and demonstrated, for the reward head to learn from again and again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RewardMemory:
    """A ring of (what was known of the user, item, reward).

    What was known is the regression in the state, which no weight of the policy enters: old
    entries are as good as new ones. Early entries are of many kinds of items, later ones only
    of those that the policy likes; a reward head that forgot the early ones would forget why the
    others were not worth recommending.

    Args:
        width: Numbers that tell what was known, f + 2.
        capacity: Entries kept; the oldest are overwritten.
        device: Where tensors live.
    """

    def __init__(self, width: int, capacity: int, device: torch.device | str = "cpu") -> None:
        self.known = torch.zeros(capacity, width, device=device)
        self.acts = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.rewards = torch.zeros(capacity, device=device)
        self.count = 0

    def add(self, known: Tensor, acts: Tensor, rewards: Tensor) -> None:
        """Append M entries: known (M, f + 2), acts (M,), rewards (M,) in rating points."""
        rows = (self.count + torch.arange(len(acts), device=acts.device)) % len(self.acts)
        self.known[rows], self.acts[rows], self.rewards[rows] = known, acts, rewards
        self.count += len(acts)

    def draw(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw ``size`` entries with replacement: known, acts and rewards."""
        held = min(self.count, len(self.acts))
        rows = torch.randint(held, (size,), generator=generator).to(self.acts.device)
        return self.known[rows], self.acts[rows], self.rewards[rows]

    def state_dict(self) -> dict[str, Any]:
        """Return the entries held."""
        held = min(self.count, len(self.acts))
        parts = {name: getattr(self, name)[:held].clone() for name in ("known", "acts", "rewards")}
        return {**parts, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what :meth:`state_dict` returned."""
        for name in ("known", "acts", "rewards"):
            getattr(self, name)[: len(state[name])] = state[name]
        self.count = state["count"]
