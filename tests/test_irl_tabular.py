"""Exact worlds: soft values, occupancy, maximum-entropy IRL, each against brute force."""

import itertools

import numpy as np
import pytest

from minirec import UserError
from minirec.irl.compare import canonical, rank_correlations, shaping, shaping_distance
from minirec.irl.tabular import (
    TabularMDP,
    empirical_occupancy,
    maxent_irl,
    occupancy,
    sample_episodes,
    soft_value_iteration,
    visits,
)


def random_mdp(seed, states=5, actions=3, horizon=6, discount=1.0, *, ends=False):
    """Return a random world and a reward (S, A); with ``ends`` the last state is terminal."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.4), (states, actions))
    start = rng.dirichlet(np.ones(states))
    allowed, terminal = np.ones((states, actions), bool), np.zeros(states, bool)
    if ends:
        terminal[-1], allowed[-1, 1:] = True, False
        transition[-1], transition[-1, 0, -1], start[-1] = 0, 1, 0
        start /= start.sum()
    mdp = TabularMDP(transition, start, horizon, allowed, terminal, discount)
    return mdp, rng.normal(size=(states, actions))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_soft_values_equal_the_sum_over_all_action_sequences(temperature):
    """Where chance plays no part, V_0 = temperature log sum exp(return / temperature)."""
    mdp, reward = random_mdp(0, states=4, horizon=5)
    after = mdp.transition.argmax(2)
    sure = TabularMDP(np.eye(4)[after], mdp.start, 5)
    found = soft_value_iteration(sure, reward, temperature=temperature)
    for state in range(4):
        returns = []
        for acts in itertools.product(range(3), repeat=5):
            at, total = state, 0.0
            for act in acts:
                total, at = total + reward[at, act], after[at, act]
            returns.append(total)
        sums = np.exp(np.array(returns) / temperature).sum()
        assert found.values[0, state] == pytest.approx(temperature * np.log(sums))


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_soft_values_are_return_plus_entropy_and_no_policy_has_more(ends, discount):
    mdp, reward = random_mdp(1, discount=discount, ends=ends)
    solution = soft_value_iteration(mdp, reward, temperature=0.5)
    rng = np.random.default_rng(2)

    def worth(policy):
        bits = -np.log(np.where(policy > 0, policy, 1))
        earned = mdp.table(reward) + 0.5 * bits
        steps = discount ** np.arange(mdp.horizon)
        return np.einsum("t,tsa,tsa->", steps, occupancy(mdp, policy), earned)

    best = mdp.start @ solution.values[0]
    assert worth(solution.policy) == pytest.approx(best)
    for _ in range(20):
        other = solution.policy * rng.exponential(size=solution.policy.shape)
        assert worth(other / other.sum(2, keepdims=True)) < best


def test_temperature_zero_is_value_iteration():
    mdp, reward = random_mdp(3, states=3, actions=2, horizon=3)
    hard, cool = (soft_value_iteration(mdp, reward, temperature=t) for t in (0, 1e-3))
    assert np.allclose(hard.policy, cool.policy)
    assert np.allclose(hard.values, cool.values, atol=0.01)
    assert set(np.unique(hard.policy)) == {0, 1}
    with pytest.raises(UserError, match="temperature is -1"):
        soft_value_iteration(mdp, reward, temperature=-1)


def test_occupancy_equals_the_sum_over_all_paths_and_sums_to_the_horizon():
    mdp, reward = random_mdp(4, states=3, actions=2, horizon=3, ends=True)
    policy = soft_value_iteration(mdp, reward).policy
    found, expected = occupancy(mdp, policy), np.zeros((3, 3, 2))
    for path in itertools.product(itertools.product(range(3), range(2)), repeat=3):
        chance = mdp.start[path[0][0]]
        for t, (state, act) in enumerate(path):
            chance *= policy[t, state, act]
            if t < 2:
                chance *= mdp.transition[state, act, path[t + 1][0]]
        for t, (state, act) in enumerate(path):
            expected[t, state, act] += chance
    assert np.allclose(found, expected)
    assert np.allclose(found.sum((1, 2)), 1) and found.sum() == pytest.approx(3)
    assert visits(mdp, found).sum() < 3  # waiting is no visit


def test_sampled_episodes_have_the_occupancy():
    mdp, reward = random_mdp(5, ends=True)
    policy = soft_value_iteration(mdp, reward).policy
    states, acts = sample_episodes(mdp, policy, 20_000, np.random.default_rng(0))
    counted = empirical_occupancy(mdp, states, acts)
    assert np.abs(counted - occupancy(mdp, policy)).max() < 0.02
    assert (counted[policy == 0] == 0).all()


def test_who_starts_more_often_by_chance_does_not_count_more():
    mdp, reward = random_mdp(1, discount=0.9, ends=True)
    policy = soft_value_iteration(mdp, reward).policy
    states, acts = sample_episodes(mdp, policy, 300, np.random.default_rng(0))
    twice = np.concatenate([np.arange(300), np.flatnonzero(states[:, 0] == states[0, 0])])
    once, again = (empirical_occupancy(mdp, states[r], acts[r]) for r in (np.arange(300), twice))
    assert np.allclose(once, again) and np.allclose(once[0].sum(1), mdp.start)


@pytest.mark.parametrize("seed", range(20))
def test_the_learned_occupancy_is_the_demonstrators(seed):
    mdp, reward = random_mdp(seed, discount=(1.0, 0.9)[seed % 2], ends=seed % 4 > 1)
    shown = occupancy(mdp, soft_value_iteration(mdp, reward).policy)
    fit = maxent_irl(mdp, visits(mdp, shown))
    learned = occupancy(mdp, fit.solution.policy)
    assert np.abs(learned - shown).max() < 1e-3 and fit.gap < 1e-4
    assert np.abs(fit.solution.policy - soft_value_iteration(mdp, reward).policy).max() < 0.05


def test_the_gradient_of_the_likelihood_is_learned_minus_demonstrated_visits():
    """Compare E[V_0] - <demonstrated, r> with finite differences of the visits' difference."""
    mdp, reward = random_mdp(7, discount=0.9, ends=True)
    wanted = visits(mdp, occupancy(mdp, soft_value_iteration(mdp, 2 * reward).policy))
    live, epsilon = mdp.allowed & ~mdp.terminal[:, None], 1e-5

    def loss(r):
        return mdp.start @ soft_value_iteration(mdp, r).values[0] - (wanted * r)[live].sum()

    exact = visits(mdp, occupancy(mdp, soft_value_iteration(mdp, reward).policy)) - wanted
    for state, act in zip(*live.nonzero(), strict=True):
        step = np.zeros_like(reward)
        step[state, act] = epsilon
        slope = (loss(reward + step) - loss(reward - step)) / (2 * epsilon)
        assert slope == pytest.approx(exact[state, act], abs=1e-7)


