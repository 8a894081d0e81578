"""Every agent learns the identity, equals brute force, and goes on after a stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from minirec import UserError
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import A2C, Reinforce, train
from minirec.rl.dqn import DQN
from minirec.rl.imitation import Demonstrations
from minirec.rl.learner import ILRec
from minirec.rl.policy import SHARPNESS, build_policy, load_policy
from minirec.rl.rollout import Collector
from minirec.rl.settings import LearnerConfig
from minirec.rl.trackers import TRACKERS, build_tracker
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import MatrixSource
from test_rl import demonstration

N = 6
STAY = QuitRules(min_reward=-1, max_turns=2, repeats="allowed")
CONFIG = LearnerConfig(
    users=16, growth=10**9, segment=2, dim=8, hidden=16, rate=1e-2, actor_rate=1e-2, discount=0.5,
    entropy=0.1, memory_steps=4, memory_batch=64, explore_steps=1_000, imitation_steps=1_000,
    bonus=0,
)  # fmt: skip
KINDS = {
    "REINFORCE": (Reinforce, {}),
    "REINFORCE, no foresight": (Reinforce, {"foresight": False, "memory_steps": 0}),
    "A2C": (A2C, {}),
    "A2C, no foresight": (A2C, {"foresight": False, "memory_steps": 0}),
    "DQN": (DQN, {"tracker": "none"}),
    "IL-Rec": (ILRec, {}),
}


def identity_env():
    """Return a world in which user u wants item u, and their one logged row says so."""
    rewards = np.where(np.eye(N, dtype=bool), 5, 2).astype(np.float32)
    users = np.arange(N)
    histories = Histories(users, np.full(N, 5, np.float32), np.arange(N + 1), N)
    return BatchedRecEnv(MatrixSource(rewards, np.eye(N, dtype=np.float32)), STAY, histories, K=3)


def make(kind, seed=0, **changed):
    cls, settings = KINDS[kind]
    env, config = identity_env(), replace(CONFIG, **settings | changed)
    noise = torch.Generator().manual_seed(seed)
    collector = Collector(env, np.arange(N), 16, np.random.default_rng(seed), noise)
    given = [torch.eye(N), collector]
    if cls is ILRec:
        given.append(Demonstrations.pack([demonstration(env, [u, u], u) for u in range(3)], None))
    return cls(*given, config, seed=seed, generator=torch.Generator().manual_seed(seed))


def chosen(learner):
    """Return which item each user is shown first, (N,)."""
    env, users = identity_env(), np.arange(N)
    agent, obs = PolicyAgent(learner.policy, "learner"), env.reset(users)
    agent.start(obs, users)
    return agent.act(obs, env.action_mask)


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_learns_the_identity(kind):
    learner = make(kind)
    train(learner, 6_000, lambda n: None)
    assert (chosen(learner) == np.arange(N)).mean() >= 0.9, chosen(learner)


def test_nobody_learns_it_from_a_constant_reward():
    learner = make("A2C, no foresight")
    learner.constant_reward = True
    train(learner, 6_000, lambda n: None)
    assert (chosen(learner) == np.arange(N)).mean() <= 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_learn_equally_and_a_stop_changes_nothing(kind):
    straight, stopped, other = make(kind), make(kind), make(kind, seed=1)
    for learner in (straight, stopped, other):
        train(learner, 200, lambda n: None)
    resumed = make(kind, seed=2)
    resumed.load_state_dict(stopped.state_dict())
    for learner in (straight, resumed):
        train(learner, 400, lambda n: None)
    pairs = zip(straight.policy.parameters(), resumed.policy.parameters(), strict=True)
    assert straight.steps == resumed.steps and all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(straight.policy.parameters(), other.policy.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_reinforce_credits_a_step_with_all_that_came_after_it():
    learner = make("REINFORCE")
    segment = learner.collect()
    gamma, scale = CONFIG.discount, (1 - CONFIG.discount) / 5
    returns, log_probs, values, entropy = [], [], [], []
    for b in range(segment.acts.shape[1]):
        steps = int(segment.valid[:, b].sum())
        for t in range(steps):
            paid = [segment.rewards[k, b].item() * gamma ** (k - t) for k in range(t, steps)]
            returns.append(scale * sum(paid))
            log_probs.append(segment.log_probs[t, b].item())
            values.append(segment.values[t, b].item())
            entropy.append(segment.entropy[t, b].item())
    g, v, logs = np.array(returns), np.array(values), np.array(log_probs)
    surplus = (g - v - (g - v).mean()) / ((g - v).std(ddof=1) + 1e-6)
    expected = -(surplus * logs).mean() + 0.5 * ((v - g) ** 2).mean()
    expected -= CONFIG.entropy * np.mean(entropy)
    found = learner.loss(segment, segment.rewards).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_q_learning_error_by_hand():
    learner = make("DQN")
    learner.play()
    with torch.no_grad():
        for parameter in learner.target.parameters():
            parameter.add_(0.1)
    kept = learner.steps_seen.draw(20, torch.Generator().manual_seed(0))
    kept["terminated"] = torch.arange(20) % 3 == 0
    errors = []
    for k in range(20):
        known, after = kept["known"][k : k + 1], kept["next_known"][k : k + 1]
        allowed = np.unpackbits(kept["allowed"][k].numpy())[:N].astype(bool)

        def q(net, known):
            logits, value = net.decide(net.table(), known, known, torch.ones(1, N).bool())
            scaled = (1 - CONFIG.discount) / 5 / SHARPNESS * logits[0]
            return (value + scaled).detach().numpy()

        best = int(np.where(allowed, q(learner.policy, after), -np.inf).argmax())
        later = 0 if kept["terminated"][k] else CONFIG.discount * q(learner.target, after)[best]
        goal = (1 - CONFIG.discount) / 5 * kept["rewards"][k].item() + later
        miss = abs(q(learner.policy, known)[kept["acts"][k]] - goal)
        errors.append(miss**2 / 0.2 if miss < 0.1 else miss - 0.05)
    assert learner.error(kept).item() == pytest.approx(np.mean(errors), abs=1e-6)


def test_an_explorer_plays_its_best_items_but_for_a_share():
    learner = make("DQN", explore_steps=10**9)
    found = {}
    for share in (0.0, 1.0):
        segment = learner.collector.collect(learner.policy, 60, explore=share)
        best = segment.log_probs.exp().detach() >= 1 / N  # of a policy that is not even
        found[share] = best.float().mean().item()
        shares = torch.bincount(segment.acts.flatten(), minlength=N) / segment.acts.numel()
        assert share < 1 or torch.allclose(shares, torch.full((N,), 1 / N), atol=0.06)
    assert found[0.0] == 1.0 and found[1.0] < 0.9


def test_whoever_waits_starts_as_if_read_alone():
    learner = make("A2C")
    policy, collector = learner.policy, learner.collector
    for _ in range(3):
        segment = collector.collect(policy, 4)
    fresh = torch.from_numpy(collector.obs["turn"]) == 0
    alone = policy.start(
        policy.table(), *(torch.from_numpy(collector.obs[n][fresh]) for n in ("items", "rewards"))
    )
    assert fresh.any() and torch.allclose(collector.state[fresh], alone, atol=1e-6)
    cut = segment.truncated
    assert cut.any() and (segment.next_values[cut] != 0).all()


def test_more_users_play_as_steps_go_by():
    learner = make("A2C", users=4, most_users=16, growth=20)
    sizes = []
    while learner.steps < 1_000:
        learner.update()
        sizes.append(learner.collector.size)
    assert sorted(set(sizes)) == [4, 8, 16] and sizes == sorted(sizes)
    assert [learner.config.users_at(s) for s in (0, 159, 160, 320)] == [4, 4, 8, 16]


@pytest.mark.parametrize("name", TRACKERS)
def test_trackers_treat_users_alone_and_survive_the_file(name):
    policy = build_policy(torch.eye(N), 0, dim=4, hidden=8, tracker=name)
    items = torch.tensor([[N, 0, 3], [5, 1, 2], [N, N, N]])
    rewards = torch.tensor([[0, 5.0, 1.0], [2.0, 3.0, 4.0], [0, 0, 0]])
    together = policy.read(policy.start(policy.table(), items, rewards))[0]
    for row in range(3):
        one = slice(row, row + 1)
        alone = policy.read(policy.start(policy.table(), items[one], rewards[one]))[0]
        assert torch.allclose(together[one], alone, atol=1e-6)
    again = load_policy(policy.state_dict())
    known = again.read(again.start(again.table(), items, rewards))[0]
    assert torch.equal(known, together)
    if name != "none":
        other = rewards.clone()
        other[0, 1] = 1.0  # the same items, liked otherwise
        moved = policy.read(policy.start(policy.table(), items, other))[0]
        width = policy.tracker.width
        assert not torch.allclose(moved[0, :width], together[0, :width])


def test_the_average_forgets_the_order_and_the_others_do_not():
    items, rewards = torch.tensor([[0, 1, 2]]), torch.tensor([[5.0, 1.0, 3.0]])
    for name, same in (("average", True), ("gru", False), ("attention", False)):
        policy = build_policy(torch.eye(N), 0, dim=4, hidden=8, tracker=name)
        read = [
            policy.read(policy.start(policy.table(), i, r))[0]
            for i, r in ((items, rewards), (items.flip(1), rewards.flip(1)))
        ]
        assert torch.allclose(*read, atol=1e-6) == same, name


def test_attention_in_closed_form():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tracker = build_tracker("attention", 3, 5)
    memory, pairs = torch.zeros(1, tracker.size), torch.randn(4, 4)
    for pair in pairs:
        memory = tracker.step(memory, pair[None, :3], pair[None, 3:])
    x = torch.cat([pairs[:, :3], pairs[:, :3] * pairs[:, 3:], pairs[:, 3:]], 1)
    tokens = torch.relu(tracker.layer(x) + tracker.position[-4:])
    scores = torch.stack([tracker.query(tokens[-1]) @ tracker.key(token) for token in tokens])
    answer = (scores / 5**0.5).softmax(0) @ tracker.value(tokens)
    assert torch.allclose(tracker.read(memory)[0], torch.relu(tokens[-1] + answer), atol=1e-5)
    assert not tracker.read(torch.zeros(2, tracker.size)).any()


def test_with_a_prior_the_reward_head_starts_as_a_regression():
    rng = np.random.default_rng(0)
    features, prior = rng.normal(size=(N, 2)).astype(np.float32), rng.uniform(2, 4, N)
    policy = build_policy(torch.from_numpy(features), 0, prior=torch.tensor(prior).float())
    items, rewards = np.array([1, 4, 2]), np.array([5.0, 2.0, 3.0])
    window = torch.tensor(items)[None], torch.tensor(rewards)[None].float()
    state = policy.start(policy.table(), *window)
    known = policy.read(state)[1]
    x = np.column_stack([features, np.ones(N)])
    gram = x[items].T @ x[items] + np.eye(3)
    taste = np.linalg.solve(gram, x[items].T @ (rewards - prior[items]))
    expected = prior + x @ taste
    assert np.allclose(policy.predict(policy.table(), known)[0].detach(), expected, atol=1e-4)
    for item in range(N):
        one = policy.foresee(known, torch.tensor([item])).item()
        assert one == pytest.approx(expected[item], abs=1e-4)


def test_foresight_of_one_item_is_that_of_all():
    policy = build_policy(torch.eye(N), 0)
    known = torch.randn(7, N + 2, generator=torch.Generator().manual_seed(0))
    acts = torch.arange(7) % N
    everything = policy.predict(policy.table(), known)
    assert torch.allclose(policy.foresee(known, acts), everything[torch.arange(7), acts], atol=1e-5)


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UserError, match="no tracker 'lstm'; use one of gru, average, attention"):
        build_tracker("lstm", 4, 8)
