"""The controls obey the mask, their block list and what they may know."""

import itertools

import numpy as np
import pytest

from minirec.data.smallworld import SmallWorld, small_world
from minirec.evidence.metrics import play
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import (
    FixedList,
    Greedy,
    GreedyRefit,
    InformedBound,
    Near,
    Policy,
    Popularity,
    Ranked,
    UniformRandom,
    best_fixed_list,
)
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules
from minirec.world.sources import Distances, MatrixSource, TruthSource, reward_rows

USERS, N = np.arange(50), 160


@pytest.fixture(scope="module")
def world() -> SmallWorld:
    return small_world(seed=5, n_items=N, n_users=200)


@pytest.fixture(scope="module")
def source(world) -> TruthSource:
    return TruthSource(world)


@pytest.fixture(scope="module")
def histories(world) -> Histories:
    return Histories.from_log(world.log)


def controls(world: SmallWorld, block: int) -> list[Policy]:
    source = TruthSource(world)
    rng = np.random.default_rng(0)
    return [
        Popularity(np.bincount(world.log.items, minlength=N), block),
        FixedList(rng.permutation(N)[:30], N, block),
        Greedy(source, block),
        GreedyRefit(lambda items, ratings: rng.random((len(items), N)), block),
        InformedBound(world, block),
        Ranked("quality", world.quality, block),
    ]


def test_nobody_picks_a_masked_item(world, source, histories):
    env = BatchedRecEnv(source, RULES["no_repeat"], histories)
    for policy in [*controls(world, 0), UniformRandom(np.random.default_rng(0))]:
        assert "repeat" not in play(policy, env, USERS).reasons, policy.name


def test_the_block_list_keeps_out_of_the_quit_window(world, source, histories):
    rules = QuitRules(min_reward=0, min_distance=1e-6, max_turns=30)  # only repeats end it
    env = BatchedRecEnv(source, rules, histories)
    for policy in controls(world, rules.window):
        assert (play(policy, env, USERS).reasons == "max_turn").all(), policy.name
    for policy in controls(world, rules.window - 1):
        if isinstance(policy, Ranked):
            assert (play(policy, env, USERS).reasons == "distance").all(), policy.name


def test_who_knows_the_distances_keeps_out_of_the_way_of_their_rule(world, source, histories):
    rules = QuitRules(min_reward=0, min_distance=0.4, max_turns=30)  # only neighbours end it
    env = BatchedRecEnv(source, rules, histories)
    near = Near(Distances(source), 0.4)
    for knows in (None, near):
        for policy in (Greedy(source, 4, knows), InformedBound(world, 4, knows)):
            quits = play(policy, env, USERS).reasons == "distance"
            assert (not quits.any()) if knows else quits.mean() > 0.5, policy.name


def test_uniform_random_is_uniform_over_what_is_allowed():
    mask = np.tile([True, False, True, True], (30_000, 1))
    third = [1 / 3, 0, 1 / 3, 1 / 3]
    acts = UniformRandom(np.random.default_rng(0)).act({}, mask)
    assert np.bincount(acts, minlength=4) / len(acts) == pytest.approx(third, abs=0.01)


def test_a_fixed_list_is_followed_and_with_a_block_list_becomes_a_cycle(source, histories):
    order = np.array([8, 3, 9, 1, 7, 2])
    env = BatchedRecEnv(source, QuitRules(min_reward=0, max_turns=12), histories)
    acts = play(FixedList(order, N, block=4), env, USERS).acts
    assert (acts == np.resize(order[:5], 12)).all()
    rules = QuitRules(min_reward=0, max_turns=4, repeats="masked")
    masked = BatchedRecEnv(source, rules, histories)
    for user, acts in zip(USERS, play(FixedList(order, N), masked, USERS).acts, strict=True):
        left = [item for item in order if item not in histories.of(user)[0]]
        assert list(acts[: len(left)]) == left[:4]


def test_the_best_fixed_list_is_nearly_the_best_of_all_lists():
    """Against every ordering of five items, on eight small worlds."""
    rules, users = QuitRules(max_turns=4, repeats="masked"), np.arange(40)
    found, best = 0.0, 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        matrix = rng.normal(rng.uniform(1.8, 3, (40, 1)), 0.8, (40, 5)).clip(1, 5)
        source = MatrixSource(matrix, np.eye(5))
        seen = Histories(rng.integers(5, size=40), np.ones(40), np.arange(41), 5)
        env = BatchedRecEnv(source, rules, seen)

        def earned(order, env=env) -> float:
            return float(play(FixedList(np.array(order), 5), env, users).returns.mean())

        found += earned(best_fixed_list(source, rules, seen, users))
        best += max(map(earned, itertools.permutations(range(5))))
    assert found > 0.97 * best


