"""The judge: its sums against brute force, its accuracy, and the threshold it sets."""

from __future__ import annotations

import numpy as np
import pytest

from minirec.data.interactions import Interactions
from minirec.data.smallworld import SmallWorld, small_world
from minirec.world.judge import JudgeSource, _ridge, fit_judge
from minirec.world.sources import reward_rows


@pytest.fixture(scope="module")
def world() -> SmallWorld:
    return small_world(0)


@pytest.fixture(scope="module")
def judge(world: SmallWorld) -> JudgeSource:
    return fit_judge(world.log, world.catalogue, seed=0, sweeps=12)


def test_each_group_gets_its_own_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    keys, other = rng.integers(4, size=50) * 2, rng.normal(size=(50, 3))
    target = rng.normal(size=50)
    expected = rng.normal(size=(9, 3))
    penalty = np.array([4.0, 4.0, 1.0])
    found = _ridge(keys, other, target, expected, penalty)
    for key in range(9):
        rows = keys == key
        x = np.column_stack([other[rows, :2], np.ones(rows.sum())])
        error = target[rows] - other[rows, 2] - x @ found[key]
        np.testing.assert_allclose(x.T @ error, penalty * (found[key] - expected[key]), atol=1e-9)


def test_error_stands_beside_that_of_the_mean(judge: JudgeSource, world: SmallWorld) -> None:
    assert judge.rmse < 0.85 * judge.rmse_mean
    assert judge.rmse_mean == pytest.approx(world.log.ratings.std(), rel=0.1)


def test_knows_pairs_that_nobody_logged(judge: JudgeSource, world: SmallWorld) -> None:
    truth = world.ratings(np.arange(300)[:, None], np.arange(600)[None])
    predicted = reward_rows(judge, np.arange(300))
    assert np.corrcoef(predicted.ravel(), truth.ravel())[0, 1] > 0.6


def test_rows_equal_pairs_and_stay_on_the_scale(judge: JudgeSource) -> None:
    users = np.array([0, 5, 1999])
    rows = reward_rows(judge, users)
    pairs = judge.rewards(np.repeat(users, 600), np.tile(np.arange(600), 3))
    np.testing.assert_allclose(rows, pairs.reshape(3, 600), atol=1e-5)
    assert rows.dtype == pairs.dtype == np.float32
    assert rows.min() >= 1
    assert rows.max() <= 5
    assert judge.item_vectors().shape[0] == judge.n_items == 600


def test_users_without_rows_get_the_item_mean(world: SmallWorld) -> None:
    known = world.log.subset(world.log.users >= 1000)
    judge = fit_judge(known, world.catalogue, seed=0, sweeps=2)
    rows = reward_rows(judge, np.array([0, 1]))
    np.testing.assert_allclose(rows[0], rows[1])
    assert rows[0].std() > 0.1


def test_one_seed_one_judge(judge: JudgeSource, world: SmallWorld) -> None:
    again = fit_judge(world.log, world.catalogue, seed=0, sweeps=12)
    np.testing.assert_array_equal(again.users, judge.users)
    np.testing.assert_array_equal(again.items, judge.items)
    assert (again.mean, again.rmse, again.rmse_mean) == (judge.mean, judge.rmse, judge.rmse_mean)


def test_positives_only(world: SmallWorld) -> None:
    log = world.log
    fives = np.full_like(log.ratings, 5)
    likes = Interactions(log.users, log.items, fives, None, log.user_ids, log.n_items, 0)
    judge = fit_judge(likes, world.catalogue, seed=0, sweeps=8)
    assert judge.rmse < 0.95 * judge.rmse_mean


def test_a_penalty_tames_taste(world: SmallWorld) -> None:
    def taste(penalty: float) -> float:
        judge = fit_judge(world.log, world.catalogue, seed=0, sweeps=4, penalty=penalty)
        return float(np.abs(judge.users[:, :-1] @ judge.items[:, :-1].T).mean())

    weak, usual, strong = map(taste, (1.0, 10.0, 1e6))
    assert weak > 2 * usual
    assert usual > 0.01
    assert strong < 1e-4
