"""The small world: an invented catalogue, 2,000 users and their true ratings.

It exists so that every claim of the book can be judged by the truth. The true rating of user u for
item i is ``base + offset_u + quality_i + <p_u, q_i> + noise_ui``, clipped to 1..5. The five item
factors q show in titles and genres (:mod:`minirec.data.titles`). Nothing of size U x N is stored:
the noise of a pair is a hash of its two numbers. Chapter: 02-data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minirec._io import FloatArray, IntArray, generator
from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions
from minirec.data.titles import invent_works

BASE = 2.48  # rating points, like the four standard deviations below
OFFSET_SD = 0.7
QUALITY_SD = 0.27
TASTE_SD = 0.77
NOISE_SD = 0.34

MEAN_ROWS, MIN_ROWS = 12, 6  # of the log, for each user
LIKING = 1.0  # what one rating point adds to the log weight of being logged
FAME_SD = 0.8  # spread of the part of the log weight that all users share
FAME_FROM_QUALITY = 0.5  # correlation of that part with quality
DAY = 86_400.0  # seconds
OPENING = 1_420_070_400.0  # the log begins on 1 January 2015, after the last work came out


@dataclass(frozen=True)
class Truth:
    """Who likes what: the part of the small world that nothing may learn from.

    Attributes:
        quality: What every user thinks of an item, shape (N,), rating points, mean 0.
        item_factors: Shape (N, 5), named in ``titles.FACTORS``; mean 0.
        user_factors: Tastes, shape (U, 5), each of mean 0 and variance 1.
        user_offset: How generous a user is, shape (U,), rating points, mean 0.
        noise_seed: Seed of the noise.
        noise_scale: Standard deviation of the noise, rating points.
        base: Mean rating before clipping.
    """

    quality: FloatArray
    item_factors: FloatArray
    user_factors: FloatArray
    user_offset: FloatArray
    noise_seed: int
    noise_scale: float
    base: float

    def ratings(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return true ratings in 1..5; users and items broadcast against each other."""
        noise = self.noise_scale * hashed_noise(self.noise_seed, users, items)
        return np.clip(self.expected(users, items) + noise, 1.0, 5.0)

    def expected(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return the ratings without noise, not clipped; users and items broadcast."""
        taste = (self.user_factors[users] * self.item_factors[items]).sum(-1)
        return np.asarray(self.base + self.user_offset[users] + self.quality[items] + taste)


@dataclass(frozen=True)
class SmallWorld(Truth):
    """The catalogue and log that everything may learn from, and the truth that pays.

    Attributes:
        catalogue: Titles, genres and years of the N items.
        log: About 2 % of the pairs, biased towards popular and liked items, with times.
    """

    catalogue: Catalogue
    log: Interactions


def small_world(seed: int = 0, n_items: int = 600, n_users: int = 2000) -> SmallWorld:
    """Return the small world; another seed gives another catalogue, other users, another log.

    The constants above were set so that it is not easy; ``tests/test_smallworld.py`` says how.
    """
    rng = generator(seed, "small world items")
    works = invent_works(n_items, rng)
    of_series = rng.normal(size=2 * n_items)[[work.series for work in works]]
    quality = _standard(0.8 * of_series + 0.6 * rng.normal(size=n_items))
    other_fame = np.sqrt(1 - FAME_FROM_QUALITY**2) * rng.normal(size=n_items)
    factors = _standard(np.array([work.factors for work in works]))
    rng = generator(seed, "small world users")
    truth = Truth(
        quality=QUALITY_SD * quality,
        item_factors=TASTE_SD / np.sqrt(factors.shape[1]) * factors,
        user_factors=_standard(rng.normal(size=(n_users, factors.shape[1]))),
        user_offset=OFFSET_SD * _standard(rng.normal(size=n_users)),
        noise_seed=seed, noise_scale=NOISE_SD, base=BASE,
    )  # fmt: skip
    catalogue = Catalogue(
        tuple(f"item{item:04d}" for item in range(n_items)), tuple(work.title for work in works),
        tuple(work.genres for work in works), np.array([work.year for work in works]),
    )  # fmt: skip
    fame = FAME_SD * (FAME_FROM_QUALITY * quality + other_fame)
    log = _sample_log(truth, fame, generator(seed, "small world log"))
    return SmallWorld(**vars(truth), catalogue=catalogue, log=log)


def hashed_noise(seed: int, users: IntArray, items: IntArray) -> FloatArray:
    """Return one fixed draw of mean 0 and variance 1 for each (seed, user, item).

    The bits are splitmix64's; the sum of their four 16-bit quarters is close to normal and needs
    no library function, so every machine draws the same. Users and items broadcast.

    Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what we want
        bits = _mix(np.uint64(seed))
        for numbers in (users, items):
            bits = _mix(bits + np.asarray(numbers).astype(np.uint64))
    quarters = [(bits >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
    return np.asarray((sum(quarters) / 2.0**16 - 2.0) * np.sqrt(3.0))


def _mix(bits: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Return the next splitmix64 output for each 64-bit state."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def _standard(values: FloatArray) -> FloatArray:
    """Shift and scale columns to mean 0 and variance 1, so that a world's seed moves neither."""
    return np.asarray((values - values.mean(0)) / values.std(0))


def _sample_log(truth: Truth, fame: FloatArray, rng: np.random.Generator) -> Interactions:
    """Draw what each user rated: without replacement, by fame (N,) and by how much it is liked.

    Drawing k items without replacement with weights w is taking the k largest of
    ``log w + Gumbel noise`` (Vieira, 2014).
    """
    n_users, n_items = len(truth.user_offset), len(truth.quality)
    n_rows = MIN_ROWS + rng.geometric(1 / (MEAN_ROWS - MIN_ROWS + 1), n_users) - 1
    n_rows = np.minimum(n_rows, n_items // 4)
    users, items = np.repeat(np.arange(n_users), n_rows), []
    for user, count in enumerate(n_rows):
        liked = LIKING * truth.ratings(np.array(user), np.arange(n_items))
        items.append(np.argsort(-(fame + liked + rng.gumbel(size=n_items)))[:count])
        rng.shuffle(items[-1])
    chosen = np.concatenate(items)
    steps = np.ceil(rng.exponential(3 * DAY, len(users)))
    start = OPENING + np.floor(rng.uniform(0, 3000 * DAY, n_users))
    clock, first = np.cumsum(steps), np.cumsum(n_rows) - n_rows
    times = start[users] + clock - (clock - steps)[first][users]
    user_ids = tuple(f"user{user:04d}" for user in range(n_users))
    ratings = truth.ratings(users, chosen).astype(np.float32)
    return Interactions(users, chosen, ratings, times, user_ids, n_items)
