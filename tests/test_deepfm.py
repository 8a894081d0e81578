"""The world model: its algebra against brute force, its training against itself, its accuracy."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions
from minirec.data.smallworld import SmallWorld, small_world
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.deepfm_model import fm_term
from minirec.world.rows import item_features, with_negatives
from minirec.world.sources import reward_rows


def rms(error: Any) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def choose(log: Interactions, mask: Any) -> Interactions:
    return log.subset(mask)


@pytest.fixture(scope="module")
def world() -> SmallWorld:
    return small_world(0)


@pytest.fixture(scope="module")
def model(world: SmallWorld) -> DeepFM:
    """A model that has seen the first 1,600 of 2,000 users, for six epochs."""
    train = choose(world.log, world.log.users < 1600)
    return fit_deepfm(train, world.catalogue, seed=0, epochs=6)


@pytest.fixture(scope="module")
def visible(world: SmallWorld) -> Interactions:
    """A random half of every user's rows."""
    return choose(world.log, np.random.default_rng(1).random(len(world.log.users)) < 0.5)


@pytest.fixture(scope="module")
def source(model: DeepFM, visible: Interactions) -> DeepFMSource:
    return DeepFMSource(model, visible)


@pytest.fixture(scope="module")
def tiny() -> tuple[Interactions, Catalogue]:
    """A log of 40 users and 25 items, small enough for whole fits in a second."""
    rng = np.random.default_rng(3)
    users, items = np.nonzero(rng.random((40, 25)) < 0.4)
    ratings = rng.integers(1, 6, size=len(users)).astype(np.float32)
    names = [str(number) for number in range(40)]
    genres = tuple((("a",), ("b",), ("a", "b"))[i % 3] for i in range(25))
    catalogue = Catalogue(tuple(names[:25]), tuple(names[:25]), genres, np.zeros(25, dtype=int))
    log = Interactions(users, items, ratings, None, tuple(names), 25, 0)
    return log, catalogue


def same(first: DeepFM, second: DeepFM) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_fm_term_is_the_sum_over_pairs() -> None:
    fields = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(0))
    pairs = itertools.combinations(range(5), 2)
    expected = sum((fields[:, f] * fields[:, g]).sum(1) for f, g in pairs)
    torch.testing.assert_close(fm_term(fields), expected)


@torch.inference_mode()
def test_leaving_a_row_out_equals_encoding_the_others(model: DeepFM) -> None:
    rng = np.random.default_rng(0)
    items = torch.from_numpy(rng.choice(600, 30, replace=False))
    ratings = torch.from_numpy(rng.uniform(1, 5, 30).astype(np.float32))
    owner = torch.arange(30) // 12  # users with 12, 12 and 6 rows
    keep = torch.from_numpy((rng.random(30) < 0.7).astype(np.float32))
    table = model.catalogue()
    fast = model.encode_without_self(table, items, ratings, owner, 3, keep)
    for row in range(30):
        rest = (owner == owner[row]) & (keep > 0) & (torch.arange(30) != row)
        mine = torch.zeros(int(rest.sum()), dtype=torch.int64)
        slow = model.encode(table, items[rest], ratings[rest], mine, 1)
        torch.testing.assert_close(fast[row], slow[0], atol=1e-4, rtol=1e-4)


def one_rating(w: dict[str, Any], history: list[tuple[int, float]], item: int) -> float:
    """Predict one rating in plain NumPy: features one by one, fields pair by pair."""

    def of(i: int) -> tuple[Any, Any, float]:
        own, known = np.append(w["item_vectors"][i], w["offset_scale"]), 0.0
        bias = w["item_bias"][i]
        for f, amount in enumerate(w["features"][i]):
            known = known + amount * np.append(w["feature_vectors"][f], 0)
            bias = bias + amount * w["feature_bias"][f]
        return own, known, bias

    dim = len(w["user_layer"]) - 1
    gram, moment = np.eye(dim), np.zeros(dim)
    for j, rating in history:
        own, known, bias = of(j)
        gram = gram + np.outer(own + known, own + known)
        moment = moment + (own + known) * (rating - w["mean"] - bias - own @ known)
    taste, (own, known, bias) = np.linalg.solve(gram, moment), of(item)
    about = np.concatenate([own[:-1], known[:-1], [bias]])
    layer = np.append(taste, np.log(1 + len(history))) @ w["user_layer"] + about @ w["item_layer"]
    layer = np.maximum(layer + w["first_bias"], 0) @ w["second_layer"] + w["second_bias"]
    pairs = sum(f @ g for f, g in itertools.combinations((taste, own, known), 2))
    return float(w["mean"] + bias + pairs + np.maximum(layer, 0) @ w["last_layer"])


