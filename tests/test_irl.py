"""The discriminator's sign, shaping, reward forms; the reward head's regression and memory."""

import numpy as np
import pytest
import torch

from minirec import UserError
from minirec.irl.adversarial import Discriminator, adversarial_round, discriminator_step
from minirec.irl.rewards import RewardForm, RewardNet, Transitions, load_reward
from minirec.irl.source import LearnedSource
from minirec.rl.memory import Ring
from minirec.rl.policy import RIDGE, build_policy
from minirec.rl.settings import FORMS
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES

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
        torch.arange(m),
    )  # fmt: skip


def net(seed=0, **more):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RewardNet(torch.eye(N), hidden=16, discount=0.9, **more)


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


def test_every_form_is_the_function_of_d_that_its_name_says():
    discriminator, policy = Discriminator(net()), transitions([4, 5, 6, 7])
    d = discriminator(policy).sigmoid().detach()
    paid = {form: discriminator.pay(policy, form) for form in RewardForm}
    assert torch.allclose(paid[RewardForm.GAIL], -torch.log(1 - d), atol=1e-5)
    assert torch.allclose(paid[RewardForm.LOG_D], torch.log(d), atol=1e-5)
    assert torch.allclose(paid[RewardForm.AIRL], torch.log(d) - torch.log(1 - d), atol=1e-4)
    shaped = paid[RewardForm.AIRL] + policy.log_probs
    assert torch.allclose(paid[RewardForm.SHAPED], shaped, atol=1e-5)
    assert (paid[RewardForm.GAIL] > 0).all() and (paid[RewardForm.LOG_D] < 0).all()
    assert tuple(form.value for form in RewardForm) == FORMS


def test_gails_logits_leave_the_policy_out():
    discriminator = Discriminator(net(), structured=False)
    rare, usual = transitions([0, 1], log_prob=-5.0), transitions([0, 1], log_prob=-1.0)
    assert torch.equal(discriminator(rare), discriminator(usual))


def test_statistics_tell_a_coin_from_a_judge():
    _, _, _, sure = trained()
    assert sure["entropy"] < 0.3 and sure["logit_demos"] > 1 and sure["logit_policy"] < -1
    coin, alike = Discriminator(net(), structured=False), transitions([0, 1, 2, 3])
    for parameter in coin.parameters():
        torch.nn.init.zeros_(parameter)
    optimiser, generator = torch.optim.SGD(coin.parameters(), 0.0), torch.Generator()
    found = discriminator_step(coin, optimiser, alike, alike, batch=8, generator=generator)
    assert found["entropy"] == pytest.approx(np.log(2)) and found["logit_demos"] == 0


def test_the_gradient_penalty_is_the_squared_slope_and_flattens_g():
    network, batch = net(), transitions([0, 1, 2, 3])
    inputs = network.inputs(batch.items, batch.rewards, batch.acts).double()
    g = network.double().g
    slopes, epsilon = [], 1e-6
    for row in inputs:
        steps = torch.eye(len(row), dtype=row.dtype) * epsilon
        slopes.append((g(row + steps) - g(row - steps)).squeeze(1) / (2 * epsilon))
    expected = torch.stack(slopes).square().sum(1).mean().item()
    assert network.float().steepness(batch).item() == pytest.approx(expected, rel=1e-3)
    demos, policy = transitions([0, 1, 2, 3] * 30), transitions([4, 5, 6, 7] * 30, seed=1)
    steep = []
    for penalty in (0.0, 1.0):
        discriminator, generator = Discriminator(net()), torch.Generator().manual_seed(0)
        optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
        for _ in range(100):
            discriminator_step(
                discriminator, optimiser, demos, policy, batch=32, generator=generator,
                penalty=penalty,
            )  # fmt: skip
        steep.append(discriminator.net.steepness(demos).item())
    assert steep[1] < steep[0] / 3


def test_a_saved_reward_is_the_same_and_other_files_are_refused(tmp_path):
    network, batch = net(), transitions([0, 1, 2, 3])
    for saved in (network, net(turn_limit=5)):
        saved.save(tmp_path / "reward.pt")
        assert torch.equal(load_reward(tmp_path / "reward.pt")(batch), saved(batch))
    with pytest.raises(UserError, match="no such file"):
        load_reward(tmp_path / "other.pt")
    (tmp_path / "other.pt").write_text("hello")
    with pytest.raises(UserError, match="holds no learned reward"):
        load_reward(tmp_path / "other.pt")
    torch.save({"net": {}}, tmp_path / "empty.pt")
    with pytest.raises(UserError, match="holds no learned reward"):
        load_reward(tmp_path / "empty.pt")


