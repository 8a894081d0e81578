"""The small world is the one the book describes: readable, reproducible and not easy."""

import dataclasses
import datetime
import functools

import numpy as np
import pytest

from minirec.data import smallworld, titles
from minirec.data.smallworld import SmallWorld, hashed_noise, small_world
from minirec.evidence.metrics import play, share
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import FixedList, InformedBound, Popularity, best_fixed_list
from minirec.world.histories import Histories
from minirec.world.oracle import feasible_oracle
from minirec.world.rules import RULES
from minirec.world.sources import TruthSource, reward_rows

TRAIN, TEST = np.arange(1600), np.arange(1600, 2000)
SEEDS = pytest.mark.parametrize("seed", [0, 1])
world_of = functools.cache(small_world)


@functools.cache
def ratings_of(seed: int) -> np.ndarray:
    return reward_rows(TruthSource(world_of(seed)), np.arange(2000)).astype(float)


def visible(world: SmallWorld) -> Histories:
    """All rows of the training users and the earlier half of the test users' rows."""
    log = world.log
    counts = np.diff(log.offsets)
    earlier = np.arange(len(log.users)) - log.offsets[log.users] < counts[log.users] // 2
    return Histories.from_log(log.subset(earlier | (log.users < TEST[0])))


def shares(world: SmallWorld) -> tuple[dict[str, float], float]:
    """Return each control's share of the feasible oracle on the test users, and its length."""
    rules, source, histories = RULES["no_repeat"], TruthSource(world), visible(world)
    oracle, lengths = feasible_oracle(source, rules, histories, TEST)
    logged = world.log.items[world.log.users < TEST[0]]
    controls = [
        Popularity(np.bincount(logged, minlength=600)),
        FixedList(best_fixed_list(source, rules, histories, TRAIN), 600),
        InformedBound(world),
    ]
    env = BatchedRecEnv(source, rules, histories)
    found = {p.name: share(play(p, env, TEST).returns, oracle) for p in controls}
    return found, float(lengths.mean())


def test_one_seed_is_one_world():
    once, again, other = small_world(3, 60, 40), small_world(3, 60, 40), small_world(4, 60, 40)
    assert once.catalogue.titles == again.catalogue.titles
    assert np.array_equal(once.log.items, again.log.items)
    assert np.array_equal(once.log.ratings, again.log.ratings)
    assert once.catalogue.titles != other.catalogue.titles


@SEEDS
def test_the_log_is_sparse_ordered_and_true(seed):
    world = world_of(seed)
    log = world.log
    assert (world.catalogue.n_items, log.n_items, log.n_users) == (600, 600, 2000)
    assert 0.018 < len(log.users) / (600 * 2000) < 0.022
    assert np.bincount(log.users, minlength=2000).min() >= 6
    assert len(np.unique(log.users * 600 + log.items)) == len(log.users)
    later_user, later_time = np.diff(log.users), np.diff(log.times)
    assert ((later_user == 1) | ((later_user == 0) & (later_time > 0))).all()
    years = world.catalogue.years
    opening = datetime.datetime(years.max() + 1, 1, 1, tzinfo=datetime.UTC).timestamp()
    assert log.times.min() >= opening, "somebody rated a work before it came out"
    assert np.array_equal(log.ratings, ratings_of(seed)[log.users, log.items].astype(np.float32))


@SEEDS
def test_the_log_favours_what_is_popular_and_liked(seed):
    world, ratings = world_of(seed), ratings_of(seed)
    counts = np.bincount(world.log.items, minlength=600)
    assert np.sort(counts)[-60:].sum() > 0.3 * counts.sum(), "no long tail"
    assert np.corrcoef(np.log1p(counts), world.quality)[0, 1] > 0.4
    own_mean = ratings.mean(1)[world.log.users]
    item_mean = (ratings - ratings.mean(1, keepdims=True)).mean(0)[world.log.items]
    assert (world.log.ratings - own_mean - item_mean).mean() > 0.2, "nobody picks what they like"


@SEEDS
def test_a_random_first_pick_fails_for_one_user_in_three(seed):
    assert 0.30 <= (ratings_of(seed) < 2).mean() <= 0.35