def test_linear_features_are_found_again():
    mdp, _ = random_mdp(8, states=8, horizon=8)
    features = np.random.default_rng(1).normal(size=(8, 3, 2))
    theta = np.array([1.0, -0.5])
    shown = visits(mdp, occupancy(mdp, soft_value_iteration(mdp, features @ theta).policy))
    fit = maxent_irl(mdp, shown, features)
    assert fit.weights == pytest.approx(theta, abs=1e-3)
    firm = maxent_irl(mdp, shown, features, penalty=1.0)
    assert np.linalg.norm(firm.weights) < np.linalg.norm(theta)


@pytest.mark.parametrize("seed", range(20))
def test_shaping_leaves_every_optimal_policy_and_a_terminal_potential_does_not(seed):
    mdp, reward = random_mdp(seed, horizon=8, discount=0.9, ends=True)
    rng = np.random.default_rng([seed, 1])
    phi = 3 * rng.normal(size=(9, 5))
    broken = mdp.discount * np.einsum("sap,tp->tsa", mdp.transition, phi[1:]) - phi[:-1, :, None]
    moved = []
    for temperature in (0.0, 1.0):
        plain, shaped, wrong = (
            soft_value_iteration(mdp, mdp.table(reward) + more, temperature=temperature).policy
            for more in (0, shaping(mdp, phi), broken)
        )
        assert np.allclose(plain, shaped)
        moved.append(np.abs(plain - wrong)[:, :-1].max())
    assert min(moved) > 0.05


def test_the_choice_in_a_terminal_state_would_pay():
    """The reason why one needs exactly one action: with three, leaving earns log 3 a step."""
    mdp, _ = random_mdp(0, ends=True)
    every = np.ones_like(mdp.allowed)
    transition = mdp.transition.copy()
    transition[-1, :, -1], transition[-1, :, :-1] = 1, 0
    open_, nothing = TabularMDP(transition, mdp.start, 6, every), np.zeros((5, 3))
    assert soft_value_iteration(open_, nothing).values[0, -1] == pytest.approx(6 * np.log(3))
    assert soft_value_iteration(mdp, nothing).values[0, -1] == 0
    with pytest.raises(UserError, match="exactly one action"):
        TabularMDP(transition, mdp.start, 6, every, mdp.terminal)


def test_worlds_that_make_no_sense_are_refused():
    mdp, _ = random_mdp(0)
    for changed, told in (
        ({"start": mdp.start / 2}, "sum to 1"),
        ({"start": mdp.start[:-1]}, "do not fit"),
        ({"transition": mdp.transition * 0.9}, "sum to 1"),
        ({"allowed": mdp.allowed & (np.arange(5) > 0)[:, None]}, "state 0 allows no action"),
    ):
        with pytest.raises(UserError, match=told):
            TabularMDP(**(vars(mdp) | changed))


def test_the_distance_minds_neither_scale_nor_shaping_but_survival():
    mdp, reward = random_mdp(2, states=8, discount=0.9, ends=True)
    rng = np.random.default_rng(0)
    same = 3 * reward + shaping(mdp, 5 * rng.normal(size=8))
    assert shaping_distance(mdp, same, reward) < 1e-6
    assert shaping_distance(mdp, -same, reward) == pytest.approx(1)
    for _ in range(5):
        nothing = shaping(mdp, rng.normal(size=8))
        assert shaping_distance(mdp, nothing, reward) == 0.5**0.5
    assert shaping_distance(mdp, reward + 1, reward) > 0.1  # a reward for staying is no shaping
    assert shaping_distance(mdp, reward + 1, reward, constant=False) < 1e-6
    whole, reward = random_mdp(2, states=8, discount=0.9)
    assert shaping_distance(whole, reward + 1, reward) < 1e-6  # here nobody can leave


def test_the_canonical_reward_is_the_shortest():
    mdp, reward = random_mdp(4, states=8, discount=0.9, ends=True)
    live = mdp.allowed & ~mdp.terminal[:, None]
    shortest = np.linalg.norm(canonical(mdp, reward))
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = reward + shaping(mdp, rng.normal(size=8))
        assert np.linalg.norm(other[live]) > shortest
        assert np.allclose(canonical(mdp, other), canonical(mdp, reward))


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 9)).round(1)
    where = rng.random((4, 9)) < 0.8
    for learned, truth, correlation, kept in zip(
        a, b, rank_correlations(a, b, where), where, strict=True
    ):
        assert correlation == pytest.approx(spearmanr(learned[kept], truth[kept]).statistic)
    assert np.isnan(rank_correlations(np.ones((1, 4)), b[:1, :4])).all()
