"""The oracle can be played and is the best where it says so; no plan exceeds the bound."""

import dataclasses
import itertools

import numpy as np
import pytest

from minirec._io import UserError
from minirec.evidence.metrics import play
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import Greedy
from minirec.world.histories import Histories
from minirec.world.oracle import CHUNK, feasible_oracle, upper_bound
from minirec.world.rules import EXACT_REPEAT, RULES, QuitRules
from minirec.world.sources import MatrixSource, reward_rows

VARIANTS = [
    QuitRules(min_distance=distance, window=window, quit_at_first=first, repeats=repeats)
    for distance in (None, EXACT_REPEAT, 1.0)
    for window in (0, 1, 2)
    for first in (True, False)
    for repeats in ("allowed", "masked")
]


def world(seed: int, n_users: int, n_items: int) -> tuple[MatrixSource, Histories]:
    """Draw rewards around the threshold; every user has seen one item."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(1, 2.5, (n_users, 1))
    matrix = rng.uniform(low, low + 2.5, (n_users, n_items)).astype(np.float32)
    seen, offsets = rng.integers(n_items, size=n_users), np.arange(n_users + 1)
    histories = Histories(seen, np.full(n_users, 3, np.float32), offsets, n_items)
    return MatrixSource(matrix, rng.normal(size=(n_items, 2))), histories


def best_of_all(source: MatrixSource, rules: QuitRules, histories: Histories, user: int) -> float:
    """Try every sequence of actions in the environment."""
    turns = range(rules.max_turns)
    plans = np.array(list(itertools.product(range(source.n_items), repeat=len(turns))))
    env = BatchedRecEnv(source, rules, histories)
    env.reset(np.full(len(plans), user))
    return float(sum(env.step(plans[:, turn])[1].astype(float) for turn in turns).max())


@pytest.mark.parametrize("rules", VARIANTS, ids=str)
@pytest.mark.parametrize(("n_items", "turns"), [(4, 4), (5, 3), (2, 4)])
def test_between_what_can_be_played_and_the_bound(rules, n_items, turns):
    rules = dataclasses.replace(rules, max_turns=turns)
    source, histories = world(n_items, n_users=12, n_items=n_items)
    users = np.arange(12)
    best = np.array([best_of_all(source, rules, histories, user) for user in users])
    oracle, lengths = feasible_oracle(source, rules, histories, users)
    bound = upper_bound(source, rules, histories, users)
    assert (oracle <= best + 1e-6).all()
    assert (best <= bound + 1e-6).all()
    assert ((lengths >= 1) & (lengths <= turns)).all()
    if rules.min_distance is None or rules.window == 0:
        np.testing.assert_allclose(bound, best, rtol=1e-6)
        np.testing.assert_allclose(oracle, best, rtol=1e-6)
    exact_repeat = rules.repeats == "allowed" and rules.min_distance == EXACT_REPEAT
    if exact_repeat and rules.quit_at_first:
        np.testing.assert_allclose(oracle, best, rtol=1e-6)  # the cycle of the best is optimal


def test_greedy_on_the_truth_plays_the_oracle():
    source, histories = world(0, n_users=300, n_items=40)
    users = np.arange(300)
    env = BatchedRecEnv(source, RULES["no_repeat"], histories)
    played = play(Greedy(source), env, users)
    oracle, lengths = feasible_oracle(source, env.rules, histories, users)
    np.testing.assert_allclose(played.returns, oracle, rtol=1e-6)
    assert np.array_equal(played.lengths, lengths)
    assert np.array_equal(upper_bound(source, env.rules, histories, users), oracle)


@pytest.mark.parametrize("name", list(RULES))
def test_users_do_not_depend_on_their_company(name):
    source, histories = world(1, n_users=CHUNK + 5, n_items=20)
    users = np.random.default_rng(0).permutation(CHUNK + 5)
    for solve in (lambda u: feasible_oracle(source, RULES[name], histories, u)[0],
                  lambda u: upper_bound(source, RULES[name], histories, u)):  # fmt: skip
        together = solve(users)
        assert [solve(users[i : i + 1])[0] for i in (0, 7, CHUNK, CHUNK + 4)] == list(
            together[[0, 7, CHUNK, CHUNK + 4]]
        )


def test_an_item_of_the_window_is_near_to_itself_at_any_scale():
    source, histories = world(2, n_users=30, n_items=20)
    far = MatrixSource(source.matrix, source.vectors + 1e3)
    for rules in (RULES["ilrec"], dataclasses.replace(RULES["ilrec"], max_turns=3)):
        a = feasible_oracle(source, rules, histories, np.arange(30))[0]
        assert np.array_equal(a, feasible_oracle(far, rules, histories, np.arange(30))[0])


def test_reward_rows_are_the_rewards_and_shapes_must_fit():
    source, _ = world(3, n_users=6, n_items=5)
    users = np.array([4, 1, 4])
    assert np.array_equal(reward_rows(source, users), source.matrix[users])
    assert source.rewards(np.array([1, 2]), np.array([0, 3])).dtype == np.float32
    with pytest.raises(UserError, match="5 items but there are 4"):
        MatrixSource(source.matrix, source.vectors[:4])
