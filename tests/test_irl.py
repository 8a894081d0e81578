"""The discriminator's sign, shaping, reward forms; the reward head's regression and memory."""

import numpy as np
import pytest
import torch

from minirec.irl.adversarial import Discriminator, adversarial_round, discriminator_step
from minirec.irl.rewards import RewardForm, RewardNet, Transitions
from minirec.rl.memory import RewardMemory
from minirec.rl.policy import RIDGE, build_policy

N, K = 8, 3


def transitions(acts, seed=0, log_prob=-2.0):
    rng = np.random.default_rng(seed)
    m = len(acts)
    items = torch.from_numpy(rng.integers(0, N + 1, (m, K)))
    rewards = torch.from_numpy(rng.uniform(1, 5, (m, K)).astype(np.float32)) * (items < N)
    acts = torch.as_tensor(acts)
    return Transitions(
        items, rewards, acts,
        torch.cat([items[:, 1:], acts[:, None]], 1),
        torch.cat([rewards[:, 1:], torch.full((m, 1), 4.0)], 1),
        torch.zeros(m, dtype=torch.bool), torch.full((m,), log_prob),
    )  # fmt: skip


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RewardNet(torch.eye(N), hidden=16, discount=0.9)


def trained(steps=200):
    """Train on sides that differ in one thing: the demonstrator picks items 0 to 3."""
    discriminator, generator = Discriminator(net()), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    demos, policy = transitions([0, 1, 2, 3] * 30), transitions([4, 5, 6, 7] * 30, seed=1)
    for _ in range(steps):
        statistics = discriminator_step(
            discriminator, optimiser, demos, policy, batch=32, generator=generator
        )
    return discriminator, demos, policy, statistics


def test_positive_logits_mean_demonstrator():
    discriminator, demos, policy, statistics = trained()
    assert (discriminator(demos) > 0).float().mean() > 0.95
    assert (discriminator(policy) < 0).float().mean() > 0.95
    assert min(statistics["accuracy_demos"], statistics["accuracy_policy"]) > 0.9


def test_what_the_demonstrator_does_is_paid_better_in_every_form():
    discriminator, demos, policy, _ = trained()
    for form in RewardForm:
        assert discriminator.pay(demos, form).mean() > discriminator.pay(policy, form).mean()
    assert (discriminator.pay(policy, RewardForm.GAIL) > 0).all()


def test_a_surprising_step_of_the_policy_looks_more_like_the_demonstrator():
    """The logit is f - log pi: what the policy rarely does raises it."""
    discriminator = Discriminator(net())
    rare, usual = transitions([0, 1], log_prob=-5.0), transitions([0, 1], log_prob=-1.0)
    assert torch.allclose(discriminator(rare) - discriminator(usual), torch.full((2,), 4.0))


def test_shaping_telescopes_and_the_terminal_state_has_no_potential():
    """Along an episode that ends, sum of gamma^t (f - g) is -h(first state), whatever happens."""
    network, rng = net(), np.random.default_rng(3)
    items, rewards = torch.full((1, K), N), torch.zeros(1, K)
    first, total = network.h(network.state(items, rewards)), 0.0
    for t in range(5):
        act = torch.from_numpy(rng.integers(0, N, 1))
        paid = torch.tensor([float(rng.uniform(1, 5))])
        following = torch.cat([items[:, 1:], act[:, None]], 1)
        shown = torch.cat([rewards[:, 1:], paid[:, None]], 1)
        ended = torch.tensor([t == 4])
        step = Transitions(items, rewards, act, following, shown, ended, torch.zeros(1))
        total += 0.9**t * (network(step) - network.reward(items, rewards, act)).item()
        items, rewards = following, shown
    assert total == pytest.approx(-first.item(), abs=1e-5)


def test_padding_says_nothing():
    network = net()
    two = network.state(torch.tensor([[N, 1, 2]]), torch.tensor([[0.0, 5.0, 1.0]]))
    assert two[0].tolist() == pytest.approx(
        [0, 0.5, 0.5, 0, 0, 0, 0, 0, 0, 0.5, -0.5, 0, 0, 0, 0, 0, 0.0]
    )


class Echo:
    """A learner that remembers what it was told to maximise."""

    def rollout(self):
        self.played = transitions([4, 5, 6, 7])
        return self.played

    def demonstrations(self):
        return transitions([0, 1, 2, 3])

    def improve(self, reward):
        self.paid = reward(self.played)


def test_a_round_pays_the_learner_for_what_it_played():
    learner, discriminator = Echo(), Discriminator(net())
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    adversarial_round(
        discriminator, optimiser, learner, form=RewardForm.AIRL, steps=3, batch=4,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.allclose(learner.paid, discriminator(learner.played))


def test_the_state_holds_a_ridge_regression():
    policy = build_policy(torch.randn(N, 2, generator=torch.Generator().manual_seed(0)), 0)
    table, items = policy.table(), torch.tensor([[N, 3, 1, 6]])
    rewards = torch.tensor([[0.0, 5.0, 2.0, 4.0]])
    _, known = policy.read(policy.start(table, items, rewards))
    x = np.column_stack([policy.features[items[0, 1:]].numpy(), np.ones(3)])
    y = (rewards[0, 1:].numpy() - 3) / 2
    expected = np.linalg.solve(x.T @ x + RIDGE * np.eye(3), x.T @ y)
    assert known[0, :-1].numpy() == pytest.approx(expected, abs=1e-5)
    assert known[0, -1].item() == pytest.approx(3 / 4)


def test_the_policy_gradient_does_not_reach_the_reward_head():
    policy = build_policy(torch.eye(N), 0, dim=4, hidden=8)
    state = policy.start(policy.table(), torch.tensor([[1, 2]]), torch.tensor([[5.0, 1.0]]))
    logits, *_ = policy.act(policy.table(), state, torch.ones(1, N, dtype=torch.bool))
    logits.log_softmax(1)[0, 3].backward()
    head = [*policy.taste.parameters(), *policy.level.parameters(), policy.project.weight]
    assert all(p.grad is None or not p.grad.any() for p in head)
    assert policy.sharpness.grad is not None


def test_memory_keeps_the_newest_and_survives_a_stop():
    memory = RewardMemory(2, 5)
    for k in range(4):
        memory.add(torch.full((2, 2), float(k)), torch.tensor([k, k]), torch.tensor([1.0, 2.0]))
    assert sorted(memory.acts.tolist()) == [1, 2, 2, 3, 3]
    other = RewardMemory(2, 5)
    other.load_state_dict(memory.state_dict())
    drawn = [m.draw(20, torch.Generator().manual_seed(1)) for m in (memory, other)]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    other.add(torch.zeros(1, 2), torch.tensor([9]), torch.zeros(1))
    memory.add(torch.zeros(1, 2), torch.tensor([9]), torch.zeros(1))
    assert torch.equal(memory.acts, other.acts)
