"""An environment enumerated is the environment; a learner that solves it exactly."""

import numpy as np
import pytest
import torch

from minirec.irl.adversarial import Discriminator, adversarial_round
from minirec.irl.compare import rank_correlations, shaping, shaping_distance
from minirec.irl.enumerated import SoftLearner, deep_maxent_step, enumerate_world
from minirec.irl.rewards import RewardForm, RewardNet
from minirec.irl.tabular import occupancy, sample_episodes, soft_value_iteration, visits
from minirec.world.batched import BatchedRecEnv
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import EXACT_REPEAT, QuitRules
from minirec.world.sources import MatrixSource

USERS, N, K = np.arange(3), 5, 3
REPEATS = QuitRules(window=2, min_distance=EXACT_REPEAT, max_turns=6)
MASKED = QuitRules(max_turns=6, repeats="masked")


def parts(rules, seed=0):
    rng = np.random.default_rng(seed)
    source = MatrixSource(rng.uniform(1.5, 5, (3, N)).round(2), np.eye(N))
    logged = np.arange(6).reshape(3, 2) % N
    ratings = source.matrix[np.arange(3)[:, None], logged].ravel()
    histories = Histories(logged.ravel(), ratings, np.arange(0, 7, 2), N)
    return source, rules, histories


def world_of(rules, seed=0, **more):
    return enumerate_world(BatchedRecEnv(*parts(rules, seed), K=K), USERS, **more)


@pytest.mark.parametrize("rules", [REPEATS, MASKED], ids=["repeats", "masked"])
def test_every_path_is_that_of_the_environment(rules):
    source, _, histories = parts(rules)
    env = RecEnv(source, rules, histories, K=K)
    world = world_of(rules)
    rng = np.random.default_rng(0)
    for trial in range(200):
        user = trial % 3
        obs, info = env.reset(options={"user": user})
        state = int(np.flatnonzero(world.mdp.start)[user])
        while True:
            assert world.users[state] == user
            assert (world.items[state] == obs["items"]).all()
            assert world.rewards[state] == pytest.approx(obs["rewards"])
            assert (world.mdp.allowed[state] == info["action_mask"]).all()
            item = int(rng.choice(np.flatnonzero(info["action_mask"])))
            obs, paid, terminated, truncated, info = env.step(item)
            assert world.true_reward[state, item] == pytest.approx(paid)
            state = world.next_state[state, item]
            if terminated or truncated:
                assert world.mdp.terminal[state] or truncated
                break
            assert world.mdp.terminal[state] == (not info["action_mask"].any())  # nothing is left
            if world.mdp.terminal[state]:
                break


def test_what_is_not_offered_cannot_be_played():
    offered = np.array([True, True, False, True, False])
    world = world_of(REPEATS, offered=offered)
    assert (world.live.any(0) == offered).all()
    assert len(world.users) < len(world_of(REPEATS).users)


def demonstrations(world, seed=0, episodes=100):
    policy = soft_value_iteration(world.mdp, world.true_reward).policy
    return policy, *sample_episodes(world.mdp, policy, episodes, np.random.default_rng(seed))


def test_transitions_are_the_steps_that_were_played():
    world = world_of(REPEATS)
    _, states, acts = demonstrations(world)
    learner = SoftLearner(world, states, acts, np.random.default_rng(0))
    shown = learner.demonstrations()
    length = (~world.mdp.terminal[states[:, :-1]]).sum()
    assert len(shown) == length
    assert (shown.turns.reshape(-1)[:3] == torch.arange(3)).all()
    assert sorted(set(shown.turns.tolist())) == list(range(6))
    last = shown.next_items[:, -1] == shown.acts
    assert last[~shown.terminated].all() and shown.terminated.any()
    every = world.every_step()
    assert len(every) == world.live.sum()
    assert (world.table(torch.arange(len(every)))[world.live] == np.arange(len(every))).all()


def test_improving_solves_the_world_and_a_half_step_goes_half_the_way():
    world = world_of(REPEATS)
    policy, states, acts = demonstrations(world)
    rng = np.random.default_rng(0)
    whole, half = (SoftLearner(world, states, acts, rng, step=step) for step in (1, 0.5))
    start = half.policy
    paid = torch.from_numpy(world.true_reward[world.live])
    for learner in (whole, half):
        learner.improve(lambda steps: paid)
    assert np.allclose(whole.policy, policy)
    between = np.sqrt(start * policy)
    assert np.allclose(half.policy, between / between.sum(2, keepdims=True))


def test_a_soft_policy_is_its_reward_shaped_by_soft_values_that_know_the_turn():
    """log pi_t = r + gamma V_t+1 - V_t: what AIRL's f can be, and no potential without turns."""
    world = world_of(REPEATS, discount=0.9)
    solution = soft_value_iteration(world.mdp, world.true_reward)
    shaped = world.true_reward + shaping(world.mdp, solution.values)
    assert np.allclose(np.log(solution.policy[:, world.live]), shaped[:, world.live])
    early, late = shaped[0, world.live], shaped[-1, world.live]
    assert np.abs(early - late).max() > 1


def net(seed=0, **more):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RewardNet(torch.eye(N), hidden=32, discount=0.9, **more)


def test_a_network_reaches_the_demonstrated_visits():
    world = world_of(REPEATS, discount=0.9)
    shown = visits(world.mdp, occupancy(world.mdp, demonstrations(world)[0]))
    network = net()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    gaps = [
        deep_maxent_step(
            world, shown, lambda s: network.reward(s.items, s.rewards, s.acts), optimiser
        )
        for _ in range(150)
    ]
    assert gaps[-1] < gaps[0] / 5


@pytest.mark.parametrize("limit, form", [(None, "shaped"), (6, "reward")], ids=["blind", "timed"])
def test_adversarial_training_brings_the_visits_nearer_and_ranks_the_items(limit, form):
    world = world_of(REPEATS, discount=0.9)
    policy, states, acts = demonstrations(world, episodes=400)
    learner = SoftLearner(world, states, acts, np.random.default_rng(1))
    discriminator = Discriminator(net(turn_limit=limit))
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    shown = visits(world.mdp, occupancy(world.mdp, policy))

    def gap():
        return np.abs(visits(world.mdp, occupancy(world.mdp, learner.policy)) - shown).sum()

    before = gap()
    for _ in range(100):
        adversarial_round(
            discriminator, optimiser, learner, form=RewardForm(form), steps=5, batch=256,
            generator=generator,
        )  # fmt: skip
    assert gap() < 0.7 * before
    steps = world.every_step()
    table = world.table(discriminator.net.reward(steps.items, steps.rewards, steps.acts))
    learned, true = (world.by_user(r, world.live) for r in (table, world.true_reward))
    assert rank_correlations(learned, true).mean() > 0.5
    with_constant, without = (
        shaping_distance(world.mdp, table, world.true_reward, constant=c) for c in (True, False)
    )
    assert without < 0.5
    # a potential that is blind to the turn makes g pay for the turns that are left
    assert (with_constant < 0.5) == (limit is not None)