@SEEDS
def test_shares_of_the_variance(seed):
    world, ratings = world_of(seed), ratings_of(seed)
    expected = world.expected(np.arange(2000)[:, None], np.arange(600)).clip(1, 5)
    assert 0.35 <= ratings.mean(1).var() / ratings.var() <= 0.45
    assert 0.09 <= ((ratings - expected) ** 2).mean() / ratings.var() <= 0.11


@SEEDS
def test_no_list_for_everybody_comes_far_but_knowing_the_user_does(seed):
    found, length = shares(world_of(seed))
    assert length > 60
    assert found["popularity"] <= 0.25
    assert found["best fixed list"] <= 0.40
    assert 0.70 <= found["informed bound"] <= 0.90


def test_without_taste_a_fixed_list_is_nearly_enough():
    """The test above can fail: it does when all users like the same items."""
    world = world_of(0)
    found, _ = shares(dataclasses.replace(world, item_factors=0 * world.item_factors))
    assert found["best fixed list"] > 0.6


def test_noise_belongs_to_the_pair_and_looks_like_noise():
    users, items = np.arange(1000)[:, None], np.arange(500)
    noise = hashed_noise(0, users, items)
    assert noise[7, 9] == hashed_noise(0, np.array([7]), np.array([9]))[0]
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 2.7) < 0.05  # kurtosis of a sum of four uniforms
    neighbours = [noise[1:, :] * noise[:-1, :], noise[:, 1:] * noise[:, :-1]]
    assert max(abs(product.mean()) for product in neighbours) < 0.01
    assert max(abs(noise.mean(0)).max(), abs(noise.mean(1)).max()) < 0.2  # no rows, no columns
    assert abs((noise * hashed_noise(1, users, items)).mean()) < 0.01


@SEEDS
def test_titles_are_unique_however_they_are_read(seed):
    names = world_of(seed).catalogue.titles
    assert len({titles.plain(name) for name in names}) == len(names)
    assert not any(set("[];,\"'\n") & set(name) for name in names), "breaks a prompt or a CSV file"


def title_features(world: SmallWorld) -> np.ndarray:
    """Return what a reader sees: genre shares and the poles of the adjectives, (N, G + 5)."""
    poles = [
        [sum((w in high.split()) - (w in low.split()) for w in name.split()) for name in names]
        for high, low in titles.ADJECTIVES
        for names in [world.catalogue.titles]
    ]
    return np.column_stack([world.catalogue.genre_matrix(), *poles])


@SEEDS
def test_titles_and_genres_tell_the_factors(seed):
    world = world_of(seed)
    x = title_features(world)

    def explained(x: np.ndarray) -> np.ndarray:
        weights = np.linalg.lstsq(x, world.item_factors, rcond=None)[0]
        return 1 - (world.item_factors - x @ weights).var(0) / world.item_factors.var(0)

    assert explained(x).min() > 0.7
    shuffled = np.random.default_rng(0).permutation(x)
    assert explained(shuffled).max() < 0.2, "the check explains anything"


@SEEDS
def test_series_agree_and_near_names_need_not(seed):
    works = titles.invent_works(600, smallworld.generator(seed, "small world items"))
    assert tuple(work.title for work in works) == world_of(seed).catalogue.titles
    by_title = {work.title: work for work in works}
    firsts = [by_title.get(work.title.split(" II")[0]) for work in works]
    pairs = [
        (a, b) for a, b in zip(firsts, works, strict=True) if a and a is not b and " II" in b.title
    ]
    assert len(pairs) > 60
    assert all(a.series == b.series and a.genres == b.genres and a.year < b.year for a, b in pairs)
    apart = np.mean([np.linalg.norm(a.factors - b.factors) for a, b in pairs])
    strangers = np.linalg.norm(works[0].factors - np.array([w.factors for w in works[1:]]), axis=1)
    assert apart < 0.4 * strangers.mean()
    near = [work for work in works if work.title.endswith(titles.TAILS)]
    known = [by_title.get(work.title.rsplit(" ", 1)[0]) for work in near]
    trap = [(a, b) for a, b in zip(known, near, strict=True) if a]
    assert len(trap) > 20
    assert np.mean([a.genres != b.genres for a, b in trap]) > 0.8
