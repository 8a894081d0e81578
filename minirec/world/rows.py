"""What both models of the world learn from: rows with sampled negatives, features of items."""

from __future__ import annotations

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions

LOW, HIGH = 1.0, 5.0  # the ends of the rating scale: a sampled negative, a positive
TRIES = 4  # draws for one negative


def with_negatives(
    log: Interactions, rng: np.random.Generator
) -> tuple[IntArray, IntArray, FloatArray, BoolArray]:
    """Return the rows of a log; add one negative a row if every rating is the highest.

    A negative is an item drawn uniformly from those that the user has not logged, at most once. A
    user who has logged nearly everything gets fewer.

    Args:
        log: The log.
        rng: Draws the negatives.

    Returns:
        Users, items, ratings on 1..5 and whether the row is a sampled negative, each (M,) and
        sorted by user.
    """
    sampled = np.zeros(len(log.users), dtype=bool)
    if not len(log.users) or log.ratings.min() < HIGH:
        return log.users, log.items, log.ratings, sampled
    pairs = np.repeat(log.users, TRIES) * log.n_items
    pairs += rng.integers(log.n_items, size=len(pairs))
    fresh = np.zeros(len(pairs), dtype=bool)
    fresh[np.unique(pairs, return_index=True)[1]] = True
    fresh &= ~np.isin(pairs, log.users * log.n_items + log.items)
    first = fresh.reshape(-1, TRIES).argmax(1) + TRIES * np.arange(len(log.users))
    pairs = pairs[first[fresh[first]]]
    users = np.concatenate([log.users, pairs // log.n_items])
    items = np.concatenate([log.items, pairs % log.n_items])
    ratings = np.concatenate([log.ratings, np.full(len(pairs), LOW, dtype=np.float32)])
    order = np.argsort(users, kind="stable")
    return users[order], items[order], ratings[order], order >= len(log.users)


def item_features(log: Interactions, catalogue: Catalogue) -> FloatArray:
    """Return genre shares, year and, last, log popularity: (N, G + 2) float32.

    Year and popularity are in standard units; an unknown year counts as the mean one. What people
    chose to rate is evidence too: it says something of items that few have rated.
    """
    year = np.ma.masked_equal(catalogue.years, 0)
    popularity = np.log1p(np.bincount(log.items, minlength=catalogue.n_items))
    columns = (year - year.mean()).filled(0), popularity - popularity.mean()
    scaled = [column / max(float(column.std()), 1e-6) for column in columns]
    return np.column_stack([catalogue.genre_matrix(), *scaled]).astype(np.float32)
