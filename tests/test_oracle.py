"""The oracle can be played and is the best where it says so; no plan exceeds the bound."""

import dataclasses
import itertools

import numpy as np
import pytest

from minirec._io import FloatArray, IntArray, UserError, generator
from minirec.data.smallworld import small_world
from minirec.evidence.metrics import play
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import Greedy
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.oracle import CHUNK, _Search, best_plans, feasible_oracle, upper_bound
from minirec.world.rules import EXACT_REPEAT, RULES, QuitRules
from minirec.world.sources import MatrixSource, RewardSource, TruthSource, reward_rows
from minirec.world.thresholds import near_quantile

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


def played(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray, ends: bool = True
) -> tuple[FloatArray, IntArray]:
    """Play the plans in the environment; none may end before its last item, all must ``end``."""
    plans = best_plans(source, rules, histories, users)
    assert plans.shape == (len(users), rules.max_turns)
    env = BatchedRecEnv(source, rules, histories)
    env.reset(users)
    returns = np.zeros(len(users))
    for turn in range(rules.max_turns):
        going = plans[:, turn] >= 0
        assert env.alive[going].all()
        assert not (ends and env.alive[~going].any())
        returns += env.step(np.maximum(plans[:, turn], 0))[1] * going
    return returns, env.turn


@pytest.fixture
def without_beam(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leave only the greedy search."""
    monkeypatch.setattr(_Search, "beam", lambda *_: iter(()))
    return monkeypatch


@pytest.mark.parametrize("rules", VARIANTS, ids=str)
@pytest.mark.parametrize("turns", [1, 2, 7])
def test_plans_are_played_to_their_end_and_pay_what_the_oracle_says(rules, turns):
    rules = dataclasses.replace(rules, max_turns=turns)
    source, histories = world(5, n_users=40, n_items=6)
    users = np.random.default_rng(0).permutation(40)
    returns, lengths = feasible_oracle(source, rules, histories, users)
    found, length = played(source, rules, histories, users)
    np.testing.assert_allclose(found, returns, rtol=1e-12)
    assert np.array_equal(length, lengths)


@pytest.mark.parametrize("rules", VARIANTS, ids=str)
def test_distances_of_the_source_count_though_they_are_not_symmetric(rules):
    source, histories = world(7, n_users=40, n_items=9)
    apart = np.random.default_rng(7).uniform(0.5, 4, (9, 9)) * ~np.eye(9, dtype=bool)
    source = MatrixSource(source.matrix, np.zeros((9, 0)), apart)
    returns, _ = feasible_oracle(source, rules, histories, np.arange(40))
    found, _ = played(source, rules, histories, np.arange(40), ends=False)
    np.testing.assert_allclose(found, returns)


@pytest.mark.parametrize("name", list(RULES))
def test_one_user_at_a_time_they_pay_the_same(name):
    rules = dataclasses.replace(RULES[name], min_distance=0.5)
    source, histories = world(6, n_users=8, n_items=30)
    users = np.arange(8)
    returns, lengths = feasible_oracle(source, rules, histories, users)
    env = RecEnv(source, rules, histories)
    for user, plan in zip(users, best_plans(source, rules, histories, users), strict=True):
        env.reset(options={"user": user})
        steps = [env.step(item) for item in plan[plan >= 0]]
        assert sum(reward for _, reward, *_ in steps) == pytest.approx(returns[user], rel=1e-12)
        assert len(steps) == lengths[user]
        assert not any(quits or cut for *_, quits, cut, _ in steps[:-1])
        assert any(steps[-1][2:4])


@pytest.mark.parametrize(("name", "least"), [("ilrec", 1), ("billp", 1), ("no_repeat", 0.9)])
def test_how_often_the_plan_is_the_best_of_all(name, least):
    hits = []
    for distance, window, (n_items, turns) in itertools.product(
        (0.5, 1.0, 1.5), (1, 2), [(3, 5), (4, 4), (5, 5), (6, 4)]
    ):
        changes = {"min_distance": distance, "window": window, "max_turns": turns}
        rules = dataclasses.replace(RULES[name], **changes)
        source, histories = world(n_items, n_users=12, n_items=n_items)
        best = [best_of_all(source, rules, histories, user) for user in range(12)]
        oracle, _ = feasible_oracle(source, rules, histories, np.arange(12))
        hits += list(oracle > np.array(best) - 1e-6)
    assert np.mean(hits) >= least  # greedy alone: 0.95 under ilrec, 0.94 under billp


def trap(turns: int, last: float = 2) -> tuple[MatrixSource, QuitRules, Histories]:
    """One user whose favourite, item 0, is near to all but item 3; items 1 and 2 are far."""
    matrix = np.array([[5, 4, 4, last]], np.float32)
    near = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]])
    source = MatrixSource(matrix, np.zeros((4, 1)), 1.0 - near)
    rules = QuitRules(min_distance=0.5, window=1, max_turns=turns)
    return source, rules, Histories(np.zeros(0, int), np.zeros(0), np.zeros(2, int), 4)


def test_greedy_falls_into_a_trap_and_the_beam_does_not(without_beam):
    source, rules, histories = trap(7)
    best = best_of_all(source, rules, histories, 0)
    greedy = feasible_oracle(source, rules, histories, np.array([0]))[0]
    without_beam.undo()
    oracle = feasible_oracle(source, rules, histories, np.array([0]))[0]
    assert (greedy, oracle, best) == (3 * (5 + 2) + 5, 6 * 4 + 5, 6 * 4 + 5)
    assert best_plans(source, rules, histories, np.array([0])).tolist() == [[1, 2] * 3 + [0]]


@pytest.mark.parametrize(
    ("turns", "first", "plan"),
    [
        (7, True, [1, 2, 1, 2, 1, 2, 0]),  # nothing bad is worth a turn of a cycle
        (7, False, [1, 2, 1, 2, 1, 2, 0]),
        (2, False, [0, 0]),
    ],
)
def test_the_last_turn_takes_the_best_item_whatever_it_ends(turns, first, plan):
    source, rules, histories = trap(turns, last=1)
    rules = dataclasses.replace(rules, quit_at_first=first)
    assert best_plans(source, rules, histories, np.array([0])).tolist() == [plan]


def test_a_bad_first_item_is_used_where_no_cycle_lasts():
    source, rules, histories = trap(5, last=1)
    alone = MatrixSource(source.matrix * [[1, 0, 0, 1]], source.vectors, source.distances)
    plans = {
        first: best_plans(alone, dataclasses.replace(rules, quit_at_first=first), histories,
                          np.array([0])).tolist() for first in (True, False)
    }  # fmt: skip
    assert plans == {True: [[0, 0, -1, -1, -1]], False: [[3, 0, 0, -1, -1]]}


def test_in_the_small_world_no_user_loses_by_the_beam(without_beam):
    truth = small_world()
    source, histories = TruthSource(truth), Histories.from_log(truth.log)
    users = np.arange(0, source.n_users, 5)
    distance = near_quantile(source, 0.024, generator(0, "near"))
    rules = dataclasses.replace(RULES["ilrec"], min_distance=distance)
    greedy = feasible_oracle(source, rules, histories, users)[0]
    without_beam.undo()
    oracle = feasible_oracle(source, rules, histories, users)[0]
    assert (oracle >= greedy).all() and (oracle > greedy + 0.1).any()
    assert (oracle <= upper_bound(source, rules, histories, users)).all()
    np.testing.assert_allclose(played(source, rules, histories, users)[0], oracle, rtol=1e-12)


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


@pytest.mark.parametrize("name", list(RULES))
def test_nobody_gets_no_plan(name):
    source, histories = world(1, n_users=2, n_items=20)
    nobody = (source, RULES[name], histories, np.zeros(0, int))
    assert best_plans(*nobody).shape == (0, RULES[name].max_turns)
    assert upper_bound(*nobody).shape == (0,)


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
