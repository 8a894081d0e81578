"""The ensemble: the mean of its members, less where they disagree."""

from __future__ import annotations

import numpy as np
import pytest

from minirec import EnsembleSource, UserError, fit_deepfm, small_world
from minirec.world.deepfm import DeepFMSource
from minirec.world.ensemble import CautiousSource
from minirec.world.sources import TruthSource, reward_rows


@pytest.fixture(scope="module")
def members() -> list[DeepFMSource]:
    world = small_world()
    train = world.log.subset(world.log.users < 300)
    fits = [fit_deepfm(train, world.catalogue, seed=seed, epochs=4) for seed in range(3)]
    return [DeepFMSource(fit, world.log, noise_seed=0) for fit in fits]


USERS, ITEMS = np.arange(400, 440), np.arange(40) * 7


def test_it_pays_the_mean_less_the_spread(members: list[DeepFMSource]) -> None:
    paid = np.array([member.rewards(USERS, ITEMS) for member in members], float)
    for penalty in (0.0, 0.5, 2.0):
        expected = paid.sum(0) / 3 - penalty * np.sqrt(((paid - paid.mean(0)) ** 2).sum(0) / 3)
        found = EnsembleSource(members, penalty).rewards(USERS, ITEMS)
        np.testing.assert_allclose(found, np.clip(expected, 1, 5), atol=1e-5)


def test_pairs_rows_and_histories_agree(members: list[DeepFMSource]) -> None:
    ensemble = EnsembleSource(members, 1.0)
    rows = reward_rows(ensemble, USERS)
    pairs = ensemble.rewards(USERS, ITEMS)
    np.testing.assert_allclose(rows[np.arange(40), ITEMS], pairs, atol=1e-5)
    items, ratings = np.array([[3, 8, 600]]), np.array([[4.0, 2.0, 0.0]])
    each = [member.predict_histories(items, ratings) for member in members]
    expected = np.clip(np.mean(each, 0) - np.std(each, 0), 1, 5)
    np.testing.assert_allclose(ensemble.predict_histories(items, ratings), expected, atol=1e-5)


def test_equal_members_are_one_model(members: list[DeepFMSource]) -> None:
    twins = EnsembleSource([members[0], members[0]], 9.0)
    expected = members[0].rewards(USERS, ITEMS)
    np.testing.assert_allclose(twins.rewards(USERS, ITEMS), expected, atol=1e-5)
    np.testing.assert_array_equal(twins.item_vectors(), members[0].item_vectors())


def test_members_disagree_most_where_they_are_wrong(members: list[DeepFMSource]) -> None:
    users = np.arange(1000, 1400)
    each = np.array([reward_rows(member, users) for member in members])
    wrong = np.abs(each.mean(0) - reward_rows(TruthSource(small_world()), users))
    doubtful = each.std(0) > np.quantile(each.std(0), 0.8)
    assert wrong[doubtful].mean() > wrong[~doubtful].mean()


@pytest.mark.parametrize(("number", "penalty"), [(1, 1.0), (2, -0.1)])
def test_what_is_no_ensemble_is_refused(
    members: list[DeepFMSource], number: int, penalty: float
) -> None:
    with pytest.raises(UserError, match=f"{number} members and penalty"):
        EnsembleSource(members[:number], penalty)


def test_caution_pays_less_for_what_few_have_rated(members: list[DeepFMSource]) -> None:
    counts = np.arange(members[0].n_items)
    careful = CautiousSource(members[0], counts, 0.6)
    plain, found = members[0].rewards(USERS, ITEMS), careful.rewards(USERS, ITEMS)
    np.testing.assert_allclose(found, np.maximum(plain - 0.6 / np.sqrt(1 + ITEMS), 1), atol=1e-6)
    assert (found < plain).mean() > 0.9 and found.min() >= 1
    np.testing.assert_array_equal(careful.item_vectors(), members[0].item_vectors())
