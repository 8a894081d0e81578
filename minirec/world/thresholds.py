"""Quit thresholds for rewards and item vectors of any scale. Chapter: 04-users-who-quit.

The published thresholds (a rating of 2, distances of 15 and 50) belong to matrices that nobody can
download any more. What can be carried over is how often they act: set by a quantile, a threshold
acts as often on any model as the published ones did on theirs.
"""

from __future__ import annotations

import numpy as np

from minirec._io import IntArray
from minirec.world.rules import EXACT_REPEAT
from minirec.world.sources import Distances, RewardSource

DRAWS = 20_000


def fail_quantile(
    source: RewardSource, users: IntArray, share: float, rng: np.random.Generator
) -> float:
    """Return the reward below which a share of uniformly random recommendations falls.

    Used as ``min_reward`` wherever a model pays: a random first pick then fails about as often as
    in the small world and in the published environments.

    Args:
        source: Pays the rewards.
        users: The users to draw from, (B,).
        share: The share that has to fail, 0..1.
        rng: Draws 20,000 pairs of a user and an item.
    """
    drawn = rng.choice(users, size=DRAWS), rng.integers(source.n_items, size=DRAWS)
    return float(np.quantile(source.rewards(*drawn), share))


def near_quantile(source: RewardSource, share: float, rng: np.random.Generator) -> float:
    """Return the distance below which a share of all pairs of two different items lies.

    Used as ``min_distance`` by the presets that have a distance rule.

    Args:
        source: Brings the item vectors or distances, in whose units the result is.
        share: The share of pairs that are too near, 0..1; of 0 only an item and itself are.
        rng: Draws 20,000 pairs of items.
    """
    if not share or source.n_items == 1:
        return EXACT_REPEAT
    first = rng.integers(source.n_items, size=DRAWS)
    second = (first + rng.integers(1, source.n_items, size=DRAWS)) % source.n_items
    apart = Distances(source).between(first, second)
    return max(float(np.quantile(apart, share)), EXACT_REPEAT)
