"""Policy, rollout, advantages, imitation: properties and closed forms."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from minirec.irl.weights import demonstration_weights
from minirec.rl.a2c import gae
from minirec.rl.imitation import Demonstrations, imitation_loss, replay
from minirec.rl.policy import build_policy, sample
from minirec.rl.rollout import Collector
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules
from minirec.world.sources import MatrixSource
from minirec.world.trajectory import Trajectory, load_trajectories, save_trajectories

N, U = 9, 4
ROOT = Path(__file__).parents[1]


def make_env(rules=RULES["no_repeat"], K=3):
    rng = np.random.default_rng(0)
    source = MatrixSource(
        rng.uniform(1.5, 5, (U, N)).astype(np.float32), np.eye(N, dtype=np.float32)
    )
    histories = Histories(
        np.array([0, 3, 1, 2]), np.array([5, 1, 3, 4], np.float32), np.array([0, 2, 2, 3, 4]), N
    )
    return BatchedRecEnv(source, rules, histories, K=K)


def make_policy(seed=0):
    return build_policy(torch.eye(N), seed, dim=4, hidden=8)


def make_collector(env, size=6, seed=0):
    noise = torch.Generator().manual_seed(seed)
    return Collector(env, np.arange(U), size, np.random.default_rng(seed), noise)


def agrees(found):
    """Assert that two libraries' numbers are equal but for rounding, and that controls are not."""
    assert found["advantages"] < 1e-5 < 0.1 < found["advantages, cut taken for quit"]
    assert found["loss, rating points"] < 1e-5 and found["gradient, rating points"] < 1e-5
    assert found["gradient, our units"] < 1.1 * found["1e-6 / spread, our units"] < 1e-3
    assert found["gradient, cut taken for quit"] > 1e-2


def test_sampling_never_draws_a_forbidden_item_and_follows_softmax():
    logits = torch.tensor([-torch.inf, 0.0, 1.0, -torch.inf, 2.0, -torch.inf]).repeat(60_000, 1)
    drawn = sample(logits, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=6) / len(drawn)
    assert torch.allclose(shares, logits[0].softmax(0), atol=0.01)
    assert not shares[[0, 3, 5]].any()


def test_building_a_policy_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two = make_policy(7), make_policy(7)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_gae_in_closed_form():
    """With lambda = 1 the advantage is the discounted return minus the value."""
    rewards = torch.tensor([[1.0], [2.0], [3.0]])
    values = torch.tensor([[0.5], [0.25], [0.125]])
    nothing = torch.zeros(3, 1, dtype=torch.bool)
    quits = torch.tensor([[False], [False], [True]])
    following = torch.tensor([[0.25], [0.125], [9.0]])
    kept = {"discount": 0.5, "trace": 1.0}
    quit_last = gae(rewards, values, following, quits, nothing, **kept)
    assert quit_last[0].item() == pytest.approx(1 + 1 + 0.75 - 0.5)
    cut_last = gae(rewards, values, following, nothing, quits, **kept)
    assert cut_last[0].item() == pytest.approx(1 + 1 + 0.75 + 0.125 * 9 - 0.5)
    early = gae(rewards, values, following, quits.roll(-1, 0), nothing, **kept)
    assert early[1].item() == pytest.approx(2 - 0.25)  # nothing behind the quit is seen


def test_gae_with_lambda_zero_is_the_one_step_error():
    generator = torch.Generator().manual_seed(1)
    r, v, n = torch.rand(3, 5, 2, generator=generator)
    off = torch.zeros(5, 2, dtype=torch.bool)
    assert torch.allclose(gae(r, v, n, off, off, discount=0.9, trace=0.0), r + 0.9 * n - v)


def random_steps(seed, length=7, size=40):
    """Return rewards, values, next values and both kinds of ends, (T, B); next values agree."""
    rng = np.random.default_rng(seed)
    rewards, values, following = rng.normal(size=(3, length, size))
    ends = rng.choice(["no", "quit", "cut"], (length, size), p=[0.6, 0.2, 0.2])
    following[:-1] = np.where(ends[:-1] == "no", values[1:], following[:-1])
    return [
        torch.from_numpy(x) for x in (rewards, values, following, ends == "quit", ends == "cut")
    ]