def test_a_learned_reward_pays_an_environment():
    rng = np.random.default_rng(0)
    items, ratings = rng.integers(0, N, 12), rng.uniform(1, 5, 12)
    histories = Histories(items, ratings, np.arange(0, 13, 3), N)
    source = LearnedSource(net(), histories, ratings, K=K)
    rows = source.reward_rows(np.arange(4))
    assert rows.mean() == pytest.approx(ratings.mean(), abs=1e-4)
    assert rows.std() == pytest.approx(ratings.std(), abs=1e-4)
    window = map(torch.from_numpy, histories.window(np.array([2]), K))
    window = [part.repeat(N, 1) for part in window]
    raw = net().reward(*window, torch.arange(N)).tolist()
    assert np.argsort(raw).tolist() == np.argsort(rows[2]).tolist()
    env = RecEnv(source, RULES["no_repeat"], histories, K=K)
    env.reset(options={"user": 2})
    free = int(np.flatnonzero(histories.unseen(np.array([2]))[0])[0])
    assert env.step(free)[1] == pytest.approx(rows[2, free], abs=1e-5)
    with pytest.raises(UserError, match="knows 8 items but the histories 9"):
        LearnedSource(net(), Histories.empty(4, 9), ratings)
    flat = net()
    torch.nn.init.zeros_(flat.g[-1].weight)
    with pytest.raises(UserError, match="the same for all items"):
        LearnedSource(flat, histories, ratings, K=K)


def test_a_surprising_step_of_the_policy_looks_more_like_the_demonstrator():
    """The logit is f - log pi: what the policy rarely does raises it."""
    discriminator = Discriminator(net())
    rare, usual = transitions([0, 1], log_prob=-5.0), transitions([0, 1], log_prob=-1.0)
    assert torch.allclose(discriminator(rare) - discriminator(usual), torch.full((2,), 4.0))


@pytest.mark.parametrize("limit", [None, 5])
def test_shaping_telescopes_and_the_terminal_state_has_no_potential(limit):
    """Along an episode that ends, sum of gamma^t (f - g) is -h(first state), whatever happens."""
    network, rng = net(turn_limit=limit), np.random.default_rng(3)
    items, rewards = torch.full((1, K), N), torch.zeros(1, K)
    first, total = network.potential(items, rewards, torch.zeros(1)), 0.0
    for t in range(5):
        act = torch.from_numpy(rng.integers(0, N, 1))
        paid = torch.tensor([float(rng.uniform(1, 5))])
        following = torch.cat([items[:, 1:], act[:, None]], 1)
        shown = torch.cat([rewards[:, 1:], paid[:, None]], 1)
        ended = torch.tensor([t == 4])
        turn, log_prob = torch.tensor([t]), torch.zeros(1)
        step = Transitions(items, rewards, act, following, shown, ended, log_prob, turn)
        total += 0.9**t * (network(step) - network.reward(items, rewards, act)).item()
        items, rewards = following, shown
    assert total == pytest.approx(-first.item(), abs=1e-5)


def test_only_a_potential_with_a_turn_limit_knows_the_turn():
    early, late = transitions([0, 1]), transitions([0, 1])
    late.turns.add_(3)
    blind, timed = net(), net(turn_limit=10)
    assert torch.equal(blind(early), blind(late)) and not torch.equal(timed(early), timed(late))
    assert torch.equal(*(timed.reward(s.items, s.rewards, s.acts) for s in (early, late)))


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
    def step(k, rows=2):
        return {"known": torch.full((rows, 2), float(k)), "acts": torch.full((rows,), k)}

    memory, other = (Ring(5, **step(0, 0)) for _ in range(2))
    for k in range(4):
        memory.add(**step(k))
    assert sorted(memory.fields["acts"].tolist()) == [1, 2, 2, 3, 3] and len(memory) == 5
    other.load_state_dict(memory.state_dict())
    drawn = [m.draw(20, torch.Generator().manual_seed(1)) for m in (memory, other)]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in ("known", "acts"))
    assert torch.equal(drawn[0]["known"][:, 0], drawn[0]["acts"].float())  # rows stay together
    for held in (memory, other):
        held.add(**step(9, 1))
    assert torch.equal(memory.fields["acts"], other.fields["acts"])