@torch.inference_mode()
def test_whole_forward_pass_equals_an_independent_reference_on_shared_weights() -> None:
    rng, draw = np.random.default_rng(0), torch.Generator().manual_seed(0)
    model = DeepFM(torch.randn(9, 4, generator=draw), 5, 8, 3.0, draw)
    for weight in model.parameters():  # some begin at zero, where a mistake would not show
        weight.copy_(torch.randn(weight.shape, generator=draw) * 0.5)
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    table = model.catalogue()
    for rows in (0, 1, 6):
        items, ratings = rng.choice(9, rows, replace=False), rng.uniform(1, 5, rows)
        said = torch.from_numpy(items), torch.from_numpy(ratings.astype(np.float32))
        user = model.encode(table, *said, torch.zeros(rows, dtype=torch.int64), 1)
        history = list(zip(items.tolist(), ratings.tolist(), strict=True))
        expected = [one_rating(w, history, item) for item in range(9)]
        pairs = model(table, user.expand(9, -1), torch.arange(9))
        np.testing.assert_allclose(pairs, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(model.all_items(table, user)[0], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_taste_solves_the_normal_equations(model: DeepFM) -> None:
    table = model.catalogue()
    items, ratings = torch.tensor([3, 50, 7]), torch.tensor([5.0, 1.0, 4.0])
    user = model.encode(table, items, ratings, torch.zeros(3, dtype=torch.int64), 1)[0]
    vectors, residuals = table.vectors[items], ratings - table.baseline[items]
    gradient = vectors.T @ (vectors @ user[:-1] - residuals) + user[:-1]
    assert gradient.abs().max() < 1e-4
    assert float(user[-1]) == pytest.approx(np.log(4))


def test_rows_pairs_and_histories_agree(source: DeepFMSource, visible: Interactions) -> None:
    users = np.array([1, 700, 1999])
    rows = source.predict_rows(users)
    grid = np.repeat(users, 600), np.tile(np.arange(600), 3)
    np.testing.assert_allclose(source.rewards(*grid).reshape(3, 600), rows, atol=1e-4)
    longest = max(len(visible.of(user)[0]) for user in users) + 2
    items, ratings = np.full((3, longest), 600), np.zeros((3, longest))
    for row, user in enumerate(users):
        mine = visible.of(user)
        items[row, longest - len(mine[0]) :] = mine[0]
        ratings[row, longest - len(mine[0]) :] = mine[1]
    np.testing.assert_allclose(source.predict_histories(items, ratings), rows, atol=1e-4)
    assert rows.dtype == np.float32
    assert rows.min() >= 1
    assert rows.max() <= 5


def test_a_noisy_source_pays_each_pair_once_and_for_all(
    model: DeepFM, visible: Interactions
) -> None:
    noisy = DeepFMSource(model, visible, noise_seed=3)
    users, items = np.repeat(np.arange(100), 600), np.tile(np.arange(600), 100)
    paid = noisy.rewards(users, items)
    order = np.random.default_rng(0).permutation(len(paid))
    np.testing.assert_allclose(noisy.rewards(users[order], items[order]), paid[order], atol=1e-5)
    rows = reward_rows(noisy, np.arange(100))
    np.testing.assert_allclose(rows.ravel(), paid, atol=1e-5)
    assert paid.dtype == rows.dtype == np.float32 and 1 <= paid.min() <= paid.max() <= 5
    other = DeepFMSource(model, visible, noise_seed=4).rewards(users, items)
    assert not np.array_equal(paid, other)


def test_the_noise_has_the_spread_of_the_held_out_error(
    model: DeepFM, visible: Interactions, source: DeepFMSource
) -> None:
    noisy, users = DeepFMSource(model, visible, noise_seed=3), np.arange(200)
    mean = source.predict_rows(users)
    middle = (mean > 2.9) & (mean < 3.1)  # where the scale cuts hardly anything off
    error = (reward_rows(noisy, users) - mean)[middle]
    assert error.std() == pytest.approx(float(model.errors[0]), rel=0.05)
    assert abs(error.mean()) < 0.05
    np.testing.assert_array_equal(noisy.predict_rows(users), mean)
    np.testing.assert_array_equal(noisy.item_vectors(), source.item_vectors())
    window = np.full((1, 4), 600), np.zeros((1, 4))
    np.testing.assert_array_equal(
        noisy.predict_histories(*window), source.predict_histories(*window)
    )


def test_without_a_noise_seed_the_mean_is_paid(source: DeepFMSource) -> None:
    users = np.arange(50)
    np.testing.assert_array_equal(reward_rows(source, users), source.predict_rows(users))


def test_a_person_without_history_can_be_served(source: DeepFMSource) -> None:
    nobody = source.predict_histories(np.full((1, 4), 600), np.zeros((1, 4)))
    assert nobody.shape == (1, 600)
    assert nobody.std() > 0.1  # still knows what is good
    assert source.item_vectors().shape[0] == 600


def test_one_seed_one_model(tiny: tuple[Interactions, Catalogue]) -> None:
    log, catalogue = tiny
    first, second, other = (fit_deepfm(log, catalogue, seed=s, epochs=3) for s in (0, 0, 1))
    assert same(first, second)
    assert not same(first, other)


@pytest.mark.parametrize("stop", [0, 3, 99])
def test_resumed_equals_uninterrupted(
    tiny: tuple[Interactions, Catalogue], tmp_path: Path, stop: int
) -> None:
    log, catalogue = tiny
    states: list[dict[str, Any]] = []
    whole = fit_deepfm(log, catalogue, seed=0, epochs=10, save=states.append)
    torch.save(states[min(stop, len(states) - 1)], tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert same(whole, fit_deepfm(log, catalogue, seed=0, epochs=10, resume=state))


def test_saved_and_loaded(model: DeepFM, tmp_path: Path) -> None:
    model.save(tmp_path / "model.pt")
    assert same(model, DeepFM.load(tmp_path / "model.pt"))


def test_negatives_are_new_pairs_and_one_for_each_positive(
    tiny: tuple[Interactions, Catalogue],
) -> None:
    log, catalogue = tiny
    likes = Interactions(
        log.users, log.items, np.full_like(log.ratings, 5), None, log.user_ids, 25, 0
    )
    users, items, ratings, sampled = with_negatives(likes, np.random.default_rng(0))
    pairs = users * 25 + items
    assert len(np.unique(pairs)) == len(pairs)
    assert (np.diff(users) >= 0).all()
    assert set(ratings[sampled]) == {1.0}
    assert set(ratings[~sampled]) == {5.0}
    assert 0.6 * len(log.users) < sampled.sum() <= len(log.users)
    assert not with_negatives(log, np.random.default_rng(0))[3].any()
    source = DeepFMSource(fit_deepfm(likes, catalogue, seed=0, epochs=3), likes)
    assert np.isfinite(source.predict_rows(np.arange(40))).all()


def test_features_of_items_are_in_standard_units(world: SmallWorld) -> None:
    log, catalogue = world.log, world.catalogue
    years = catalogue.years.copy()
    years[:3] = 0  # unknown
    features = item_features(log, replace(catalogue, years=years))
    assert features.shape == (catalogue.n_items, len(catalogue.genre_names) + 2)
    np.testing.assert_allclose(features[:, -2:].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(features[:, -2:].std(0), 1, rtol=1e-5)
    order = np.argsort(years[3:], kind="stable")
    assert np.all(np.diff(features[3:, -2][order]) >= 0)
    np.testing.assert_array_equal(features[:3, -2], 0)
    nobody_knows = item_features(log, replace(catalogue, years=np.zeros_like(years)))
    np.testing.assert_array_equal(nobody_knows[:, -2], 0)


def test_beats_the_item_mean_for_users_it_has_not_seen(
    world: SmallWorld, source: DeepFMSource, visible: Interactions
) -> None:
    log = world.log
    train = choose(log, log.users < 1600)
    count = np.bincount(train.items, minlength=600)
    mean = train.ratings.mean()
    total = np.bincount(train.items, weights=train.ratings - mean, minlength=600)
    item_mean = mean + total / (count + 3)
    seen = np.isin(log.users * 600 + log.items, visible.users * 600 + visible.items)
    rest = choose(log, (log.users >= 1600) & ~seen)
    error = rms(source.rewards(rest.users, rest.items) - rest.ratings)
    assert error < 0.92 * rms(item_mean[rest.items] - rest.ratings)
    users = np.arange(1600, 2000)
    truth = world.ratings(users[:, None], np.arange(600)[None])
    predicted = source.predict_rows(users)
    of_items = np.corrcoef(np.tile(item_mean, 400), truth.ravel())[0, 1]
    assert np.corrcoef(predicted.ravel(), truth.ravel())[0, 1] > of_items + 0.1