def n_step_mean(rewards, values, following, quits, cuts, discount, trace):
    """Return the mean of the n-step advantages of one user, weighted by (1 - lambda) lambda^n."""
    advantages = []
    for t in range(len(rewards)):
        ended = [k for k in range(t, len(rewards)) if quits[k] or cuts[k]]
        longest = (ended[0] if ended else len(rewards) - 1) - t + 1
        mean = 0.0
        for n in range(1, longest + 1):
            weight = trace ** (n - 1) * (1 - trace if n < longest else 1)
            beyond = 0.0 if quits[t + n - 1] else discount**n * following[t + n - 1]
            paid = sum(discount**k * rewards[t + k] for k in range(n))
            mean += weight * (paid + beyond - values[t])
        advantages.append(mean)
    return advantages


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("trace", [0.0, 0.3, 0.9, 1.0])
def test_gae_is_the_weighted_mean_of_all_n_step_advantages(discount, trace):
    steps = random_steps(0)
    found = gae(*steps, discount=discount, trace=trace)
    users = zip(*(column.T.tolist() for column in steps), strict=True)
    expected = [n_step_mean(*user, discount, trace) for user in users]
    assert torch.allclose(found, torch.tensor(expected, dtype=found.dtype).T, atol=1e-12)


def test_a_quit_has_no_future_and_a_cut_episode_has_one():
    rewards, values, following, quits, cuts = random_steps(1)
    kept = {"discount": 0.9, "trace": 0.7}
    before = gae(rewards, values, following, quits, cuts, **kept)
    after = gae(rewards, values, following + quits, quits, cuts, **kept)
    assert torch.equal(before, after)
    after = gae(rewards, values, following + cuts, quits, cuts, **kept)
    assert torch.allclose((after - before)[cuts], torch.tensor(0.9, dtype=torch.float64))
    for ends in (quits, cuts):  # whoever comes next is nobody's future
        t, user = ends[:-1].nonzero()[0]
        later = rewards.clone()
        later[t + 1 :, user] += 1
        changed = gae(later, values, following, quits, cuts, **kept) != before
        assert not changed[: t + 1, user].any() and changed[t + 1 :, user].all()


def test_advantages_losses_and_gradients_are_those_of_stable_baselines3():
    python = ROOT / ".venv-peers/sb3/bin/python"
    if not python.is_file():
        pytest.skip("Stable-Baselines3 is not there; `make peers` installs it")
    call = [python, ROOT / "benchmarks/policy_peer.py"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    agrees(json.loads(done.stdout))


def test_rollout_log_probs_equal_replaying_the_same_steps():
    """Two paths to log pi(a | s): the collector's and the one imitation takes."""
    env, policy = make_env(QuitRules(min_reward=-1, repeats="masked")), make_policy()
    segment = make_collector(env).collect(policy, 4)
    assert not (segment.terminated | segment.truncated).any()
    users = env.users
    demos = Demonstrations(
        torch.from_numpy(segment.obs[0]["items"]),
        torch.from_numpy(segment.obs[0]["rewards"]),
        segment.acts.T,
        segment.rewards.T,
        torch.ones(6, 4, dtype=torch.bool),
        segment.terminated.T,
        torch.from_numpy(env.histories.unseen(users)),
    )
    read = replay(policy, demos)
    assert torch.allclose(read.log_probs.T, segment.log_probs, atol=1e-5)
    assert torch.allclose(read.values.T, segment.values, atol=1e-5)
    assert torch.allclose(read.next_values.T, segment.next_values, atol=1e-5)
    flat = demos.transitions(read.log_probs)
    assert torch.equal(flat.items[3], torch.from_numpy(segment.obs[3]["items"][0]))
    assert torch.equal(flat.next_items[3], torch.from_numpy(segment.next_obs[3]["items"][0]))


def test_rollout_only_picks_allowed_items():
    env, policy = make_env(), make_policy()
    collector = make_collector(env)
    for _ in range(20):
        collector.collect(policy, 5)
        assert "repeat" not in env.reasons


def demonstration(env, acts, user=0):
    env.reset(np.array([user]))
    obs = [env.restart(np.array([True]), np.array([user]))]
    rews = []
    for act in acts:
        following, reward, terminated, _ = env.step(np.array([act]))
        obs.append(following)
        rews.append(reward[0])
    stacked = {name: np.concatenate([o[name] for o in obs]) for name in obs[0]}
    return Trajectory(
        user, stacked, np.array(acts), np.array(rews), ({},) * len(acts), bool(terminated[0]),
        env.reasons[0],
    )  # fmt: skip


def test_imitation_makes_the_demonstrated_items_likely():
    env, policy = make_env(QuitRules(min_reward=-1, repeats="masked")), make_policy()
    shown = [demonstration(env, [5, 6]), demonstration(env, [7], 1)]
    demos = Demonstrations.pack(shown, env.histories)
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.02)
    for _ in range(200):
        loss = imitation_loss(replay(policy, demos), demos, torch.ones_like(demos.rewards))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert replay(policy, demos).log_probs[demos.valid].exp().min() > 0.8


