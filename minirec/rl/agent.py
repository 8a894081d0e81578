"""A trained policy as something that plays: the same interface as the untrained controls."""

from __future__ import annotations

import numpy as np
import torch

from minirec._io import BoolArray, IntArray
from minirec.rl.policy import RecPolicy
from minirec.rl.rollout import windows
from minirec.world.batched import Obs


class PolicyAgent:
    """Recommend the likeliest allowed item, reading each reward as it comes.

    Args:
        policy: The trained network.
        name: Its name in tables.
    """

    def __init__(self, policy: RecPolicy, name: str) -> None:
        self.policy, self.name = policy, name

    @torch.no_grad()
    def start(self, obs: Obs, users: IntArray) -> None:
        """Read the first observation of B users; ``users`` (B,) is not looked at."""
        self.table = self.policy.table()
        self.state = self.policy.start(self.table, *windows(obs, self.policy.features.device))
        self.turn = obs["turn"]

    @torch.no_grad()
    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Return one item a row, shape (B,); ``mask`` (B, N) says which are allowed."""
        moved = torch.from_numpy(obs["turn"] > self.turn).to(self.state.device)
        items, rewards = windows(obs, self.state.device)
        newest = torch.where(moved, items[:, -1], self.policy.n_items)
        self.state = self.policy.step(self.table, self.state, newest, rewards[:, -1])
        self.turn = obs["turn"]
        allowed = torch.from_numpy(np.array(mask)).to(self.state.device)
        return self.policy.act(self.table, self.state, allowed)[0].argmax(1).cpu().numpy()
