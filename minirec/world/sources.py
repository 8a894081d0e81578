"""Where rewards come from: one interface for the truth, a stored matrix and fitted models."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from minirec._io import FloatArray, IntArray, UserError
from minirec.data.smallworld import Truth

CHUNK = 256  # users whose reward rows are computed at once


class RewardSource(Protocol):
    """What pays an environment: a rating in 1..5 for any user and item.

    Nothing may require all U x N rewards at once. Built in chapter 3.
    """

    @property
    def n_users(self) -> int:
        """Number of users U."""

    @property
    def n_items(self) -> int:
        """Number of items N."""

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return float32 rewards in rating points for pairs, users (B,) and items (B,) -> (B,)."""

    def item_vectors(self) -> FloatArray:
        """Return float32 vectors (N, d), between which quit rules measure distance."""


def reward_rows(source: RewardSource, users: IntArray) -> FloatArray:
    """Return the rewards of all items for some users.

    Args:
        source: Pays the rewards.
        users: Shape (B,); for a large catalogue ask for a few hundred at a time.

    Returns:
        Shape (B, N), float32, rating points.
    """
    quicker = getattr(source, "reward_rows", None)  # the world model has a faster way
    if quicker is not None:
        return np.asarray(quicker(users), np.float32)
    pairs = np.repeat(users, source.n_items), np.tile(np.arange(source.n_items), len(users))
    return source.rewards(*pairs).reshape(len(users), source.n_items)


def all_rewards(source: RewardSource, users: IntArray) -> FloatArray:
    """Return :func:`reward_rows` of any number of users (B,), asked for in chunks: (B, N)."""
    chunks = np.array_split(users, -(-len(users) // CHUNK) or 1)
    return np.concatenate([reward_rows(source, chunk) for chunk in chunks])


class TruthSource:
    """The truth of the small world as a reward source.

    Args:
        truth: A small world, or the truth in it.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.n_users, self.n_items = len(truth.user_offset), len(truth.quality)

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return true ratings of pairs, users (B,) and items (B,) -> (B,)."""
        return self.truth.ratings(users, items).astype(np.float32)

    def item_vectors(self) -> FloatArray:
        """Return the true item factors, (N, 5)."""
        return self.truth.item_factors.astype(np.float32)


class MatrixSource:
    """Rewards stored as a matrix.

    Args:
        matrix: Shape (U, N), rating points; may be memory-mapped (``np.load(..., mmap_mode="r")``).
        vectors: Item vectors, shape (N, d).

    Raises:
        UserError: If the two do not have the same number of items.
    """

    def __init__(self, matrix: FloatArray, vectors: FloatArray) -> None:
        self.matrix, self.vectors = matrix, vectors
        self.n_users, self.n_items = matrix.shape
        if len(vectors) != self.n_items:
            found = f"the reward matrix has {self.n_items} items but there are {len(vectors)}"
            raise UserError(f"{found} item vectors; give one vector for each column")

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return stored rewards of pairs, users (B,) and items (B,) -> (B,)."""
        return np.asarray(self.matrix[users, items], np.float32)

    def item_vectors(self) -> FloatArray:
        """Return the item vectors, (N, d)."""
        return np.asarray(self.vectors, np.float32)
