"""The log: who rated what, when. Chapter: 02-data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray, UserError
from minirec.data.catalogue import Catalogue
from minirec.data.frames import ids, numbers, optional, refuse

if TYPE_CHECKING:
    import pandas as pd

Scale = tuple[float, float]
SCALES = ((0.0, 1.0), (1.0, 5.0), (0.5, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0))
"""The usual rating scales (lowest, highest), narrow before wide."""


@dataclass(frozen=True)
class Interactions:
    """M ratings, one for a pair of user and item, sorted by user and then by time.

    Rows of one user that share a time, or have none, keep the order of their source.

    Attributes:
        users: User numbers 0..U-1, ascending, shape (M,).
        items: Item numbers 0..N-1, shape (M,).
        ratings: Ratings in rating points, 1..5, shape (M,) float32.
        times: When, in the unit of the source (seconds, or a position), shape (M,); None if
            nobody knows.
        user_ids: The ids of the source, U of them; a user may have no rows.
        n_items: The number N of items in the catalogue.
        merged: Rows that fell away because their user had rated the item in another row.
        unrated: Rows that fell away because their rating was blank.
        rating_map: How the ratings of the source became 1..5, in words.
        time_from: Where the times came from or why there are none, in words.
    """

    users: IntArray
    items: IntArray
    ratings: FloatArray
    times: FloatArray | None
    user_ids: tuple[str, ...]
    n_items: int
    merged: int = 0
    unrated: int = 0
    rating_map: str = "1..5 kept"
    time_from: str = "as given"

    def __post_init__(self) -> None:
        if np.any(np.diff(self.users) < 0):
            raise ValueError("the rows of Interactions must be sorted by user")

    @property
    def n_users(self) -> int:
        """The number U of users."""
        return len(self.user_ids)

    @cached_property
    def offsets(self) -> IntArray:
        """Where each user's rows start: user u owns offsets[u]:offsets[u + 1], shape (U + 1,)."""
        return np.searchsorted(self.users, np.arange(self.n_users + 1))

    def of(self, user: int) -> tuple[IntArray, FloatArray]:
        """Return one user's items and ratings, each of shape (n,), oldest first."""
        rows = slice(self.offsets[user], self.offsets[user + 1])
        return self.items[rows], self.ratings[rows]

    def subset(self, mask: BoolArray) -> Interactions:
        """Return the rows where ``mask`` (M,) is true; users keep their numbers."""
        times = None if self.times is None else self.times[mask]
        users, items, ratings = self.users[mask], self.items[mask], self.ratings[mask]
        return replace(self, users=users, items=items, ratings=ratings, times=times)

    def k_core(self, k: int) -> tuple[Interactions, IntArray]:
        """Drop users and items with fewer than ``k`` rows until none is left to drop.

        What remains is the largest log in which everyone has ``k`` rows; the order of dropping
        does not matter. ``k = 0`` drops nothing, ``k = 1`` what has no rows at all.

        Source: Seidman, *Network structure and minimum degree*, Social Networks 5, 1983.

        Args:
            k: Fewest rows of a user and of an item.

        Returns:
            The log with users and items numbered anew, and the old numbers of its items, (n,).

        Raises:
            UserError: If nothing is left.
        """
        rows = np.ones(len(self.users), dtype=bool)
        before = len(rows) + 1
        while rows.sum() < before:
            before = rows.sum()
            users = np.bincount(self.users[rows], minlength=self.n_users) >= k
            items = np.bincount(self.items[rows], minlength=self.n_items) >= k
            rows &= users[self.users] & items[self.items]
        if not rows.any():
            raise UserError(f"k_core={k} leaves nothing of {len(rows)} rows; choose a smaller one")
        log, kept = self.subset(rows), np.flatnonzero(items)
        new_users, new_items = np.cumsum(users)[log.users] - 1, np.cumsum(items)[log.items] - 1
        user_ids = tuple(self.user_ids[user] for user in np.flatnonzero(users))
        log = replace(log, users=new_users, items=new_items, user_ids=user_ids, n_items=len(kept))
        return log, kept

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, catalogue: Catalogue, *, scale: Scale | None = None
    ) -> Interactions:
        """Read a table with one row an interaction.

        Rows with a blank rating are left out and counted. Of several rows of one user and item
        the last by time counts; where times tie or are missing, the mean of the ratings does.
        Users are numbered in the order in which they first appear. Where only some rows have a
        time, none is used.

        Args:
            frame: Columns ``user_id`` and ``item_id``; optionally ``rating`` (without it every
                row is a positive, that is 5) and ``timestamp``, or else ``position``.
            catalogue: The items; every item of the table must be there.
            scale: Lowest and highest possible rating, which become 1 and 5, the others linearly
                between; None takes the narrowest usual scale that holds all ratings.

        Raises:
            UserError: If a column is missing or misspelt, an id is blank or not in the catalogue,
                a rating or a time is not a number, a rating is off the scale, or no row is left.
        """
        import pandas as pd

        users, items = ids(frame, "user_id"), ids(frame, "item_id")
        rating = optional(frame, "rating")
        values = numbers(frame, rating) if rating else np.ones(len(frame))
        rated = ~np.isnan(values)
        if not rated.any():
            raise UserError("no row has a rating; fill some in, or remove the column")
        frame, values, users, items = frame[rated], values[rated], users[rated], items[rated]
        (low, high), rating_map = _scale(values, scale)
        if rating:
            why = f"is off the scale {low:g}..{high:g}; correct it, or name another scale"
            refuse(frame[rating], (values < low) | (values > high), why)
        item = pd.Index(catalogue.item_ids).get_indexer(pd.Index(items))
        refuse(items, item < 0, "has no row among the items; add the item or remove these rows")
        user, user_ids = pd.factorize(users)
        times, time_from = _times(frame)
        ratings, time = 1 + 4 * (values - low) / (high - low), 0.0 if times is None else times
        log = pd.DataFrame({"user": user, "item": item, "rating": ratings, "time": time})
        pair = ["user", "item"]
        log = log[log["time"] == log.groupby(pair)["time"].transform("max")]
        log = log.groupby(pair, sort=False, as_index=False).agg({"rating": "mean", "time": "first"})
        log = log.sort_values(["user", "time"])  # by two columns, which is stable
        return cls(
            log["user"].to_numpy(), log["item"].to_numpy(), log["rating"].to_numpy(np.float32),
            None if times is None else log["time"].to_numpy(), tuple(user_ids), catalogue.n_items,
            merged=len(frame) - len(log), unrated=int((~rated).sum()), rating_map=rating_map,
            time_from=time_from,
        )  # fmt: skip


def _scale(values: FloatArray, scale: Scale | None) -> tuple[Scale, str]:
    """Return the lowest and highest possible rating, and in words how they become 1 and 5."""
    if scale is None and np.all(values == 1):
        return (0.0, 1.0), "positives only -> 5"
    if scale is None:  # whole stars unless some are halved
        halves = np.any(values % 1 != 0) and np.all(values * 2 % 1 == 0)
        usual = [ends for ends in SCALES if not (halves and ends == (1.0, 5.0))]
        fits = (s for s in usual if s[0] <= values.min() and values.max() <= s[1])
        scale = next(fits, SCALES[-1])
    kept = scale == (1, 5)
    return scale, "1..5 kept" if kept else "{:g}..{:g} -> 1..5, linearly".format(*scale)


def _times(frame: pd.DataFrame) -> tuple[FloatArray | None, str]:
    """Return the time of each row, (M,), or None unless all have one; and which, in words."""
    name = optional(frame, "timestamp", "position")
    if name is None:
        return None, "no time"
    times = numbers(frame, name)
    blank = np.isnan(times).sum()
    if blank:
        return None, f"no time: {name} is blank in {blank} of {len(times)} rows"
    return times, name
