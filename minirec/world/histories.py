"""What is known of each user before an episode starts: the visible part of the log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.data.interactions import Interactions


@dataclass(frozen=True)
class Histories:
    """Logged items and ratings of every user, oldest first, as one flat table.

    Attributes:
        items: Item indices of all users one after the other, shape (M,).
        ratings: Their ratings in rating points, shape (M,).
        offsets: User ``u`` owns rows ``offsets[u]:offsets[u + 1]``, shape (U + 1,).
        n_items: Size of the catalogue; also the padding item.
    """

    items: IntArray
    ratings: FloatArray
    offsets: IntArray
    n_items: int

    @classmethod
    def from_log(cls, log: Interactions) -> Histories:
        """Take the rows of ``log`` as the users' histories."""
        return cls(log.items, log.ratings, log.offsets, log.n_items)

    @classmethod
    def empty(cls, n_users: int, n_items: int) -> Histories:
        """Know nothing of any user."""
        return cls(np.zeros(0, int), np.zeros(0), np.zeros(n_users + 1, int), n_items)

    def of(self, user: int) -> tuple[IntArray, FloatArray]:
        """Return one user's items and ratings, each of shape (n,), oldest first."""
        rows = slice(self.offsets[user], self.offsets[user + 1])
        return self.items[rows], self.ratings[rows]

    def window(self, users: IntArray, length: int) -> tuple[IntArray, FloatArray]:
        """Return the last ``length`` logged items and ratings of each user.

        Returns:
            Items (B, length), right-aligned, padded with ``n_items``; ratings (B, length) in
            rating points, 0 where padded.
        """
        rows = self.offsets[users + 1][:, None] + np.arange(-length, 0)
        known = rows >= self.offsets[users][:, None]
        items, ratings = np.full(rows.shape, self.n_items), np.zeros(rows.shape, np.float32)
        items[known], ratings[known] = self.items[rows[known]], self.ratings[rows[known]]
        return items, ratings

    def unseen(self, users: IntArray) -> BoolArray:
        """Return which items each user has not logged, shape (B, N)."""
        unseen = np.ones((len(users), self.n_items), bool)
        counts = self.offsets[users + 1] - self.offsets[users]
        owner = np.repeat(np.arange(len(users)), counts)
        rows = np.arange(len(owner)) + (self.offsets[users + 1] - counts.cumsum())[owner]
        unseen[owner, self.items[rows]] = False
        return unseen
