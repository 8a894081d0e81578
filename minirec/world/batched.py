"""Many users at once: the environment that training and evaluation run on."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.world.histories import Histories
from minirec.world.rules import REASONS, QuitRules
from minirec.world.sources import Distances, RewardSource

Obs = dict[str, Any]
"""``items`` (B, K) padded with ``n_items``, ``rewards`` (B, K) in rating points, ``turn`` (B,)."""


class BatchedRecEnv:
    """The twin of :class:`minirec.world.env.RecEnv` for B users in lock-step, in NumPy.

    Rows are independent. A finished row stays as it is and earns 0 until :meth:`restart` gives it
    a new user. Built in chapter 4; equal to ``RecEnv`` step by step (tested).

    Args:
        source: Pays the rewards.
        rules: When users quit.
        histories: What is known of each user beforehand.
        K: History length: how many items and rewards an observation holds.
        history: ``"log"`` starts the window with the user's last logged items, ``"none"`` empty.
    """

    def __init__(
        self, source: RewardSource, rules: QuitRules, histories: Histories, *, K: int = 10,
        history: str = "log",
    ) -> None:  # fmt: skip
        self.source, self.rules, self.histories = source, rules, histories
        self.K, self.history, self.n_items = K, history, source.n_items
        self.distances = Distances(source) if rules.min_distance is not None else None

    def reset(self, users: IntArray) -> Obs:
        """Start one episode for each of ``users`` (B,) and return the first observation."""
        size = len(users)
        self.users = np.array(users)
        self.items = np.full((size, self.K), self.n_items)
        self.rewards = np.zeros((size, self.K), np.float32)
        self.turn = np.zeros(size, np.int64)
        self.recent = np.full((size, self.rules.window), -1)
        self.reason = np.zeros(size, np.int8)
        masked = self.rules.repeats == "masked"
        self.available = np.ones((size, self.n_items), bool) if masked else None
        return self.restart(np.ones(size, bool), self.users)

    def restart(self, where: BoolArray, users: IntArray) -> Obs:
        """Give each row in ``where`` (B,) a new episode with the next of ``users`` (B',)."""
        self.users[where] = users
        self.items[where], self.rewards[where] = self.opening(users)
        self.turn[where], self.recent[where], self.reason[where] = 0, -1, 0
        if self.available is not None:
            self.available[where] = self.histories.unseen(users)
        return self._obs()

    def opening(self, users: IntArray) -> tuple[IntArray, FloatArray]:
        """Return the items and rewards (B', K) that the first observations of ``users`` show."""
        if self.history == "log":
            return self.histories.window(users, self.K)
        shape = len(users), self.K
        return np.full(shape, self.n_items), np.zeros(shape, np.float32)

    def step(self, acts: IntArray) -> tuple[Obs, FloatArray, BoolArray, BoolArray]:
        """Recommend one item to each user.

        Args:
            acts: Items, shape (B,).

        Returns:
            The observation, rewards (B,) in rating points, and which rows ended in *this* step:
            terminated (B,), the user quit; truncated (B,), the turn limit was reached.
        """
        rules, rows, alive = self.rules, np.arange(len(acts)), self.alive
        rewards = np.where(alive, self.source.rewards(self.users, acts), 0).astype(np.float32)
        reason = np.zeros(len(acts), np.int8)
        if self.distances is not None and rules.window:
            reason[self._too_near(acts)] = REASONS.index("distance")
        low = rewards < rules.min_reward
        reason[low if rules.quit_at_first else low & (self.turn > 0)] = REASONS.index("low_reward")
        if self.available is not None:
            repeat = ~self.available[rows, acts]
            reason[repeat], rewards[repeat] = REASONS.index("repeat"), 0
            self.available[rows[alive], acts[alive]] = False
        terminated = alive & (reason > 0)
        self.turn = self.turn + alive
        truncated = alive & ~terminated & (self.turn >= rules.max_turns)
        reason[truncated] = REASONS.index("max_turn")
        self.reason = np.where(alive, reason, self.reason)
        told = rules.shown_quit_reward
        shown = rewards if told is None else np.where(terminated, np.float32(told), rewards)
        self.items = _push(self.items, acts, alive)
        self.rewards = _push(self.rewards, shown, alive)
        self.recent = _push(self.recent, acts, alive)
        return self._obs(), rewards, terminated, truncated

    @property
    def alive(self) -> BoolArray:
        """Which rows are still running, shape (B,)."""
        return np.asarray(self.reason == 0)

    @property
    def action_mask(self) -> BoolArray:
        """Which items may be recommended, shape (B, N)."""
        if self.available is None:
            return np.broadcast_to(True, (len(self.users), self.n_items))
        return self.available

    @property
    def reasons(self) -> Any:
        """Why each row ended, as text, shape (B,); ``running`` while it has not."""
        return np.array(REASONS)[self.reason]

    def _too_near(self, acts: IntArray) -> BoolArray:
        """Whether an item is nearer than ``min_distance`` to one in the quit window, (B,)."""
        assert self.distances is not None and self.rules.min_distance is not None
        near = self.distances.between(acts[:, None], self.recent) < self.rules.min_distance
        return np.asarray((near & (self.recent >= 0)).any(1))

    def _obs(self) -> Obs:
        """Copy what the policy may see, so that later steps do not change it."""
        return {name: getattr(self, name).copy() for name in ("items", "rewards", "turn")}


def _push(window: Any, new: Any, alive: BoolArray) -> Any:
    """Drop the oldest column and append ``new`` in the rows that are alive."""
    shifted = np.concatenate([window[:, 1:], new[:, None]], axis=1, dtype=window.dtype)
    return np.where(alive[:, None], shifted, window)
