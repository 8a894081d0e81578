"""A learned reward as a reward source: environments and controls can be paid by it."""

from __future__ import annotations

import numpy as np
import torch

from minirec._io import FloatArray, IntArray, UserError
from minirec.irl.rewards import RewardNet
from minirec.world.histories import Histories

SAMPLE = 256  # users over whom the learned reward's own mean and spread are taken


class LearnedSource:
    """What a learned reward makes of users as their logs show them, in rating points.

    Demonstrations fix neither the offset nor the scale of a reward, but a quit rule needs rating
    points. So mean and spread over users and items are borrowed from given ratings; the order of
    the items, and how far apart they are, is what was learned. Built in chapter 9.

    Args:
        net: The learned reward.
        histories: What is known of each user.
        ratings: Whose mean and spread to take, for example the log's, rating points, shape (M,).
        K: History length that the reward was learned with.

    Raises:
        UserError: If the reward knows another number of items, or tells nothing apart.
    """

    def __init__(
        self, net: RewardNet, histories: Histories, ratings: FloatArray, *, K: int = 10
    ) -> None:
        self.net, self.histories, self.K = net, histories, K
        self.n_users, self.n_items = len(histories.offsets) - 1, histories.n_items
        known = len(net.features) - 1
        if known != self.n_items:
            told = f"the learned reward knows {known} items but the histories {self.n_items}"
            raise UserError(f"{told}; learn it with this catalogue")
        self.offset, self.scale = 0.0, 1.0
        raw = self.reward_rows(np.arange(min(self.n_users, SAMPLE)))
        if not raw.std() > 1e-6:
            raise UserError("the learned reward is the same for all items; learn it for longer")
        self.scale = float(np.std(ratings) / raw.std())
        self.offset = float(np.mean(ratings) - self.scale * raw.mean())

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return learned rewards in rating points, users (B,) and items (B,) -> (B,)."""
        shown, paid = map(torch.from_numpy, self.histories.window(users, self.K))
        with torch.no_grad():
            found = self.net.reward(shown, paid, torch.from_numpy(np.asarray(items)))
        return self.offset + self.scale * found.numpy()

    def reward_rows(self, users: IntArray) -> FloatArray:
        """Return learned rewards of all items, users (B,) -> (B, N)."""
        items = np.arange(self.n_items)
        return np.stack([self.rewards(np.full(len(items), user), items) for user in users])

    def item_vectors(self) -> FloatArray:
        """Return the item features that the reward reads, (N, f)."""
        return np.asarray(self.net.features[:-1].numpy())