def test_padding_does_not_change_the_loss():
    env, policy = make_env(QuitRules(min_reward=-1, repeats="masked")), make_policy()
    short, long = demonstration(env, [5]), demonstration(env, [4, 6, 7, 8], 2)
    both = Demonstrations.pack([short, long], env.histories)
    alone = Demonstrations.pack([short], env.histories)
    together = replay(policy, both).log_probs[0, 0].item()
    assert together == pytest.approx(replay(policy, alone).log_probs[0, 0].item(), abs=1e-6)
    assert both.valid.sum() == 5 and both.take(torch.tensor([0])).acts.shape == (1, 1)


def test_shuffled_demonstrations_keep_the_items_and_lose_the_order():
    env = make_env(QuitRules(min_reward=-1, repeats="masked"))
    demos = Demonstrations.pack(
        [demonstration(env, [4, 5, 6, 7, 8]), demonstration(env, [7, 6, 5], 2)], env.histories
    )
    mixed = demos.shuffled(torch.Generator().manual_seed(0))
    assert sorted(mixed.acts[demos.valid].tolist()) == sorted(demos.acts[demos.valid].tolist())
    assert not torch.equal(mixed.acts, demos.acts)
    assert torch.isfinite(replay(make_policy(), mixed).log_probs[demos.valid]).all()


def test_trajectories_survive_the_file(tmp_path):
    env = make_env()
    made = demonstration(env, [4, 5, 6])
    save_trajectories(tmp_path / "demos.jsonl", [made])
    (read,) = load_trajectories(tmp_path / "demos.jsonl")
    assert all(np.allclose(read.obs[name], made.obs[name], atol=1e-4) for name in made.obs)
    assert np.allclose(read.rews, made.rews, atol=1e-4) and np.array_equal(read.acts, made.acts)
    with pytest.raises(ValueError, match="3 actions need 4 observations"):
        Trajectory(0, {"items": np.zeros((3, 2))}, np.zeros(3), np.zeros(3), (), True, "low_reward")


def test_weights_prefer_good_and_demonstrator_like_steps():
    advantages, logits = torch.tensor([-1.0, 0.0, 1.0]), torch.zeros(3)
    weights = demonstration_weights(advantages, logits)
    assert weights.mean().item() == pytest.approx(1) and (weights.diff() > 0).all()
    weights = demonstration_weights(torch.zeros(3), torch.tensor([-1.0, 0.0, 90.0]), mix=0.0)
    assert (weights.diff() > 0).all() and weights.max() / weights.median() <= 10.01
    assert torch.allclose(
        demonstration_weights(advantages, torch.randn(3), mix=1.0),
        demonstration_weights(advantages, torch.randn(3), mix=1.0),
    )
