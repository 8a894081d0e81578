"""Where rewards come from: one interface for the truth, a stored matrix and fitted models."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray, UserError
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


class Distances:
    """How far apart items are, for the quit rules. Built in chapter 4.

    Euclidean between the item vectors, unless the source brings distances of its own: an attribute
    ``distances``, shape (N, N), in any unit and perhaps not symmetric, whose row is the newer item.

    Args:
        source: The source whose items they are.
    """

    def __init__(self, source: RewardSource) -> None:
        self.matrix: FloatArray | None = getattr(source, "distances", None)
        self.vectors = source.item_vectors() if self.matrix is None else np.zeros(0)

    def between(self, items: IntArray, others: IntArray) -> FloatArray:
        """Return the distances of new items to others, two arrays of indices that broadcast."""
        if self.matrix is not None:
            return np.asarray(self.matrix[items, others])
        return np.asarray(np.linalg.norm(self.vectors[items] - self.vectors[others], axis=-1))

    def near(self, items: IntArray, limit: float) -> BoolArray:
        """Return which items are nearer than ``limit`` to each of ``items`` (B,), shape (B, N).

        In doubt they are: an item to itself, a pair of which one way is near, and distances that
        equal ``limit`` but for rounding. What is not near here never is in the environment.
        """
        if self.matrix is not None:
            near = np.minimum(self.matrix[items], self.matrix[:, items].T) < limit
        else:
            vectors = self.vectors.astype(np.float64)
            squares = (vectors**2).sum(1)
            sums = squares[items, None] + squares
            rounding = 1e-5 * limit**2 + 1e-14 * sums
            near = sums - 2 * vectors[items] @ vectors.T < limit**2 + rounding
        near[np.arange(len(items)), items] = True
        return np.asarray(near)


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


def check_source(source: RewardSource) -> None:
    """Ask a source of your own for some rewards, and say what is wrong with it.

    Raises:
        UserError: If a reward is not in 1..5, or another one when asked again; if a shape is wrong;
            or if a ``reward_rows`` of its own says something else than ``rewards``.
    """
    kind, n, some = type(source).__name__, source.n_items, np.arange(min(source.n_users, 4))
    users, items = np.repeat(some, n), np.tile(np.arange(n), len(some))
    paid, vectors = np.asarray(source.rewards(users, items)), np.asarray(source.item_vectors())
    if paid.shape != users.shape:
        raise UserError(f"{kind}.rewards returns {paid.shape} for {users.shape}; one number a pair")
    if not (paid.min() >= 1 and paid.max() <= 5):  # true of NaN as well
        raise UserError(f"{kind}.rewards pays {paid.min():g} to {paid.max():g}; map it to 1..5")
    if not np.allclose(paid, source.rewards(users[::-1], items[::-1])[::-1], atol=1e-4):
        raise UserError(f"{kind}.rewards changes when asked again; draw noise with hashed_noise")
    if vectors.ndim != 2 or len(vectors) != n or not np.isfinite(vectors).all():
        raise UserError(f"{kind}.item_vectors is {vectors.shape}; make it ({n}, d), without NaN")
    if not np.allclose(paid, reward_rows(source, some).ravel(), atol=1e-4):
        raise UserError(f"{kind}.reward_rows differs from rewards; mend it or leave it out")


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
        distances: Distances between items for the quit rules, shape (N, N); None takes those
            between the vectors.

    Raises:
        UserError: If they do not have the same number of items.
    """

    def __init__(
        self, matrix: FloatArray, vectors: FloatArray, distances: FloatArray | None = None
    ) -> None:
        self.matrix, self.vectors, self.distances = matrix, vectors, distances
        self.n_users, self.n_items = matrix.shape
        if distances is not None and distances.shape != (self.n_items, self.n_items):
            found = f"the rewards have shape {matrix.shape} but the distances {distances.shape}"
            raise UserError(f"{found}; they need a row and a column for each column of the rewards")
        if len(vectors) != self.n_items:
            found = f"the reward matrix has {self.n_items} items but there are {len(vectors)}"
            raise UserError(f"{found} item vectors; give one vector for each column")

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return stored rewards of pairs, users (B,) and items (B,) -> (B,)."""
        return np.asarray(self.matrix[users, items], np.float32)

    def item_vectors(self) -> FloatArray:
        """Return the item vectors, (N, d)."""
        return np.asarray(self.vectors, np.float32)
