"""A replay that mixes what was played with weighted demonstrations, drawn by priority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.world.trajectory import Trajectory


@dataclass(frozen=True)
class Steps:
    """M steps, each with all that was seen before it.

    Attributes:
        users: Shape (M,).
        items: The last K items before the step, shape (M, K), right-aligned, padded in front.
        rewards: Their rewards in rating points, shape (M, K), 0 where padded.
        acts: Recommended items, shape (M,).
        paid: What each paid in rating points, shape (M,).
        done: Whether the episode ended with the step, for whatever reason, shape (M,).
    """

    users: IntArray
    items: IntArray
    rewards: FloatArray
    acts: IntArray
    paid: FloatArray
    done: BoolArray

    def __len__(self) -> int:
        """Return M."""
        return len(self.acts)

    @classmethod
    def joined(cls, parts: Sequence[Steps]) -> Steps:
        """Return all steps of ``parts`` in order."""
        columns = ([getattr(part, f.name) for part in parts] for f in fields(cls))
        return cls(*map(np.concatenate, columns))

    @classmethod
    def of(cls, trajectory: Trajectory, window: int) -> Steps:
        """Return the T steps of an episode; its last one ends it, quit or not."""
        size, obs = len(trajectory), trajectory.obs
        return cls(
            np.full(size, trajectory.user), obs["items"][:-1, -window:],
            np.asarray(obs["rewards"][:-1, -window:], np.float32), trajectory.acts,
            np.asarray(trajectory.rews, np.float32), np.arange(size) == size - 1,
        )  # fmt: skip

    def following(self) -> tuple[IntArray, FloatArray]:
        """Return the windows after the steps, items and rewards, both (M, K)."""
        items = np.concatenate([self.items[:, 1:], self.acts[:, None]], 1)
        return items, np.concatenate([self.rewards[:, 1:], self.paid[:, None]], 1)


class MixedReplay:
    """Every step that was played, and every demonstrated one, in one numbering.

    Rows below ``n_demos`` are demonstrations, each with a weight that is 1 until it is changed; all
    others were played and weigh ``scale``. Nothing is ever forgotten.

    Args:
        demos: The demonstrated steps, at least one.
        scale: What a played step weighs.

    Source:
        The released code of IL-Rec (arXiv 2510.13229): its "global priority" draws, here by
        cumulative sums. Built in chapter 12.
    """

    def __init__(self, demos: Steps, scale: float) -> None:
        self.n_demos, self.scale, self.count = len(demos), scale, len(demos)
        self.held = {f.name: np.array(getattr(demos, f.name)) for f in fields(Steps)}
        self.weights = np.ones(self.n_demos)

    @property
    def n_played(self) -> int:
        """How many steps were played."""
        return self.count - self.n_demos

    @property
    def demo_share(self) -> float:
        """The chance that the first step of a draw is a demonstrated one."""
        demos = float(self.weights.sum())
        return demos / (demos + self.scale * self.n_played)

    def append(self, steps: Steps) -> None:
        """Add steps that were played; the room for them doubles when it runs out."""
        end = self.count + len(steps)
        room = len(self.held["acts"])
        for name, column in self.held.items():
            if end > room:
                column = np.resize(column, (max(2 * room, end), *column.shape[1:]))
                self.held[name] = column
            column[self.count : end] = getattr(steps, name)
        self.count = end

    def draw(self, n: int, generator: np.random.Generator) -> IntArray:
        """Draw ``n`` different rows, or all if there are fewer, one after the other.

        Before each, the demonstrations that are left have the mass of their weights and the played
        steps that are left have ``scale`` each. The source is drawn by mass; then a demonstration
        by weight or a played step uniformly.

        Returns:
            Rows, shape (n,), in the order in which they were drawn.
        """
        left, played = self.weights.copy(), set[int]()
        rows = np.empty(min(n, self.count), np.int64)
        for i in range(len(rows)):
            mass = left.cumsum()
            total = mass[-1] + self.scale * (self.n_played - len(played))
            point = (1 - generator.random()) * total  # in (0, total]: no row of weight 0 is hit
            if point <= mass[-1]:
                rows[i] = mass.searchsorted(point)
                left[rows[i]] = 0
                continue
            row = int(generator.integers(self.n_demos, self.count))
            while row in played:
                row = int(generator.integers(self.n_demos, self.count))
            played.add(row)
            rows[i] = row
        return rows

    def take(self, rows: IntArray) -> Steps:
        """Return the steps in ``rows`` (M,)."""
        return Steps(**{name: column[rows] for name, column in self.held.items()})

    def weights_of(self, rows: IntArray) -> FloatArray:
        """Return what each of ``rows`` (M,) counts in a loss: its weight, 1 if it was played."""
        return np.where(rows < self.n_demos, self.weights[np.minimum(rows, self.n_demos - 1)], 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return what was played, and the weights, as tensors."""
        played = slice(self.n_demos, self.count)
        parts = {name: torch.tensor(column[played]) for name, column in self.held.items()}
        return {"played": parts, "weights": torch.tensor(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what :meth:`state_dict` returned beside the same demonstrations."""
        self.count = self.n_demos
        self.append(Steps(**{name: part.numpy() for name, part in state["played"].items()}))
        self.weights = state["weights"].numpy().copy()