def test_the_best_cycle_is_nearly_the_best_of_all_cycles():
    rules, users = QuitRules(window=1, min_distance=1e-6, max_turns=20), np.arange(60)
    empty = Histories(np.zeros(0, int), np.zeros(0, np.float32), np.zeros(61, int), 9)
    found, best = 0.0, 0.0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        source = MatrixSource(rng.uniform(1, 5, (60, 9)), rng.normal(size=(9, 2)))
        env = BatchedRecEnv(source, rules, empty)

        def earned(cycle, env=env) -> float:
            return float(play(FixedList(np.array(cycle), 9, block=1), env, users).returns.mean())

        cycle = best_fixed_list(source, rules, empty, users)
        assert len(set(cycle)) == 2
        found += earned(cycle)
        best += max(map(earned, itertools.permutations(range(9), 2)))
    assert found > 0.97 * best


def test_a_cycle_keeps_its_distance(source, histories):
    rules = QuitRules(min_distance=0.5)
    cycle = best_fixed_list(source, rules, histories, USERS)
    vectors = source.item_vectors()[cycle]
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=-1)[~np.eye(5, dtype=bool)]
    assert apart.min() >= 0.5


def test_refitting_sees_the_window_and_every_reward_since(source, histories):
    env = BatchedRecEnv(source, RULES["no_repeat"], histories, K=4)
    asked: list[tuple[np.ndarray, np.ndarray]] = []

    def predict(items, ratings):
        asked.append((items, ratings))
        return np.tile(np.arange(N, 0, -1.0), (len(items), 1))

    episodes = play(GreedyRefit(predict), env, USERS)
    for turn, (items, ratings) in enumerate(asked):
        rows = np.flatnonzero(episodes.lengths >= turn)  # a user who left is seen leaving, once
        window, rated = histories.window(USERS[rows], 4)
        assert np.array_equal(items, np.hstack([window, episodes.acts[rows, :turn]]))
        assert np.array_equal(ratings, np.hstack([rated, episodes.rewards[rows, :turn]]))
    assert len(asked) == episodes.lengths.max()


def test_the_informed_bound_is_bayesian_regression_step_by_step(world, source, histories):
    env = BatchedRecEnv(source, RULES["no_repeat"], histories, K=6)
    policy = InformedBound(world)
    obs = env.reset(USERS)
    policy.start(obs, USERS)
    seen, said = [obs["items"]], [obs["rewards"]]
    for _ in range(5):
        act = policy.act(obs, env.action_mask)
        alive = env.alive
        obs, rewards, _, _ = env.step(act)
        seen.append(np.where(alive, act, N)[:, None])
        said.append(rewards[:, None])
    policy.act(obs, env.action_mask)
    for user in range(10):
        items = np.concatenate([a[user] for a in seen])
        ratings = np.concatenate([r[user] for r in said]).astype(float)
        known = items < N
        x = np.column_stack([np.ones(known.sum()), world.item_factors[items[known]]])
        y = ratings[known] - world.base - world.quality[items[known]]
        precision = np.diag(1 / policy.prior) + x.T @ x / policy.noise
        np.testing.assert_allclose(policy.precision[user], precision)
        np.testing.assert_allclose(policy.moment[user], x.T @ y / policy.noise)


def test_the_informed_bound_gets_to_know_the_user(world):
    """With everything rated and no clipping, it knows offset and tastes."""
    users, items = np.arange(3), np.tile(np.arange(N), (3, 1))
    obs = {"items": items, "rewards": world.expected(users[:, None], items), "turn": np.zeros(3)}
    policy = InformedBound(world)
    policy.start(obs, users)
    known = np.linalg.solve(policy.precision, policy.moment[..., None])[..., 0]
    truth = np.column_stack([world.user_offset, world.user_factors])[:3]
    np.testing.assert_allclose(known, truth, atol=0.05)


def test_the_world_model_is_asked_about_everybody_in_chunks(world, source):
    policy = Greedy(source)
    users = np.resize(np.arange(200), 300)
    policy.start({}, users)
    assert np.array_equal(policy.scores, reward_rows(source, users))
