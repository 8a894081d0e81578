"""The released code's learner: its losses and weights by hand, its loop by what it changes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from minirec import UserError
from minirec._io import save_tensors
from minirec.evidence.metrics import play
from minirec.rl import official
from minirec.rl.official import Official, discounted_returns
from minirec.rl.official_losses import critic_loss, official_weights, policy_loss
from minirec.rl.official_net import OfficialAgent, OfficialNet, transform
from minirec.rl.replay import Steps
from minirec.rl.settings import OFFICIAL, OfficialConfig
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules
from minirec.world.sources import MatrixSource
from test_rl import demonstration, make_env

N, U = 9, 30
CONFIG = OfficialConfig(disc_interval=4, fit_steps=5)
STAY = QuitRules(min_reward=-1, max_turns=3)


@pytest.fixture(autouse=True)
def seeded():
    """Bare networks and their dropout draw from the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def env_of(rules=RULES["ilrec"], matrix=None):
    rng = np.random.default_rng(0)
    matrix = rng.uniform(1, 5, (U, N)).astype(np.float32) if matrix is None else matrix
    source = MatrixSource(matrix, np.eye(N, dtype=np.float32))
    return BatchedRecEnv(source, rules, Histories.empty(U, N), K=5, history="none")


def learner(rules=RULES["ilrec"], users=U, seed=0, matrix=None, **changed):
    env = env_of(rules, matrix)
    calm = env_of(QuitRules(min_reward=-1, max_turns=12), matrix)
    shown = [demonstration(calm, [0, 1, 2, 3, 4, 0], 7), demonstration(calm, [1, 2, 3, 1, 2], 11)]
    return Official(
        env, np.arange(users), shown, replace(CONFIG, **changed), seed=seed,
        generator=np.random.default_rng(seed), noise=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def train(made, episodes):
    for _ in range(episodes):
        made.update()
    return made


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def numpy_loss(z, acts, gains, shown, weights, config):
    """The equation, step by step in plain Python and NumPy."""
    total, imitation, entropies = [], [], []
    for i in range(len(z)):
        p = np.exp(z[i]) / np.exp(z[i]).sum()
        a = (gains[i] - np.mean(gains)) / np.sqrt(np.mean((gains - np.mean(gains)) ** 2))
        total.append(-max(-5.0, min(5.0, a)) * np.log(p[acts[i]]))
        entropies.append(-(p * np.log(p)).sum())
        if shown[i]:
            imitation.append(-weights[i] * np.log(p[acts[i]]))
    loss = np.mean(total) - config.entropy * np.mean(entropies)
    return loss + config.imitation * (np.mean(imitation) if imitation else 0.0), np.mean(entropies)


@pytest.mark.parametrize("shown", [(True, False, False, True), (False,) * 4, (True,) * 4])
def test_policy_loss_by_hand(shown):
    z = np.array([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0], [0.0, 0.0, 0.0], [-1.0, 3.0, 1.0]])
    acts, gains, weights = [1, 2, 0, 1], np.array([1.0, -2.0, 0.5, 4.0]), [3.0, 9.0, 9.0, 0.2]
    expected = numpy_loss(z, acts, gains, shown, weights, CONFIG)
    tensors = (torch.tensor(part) for part in (z, acts, gains, shown, weights))
    found = policy_loss(*tensors, CONFIG)
    assert [part.item() for part in found] == pytest.approx(expected)


def test_standardised_advantages_never_reach_the_clip():
    """Of 8 numbers none is farther than sqrt(7) population standard deviations from their mean."""
    gains = torch.tensor([100.0] + [0.0] * 7)
    logits, nobody = torch.zeros(8, 3), torch.zeros(8, dtype=torch.bool)
    losses = [
        policy_loss(logits, torch.zeros(8, dtype=torch.int64), gains, nobody, gains,
                    replace(CONFIG, advantage_clip=clip, entropy=0.0))[0].item()
        for clip in (5.0, math.sqrt(7) + 1e-4, 2.0)
    ]  # fmt: skip
    assert losses[0] == losses[1] != losses[2]


def test_critic_loss_by_hand():
    q, v, y, w = (torch.tensor(x) for x in ([1.0, 2.0], [0.0, 5.0], [3.0, 4.0], [1.0, 0.5]))
    assert critic_loss(q, v, y, w).item() == pytest.approx((4 + 0.5 * 4) / 2 + (9 + 1) / 2)


def by_hand(advantages, logits, config):
    def clip(x):
        return min(max(x, 1e-6), 1e6)

    fused = []
    for a, logit in zip(advantages, logits, strict=True):
        w_env = clip(math.exp(min(max(a / config.temperature, -80), 80)))
        d = min(max(1 / (1 + math.exp(logit)), 1e-8), 1 - 1e-8)  # the chance of *policy*
        w_irl = clip((1 / d - 1) ** config.irl_exponent)
        fused.append(clip(w_env**config.mix * w_irl ** (1 - config.mix)))
    return [clip(w / (sum(fused) / len(fused))) for w in fused]


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_weights_by_hand(name, exponent):
    config = replace(OFFICIAL[name], irl_exponent=exponent)
    advantages = [-1.0, 0.0, 2.5, 1000.0, -1000.0, 0.3, 0.1, -0.2]
    logits = [0.0, 1.0, -1.0, 0.5, 40.0, -40.0, 2.0, 0.0]
    found = official_weights(torch.tensor(advantages), torch.tensor(logits), config)
    assert found.tolist() == pytest.approx(by_hand(advantages, logits, config), rel=1e-5)


def test_weights_prefer_what_the_discriminator_takes_for_the_demonstrators():
    logits = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    weights = official_weights(torch.zeros(5), logits, CONFIG)
    assert (weights.diff() > 0).all() and weights.mean().item() == pytest.approx(1)


def test_discounted_returns_stop_where_an_episode_does():
    paid, done = np.array([1.0, 2, 4, 8, 16]), np.array([0, 0, 1, 0, 1], bool)
    zero = np.zeros(5, int)
    found = discounted_returns(Steps(zero, zero, zero, zero, paid, done), 0.5)
    assert found.tolist() == [1 + 1 + 1, 2 + 2, 4, 8 + 8, 16]


def test_released_settings():
    """They differ in four places."""
    steam, amazon = OFFICIAL["steam"], OFFICIAL["amazon"]
    names = [f for f in vars(steam) if getattr(steam, f) != getattr(amazon, f)]
    assert sorted(names) == ["imitation", "logit_bound", "mix", "temperature"]


@pytest.mark.parametrize("bound", [1.0, 15.0, None])
def test_squashing_bounds_the_logits(bound):
    net = OfficialNet(U, N, replace(CONFIG, logit_bound=bound))
    net.actor.weight.data *= 1000
    state = net.eval().state(torch.arange(U), torch.full((U, 4), N), torch.zeros(U, 4))
    z, logits = net.actor(state), net.logits(state)
    assert z.abs().max() > 100
    if bound is None:
        assert torch.equal(logits, z)
    else:
        assert logits.abs().max() <= bound
        assert torch.allclose(logits, bound * torch.tanh(z / bound))


def test_rows_and_biases_of_the_actor_are_capped():
    net = OfficialNet(U, N, CONFIG)
    with torch.no_grad():
        net.actor.weight *= torch.linspace(0.1, 100, N)[:, None]
        net.actor.bias.copy_(torch.linspace(-20, 20, N))
    before, norms = net.actor.weight.clone(), net.actor.weight.norm(dim=1)
    net.cap()
    scale = (10 / norms).clamp(max=1)
    assert (norms > 10).any() and (norms < 10).any()
    assert torch.allclose(net.actor.weight, before * scale[:, None], rtol=1e-5)
    assert torch.equal(net.actor.bias, torch.linspace(-20, 20, N).clamp(-5, 5))
    made = learner(row_norm=0.5, bias_limit=0.01)
    train(made, 2)
    assert made.net.actor.weight.norm(dim=1).max() <= 0.5 + 1e-5
    assert made.net.actor.bias.abs().max() <= 0.01 + 1e-7


def test_the_tracker_reads_what_is_there():
    """No history is a zero vector; padding is not read; order, items, rewards and user are."""
    net = OfficialNet(U, N, CONFIG).eval()
    user, pad = torch.tensor([3]), torch.full((1, 4), N)
    none = net.state(user, pad, torch.zeros(1, 4))
    assert torch.allclose(none, net.norm(net.users(user)).relu())
    assert torch.equal(none, net.state(user, pad, torch.ones(1, 4)))
    items, rewards = torch.tensor([[N, N, 2, 5]]), torch.tensor([[0.0, 0.0, 3.0, 4.0]])
    one = net.state(user, items, rewards)
    whatever = torch.tensor([[7.0, -9.0, 3.0, 4.0]])
    assert torch.allclose(one, net.state(user, items, whatever), atol=1e-6)
    both = net.state(user.repeat(2), torch.cat([pad, items]), torch.cat([0 * rewards, rewards]))
    assert torch.allclose(both, torch.cat([none, one]), atol=1e-5)  # beside others as alone
    for other in (
        net.state(user, items.flip(1).roll(2, 1), rewards.flip(1).roll(2, 1)),
        net.state(user, items, rewards.clamp(max=3)),
        net.state(user, torch.tensor([[N, N, 1, 5]]), rewards),
        net.state(user + 1, items, rewards),
    ):
        assert not torch.allclose(one, other, atol=1e-3)
    ordered, same = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]]), torch.full((2, 4), 3.0)
    first, second = net.state(user.repeat(2), ordered, same)
    assert not torch.allclose(first, second, atol=1e-3)  # positions are told apart


def test_the_layers_are_those_of_torch():
    net = OfficialNet(U, N, CONFIG).eval()
    rng = torch.Generator().manual_seed(0)
    x, unknown = torch.randn(64, 4, 32, generator=rng), torch.rand(64, 4, generator=rng) < 0.5
    unknown[:, -1] = False
    with torch.no_grad():
        for layer in net.layers:
            for parameter in layer.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=rng)  # no bias is 0
            found, theirs = transform(layer, x, unknown), layer(x, src_key_padding_mask=unknown)
            assert torch.allclose(found, theirs, atol=1e-5)
    one, two = (list(layer.parameters()) for layer in OfficialNet(U, N, CONFIG).layers)
    assert all(map(torch.equal, one, two))  # torch's encoder clones its layer
    net.train()
    layer = net.layers[0]
    counts = [(dropped == 0).float().mean().item() for dropped in dropouts(layer, x)]
    assert counts == pytest.approx([0.1] * 4, abs=0.03)


def dropouts(layer, x):
    """Return what a layer's dropouts make of ones, in the order in which they come."""
    seen, drop = [], torch.nn.functional.dropout

    def spy(values, p, training):
        seen.append(drop(torch.ones_like(values), p, training))
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "dropout", spy)
        transform(layer, x, torch.zeros(x.shape[:2], dtype=torch.bool))
    return seen


def test_the_transformer_alone_is_dropped_out():
    """So that the tracker's output without a history is the same in training."""
    net = OfficialNet(U, N, CONFIG)
    items = torch.tensor([[1, 2, 3, 4]]), torch.full((1, 4), 3.0)
    user = torch.tensor([0])
    assert not torch.equal(net.state(user, *items), net.state(user, *items))
    net.eval()
    assert torch.equal(net.state(user, *items), net.state(user, *items))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    one, two = (train(learner(), 6) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state()) and same(one.net, two.net)
    torch.manual_seed(123)
    assert same(train(learner(), 6).net, one.net)
    assert not same(train(learner(seed=1), 6).net, one.net)


def test_dropout_differs_from_update_to_update():
    made = learner()
    states = [made.dropout.clone() for _ in range(3) if made.update() is None]
    assert not torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])


def test_a_policy_step_and_a_critic_step_keep_to_their_own_weights():
    """And the policy's gradient is that of its loss with Q - V as constants."""
    made = train(learner(dropout=0.0), 5)
    rows = np.random.default_rng(0).permutation(made.replay.count)[:8]
    made.replay.draw = lambda n, generator: rows
    steps, acts = made.replay.take(rows), torch.from_numpy(made.replay.take(rows).acts)
    state = made.net.state(*official.seen(steps))
    with torch.no_grad():
        q, v = made.critic(state, acts)
    shown, weights = torch.from_numpy(rows < 11), torch.from_numpy(made.replay.weights_of(rows))
    loss = policy_loss(made.net.logits(state), acts, q - v, shown, weights, made.config)[0]
    expected = torch.autograd.grad(loss, [made.net.items.weight, made.net.actor.weight])
    before = [p.clone() for p in made.critic.parameters()]
    made.improve()
    found = made.net.items.weight.grad, made.net.actor.weight.grad
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    assert all(map(torch.equal, before, made.critic.parameters()))


def test_only_users_who_were_rolled_out_or_shown_are_touched():
    made = learner()
    before = made.net.users.weight.clone()
    train(made, 12)
    changed = (made.net.users.weight != before).any(1).nonzero().flatten().tolist()
    assert set(changed) <= {*range(12)} and len(changed) > 6  # shown: 7 and 11
    train(made, 3)
    changed = (made.net.users.weight != before).any(1).nonzero().flatten().tolist()
    assert set(changed) <= {*range(15)}
    assert torch.equal(made.net.users.weight[15:], before[15:])
    assert not made.net.items.weight[N].any()  # the padding item


def test_users_come_in_order():
    made, seen = learner(users=5), []
    for _ in range(12):
        made.update()
        seen.append(int(made.replay.take(np.array([made.replay.count - 1])).users[0]))
    assert seen == [e % 5 for e in range(12)]


def test_steps_count_demonstrations_and_episodes():
    made = learner(STAY)
    assert made.steps == 11  # demonstrated
    train(made, 5)
    assert made.steps == 11 + 5 * 3 == made.replay.count
    assert made.statistics["length"] == 3 and made.statistics["episodes"] == 5


@pytest.mark.parametrize(("episodes", "interval"), [(1, 5), (5, 5), (6, 5), (9, 2)])
def test_the_discriminator_steps_once_an_interval(episodes, interval):
    made = train(learner(disc_interval=interval), episodes)
    assert made.disc_steps == math.ceil(episodes / interval) == made.statistics["disc_steps"]


def test_only_the_demonstrations_whose_turn_it_is_are_weighed_anew():
    made = learner(demo_batch=3, disc_interval=5)
    train(made, 6)  # at 0: steps 0 to 2; at 5: 15 to 17, which are 4 to 6 of 11
    assert np.flatnonzero(made.reweighted).tolist() == [0, 1, 2, 4, 5, 6]
    left = np.setdiff1d(np.arange(11), [0, 1, 2, 4, 5, 6])
    assert (made.replay.weights[left] == 1).all() and (made.replay.weights[:3] != 1).all()
    assert made.replay.weights[[4, 5, 6]].mean() == pytest.approx(1)
    assert made.statistics["reweighted"] == 6


def test_the_discriminator_takes_the_demonstrator_for_positive():
    """It sees 8 demonstrated steps of a few items and an episode of others."""
    made = learner()
    shown = made.replay.take(np.arange(8))
    episode = replace(shown, acts=np.full(8, 8))
    made.disc_optimiser.param_groups[0]["lr"] = 0.05
    for _ in range(60):
        made.judge(episode)
    logits = [made.disc(made._pairs(side)).squeeze(1) for side in (shown, episode)]
    assert logits[0].min() > 0 > logits[1].max()


def test_one_discriminator_step_is_that_of_the_released_labels():
    """Labels policy = 1 on the negated logits give the same loss, a mean over 8 + L steps."""
    made = learner()
    episode = made.replay.take(np.arange(8, 11))
    inputs = torch.cat([made._pairs(made.replay.take(np.arange(8))), made._pairs(episode)])
    released = -made.disc(inputs).squeeze(1)
    labels = torch.tensor([0.0] * 8 + [1.0] * 3)
    d = released.sigmoid()
    loss = -(labels * d.log() + (1 - labels) * (1 - d).log()).mean()
    expected = torch.autograd.grad(loss, list(made.disc.parameters()))
    made.judge(episode)
    for parameter, gradient in zip(made.disc.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_the_turn_limit_ends_an_episode_like_a_quit():
    made = learner(STAY)
    episode = made.play()
    assert episode.done.tolist() == [False, False, True] and made.env.reasons[0] == "max_turn"
    matrix = made.env.source.matrix
    assert np.allclose(episode.paid, matrix[0, episode.acts])
    low = learner(QuitRules(min_reward=9))
    episode = low.play()  # the reward that made the user quit counts
    assert episode.paid.tolist() == pytest.approx([low.env.source.matrix[0, episode.acts[0]]])
    assert episode.done.tolist() == [True]


def test_targets_of_the_critic(monkeypatch):
    made, seen = learner(STAY, dropout=0.0), []
    train(made, 12)
    monkeypatch.setattr(
        official, "critic_loss", lambda *loss: seen.append(loss) or critic_loss(*loss)
    )
    rows = np.random.default_rng(0).permutation(made.replay.count)[:8]
    monkeypatch.setattr(made.replay, "draw", lambda n, generator: rows)
    assert not same(made.target, made.critic)  # copied two critic steps ago
    tracker = [p.clone() for p in made.net.parameters()]
    made.criticise()
    steps, ((_, _, y, weights),) = made.replay.take(rows), seen
    with torch.no_grad():
        windows = (torch.from_numpy(part) for part in steps.following())
        following = made.net.state(torch.from_numpy(steps.users), *windows)
        future = made.target(following, torch.from_numpy(steps.acts))[1]
    expected = steps.paid + 0.5 * future.numpy() * ~steps.done
    assert 0 < steps.done.sum() < 8 and y.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert weights.tolist() == pytest.approx(made.replay.weights_of(rows))
    assert all(map(torch.equal, tracker, made.net.parameters()))  # the critic leaves it alone


def test_the_target_is_copied_every_ten_steps():
    made = learner()
    for episode in range(1, 21):
        made.update()
        assert same(made.target, made.critic) == (episode % 10 == 0)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_resuming_equals_not_stopping(stop, tmp_path):
    through, first, later = learner(), learner(), learner(seed=5)
    train(through, 11)
    train(first, stop)
    save_tensors(tmp_path / "state.pt", first.state_dict())
    train(first, 2)  # what the file holds is not touched by going on
    later.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(later, 11 - stop)
    for part in ("net", "critic", "target", "disc"):
        assert same(getattr(through, part), getattr(later, part)), part
    assert through.statistics == later.statistics and through.steps == later.steps
    assert np.array_equal(through.replay.weights, later.replay.weights)
    both = [made.replay.take(np.arange(made.replay.count)) for made in (through, later)]
    assert all(np.array_equal(getattr(both[0], f), getattr(both[1], f)) for f in vars(both[0]))


def test_masks_are_kept_where_repeats_are_masked():
    made = learner(replace(RULES["no_repeat"], min_reward=-1.0, max_turns=N))
    for _ in range(5):
        made.update()
        assert made.env.reasons[0] == "max_turn" and made.statistics["length"] == N
    agent = OfficialAgent(made.net, "official", torch.Generator().manual_seed(0))
    episodes = play(agent, made.env, np.arange(U))
    assert (np.sort(episodes.acts, 1) == np.arange(N)).all()


def test_the_agent_draws_from_the_squashed_policy_of_its_user():
    made = train(learner(dropout=0.9), 5)
    made.net.actor.weight.data *= 20  # so that dropout would show
    agent = OfficialAgent(made.net, "official", torch.Generator().manual_seed(0))
    for user in (2, 29):  # 29 was never rolled out
        users = np.full(40_000, user)
        made.env.reset(users)
        obs = made.env.step(np.full(len(users), 4))[0]
        agent.start(obs, users)
        made.net.train()
        shares = np.bincount(agent.act(obs, made.env.action_mask), minlength=N) / len(users)
        windows = torch.tensor([[N, N, N, 4]]), torch.from_numpy(obs["rewards"][:1, -4:])
        state = made.net.eval().state(torch.tensor([user]), *windows)
        again = made.net.state(torch.from_numpy(users[:2]), *(w.repeat(2, 1) for w in windows))
        assert torch.allclose(again[0], again[1])  # no dropout
        expected = made.net.logits(state).softmax(1)[0].tolist()
        assert shares.tolist() == pytest.approx(expected, abs=0.01)


def test_judging_in_between_changes_nothing():
    one, two = learner(), learner()
    train(one, 3)
    agent = OfficialAgent(one.net, "official", torch.Generator())
    play(agent, env_of(), np.arange(U))
    assert same(train(one, 3).net, train(two, 6).net)


def test_it_learns_what_pays():
    """Everybody likes three items in nine and quits at once at any other."""
    matrix = np.full((U, N), 1.0, np.float32)
    matrix[:, 5:8] = 5.0
    rules = QuitRules(max_turns=10)
    made = learner(rules, matrix=matrix, rate=3e-3)
    agent = OfficialAgent(made.net, "official", torch.Generator().manual_seed(0))
    before = play(agent, env_of(rules, matrix), np.arange(U)).lengths.mean()
    train(made, 300)
    after = play(agent, env_of(rules, matrix), np.arange(U)).lengths.mean()
    assert before < 2 and after > 5  # although all that was demonstrated is bad


def test_what_cannot_be_learned_from_is_refused():
    env, rest = make_env(K=3), {"seed": 0, "generator": None, "noise": None}
    shown = [demonstration(env, [5])]
    with pytest.raises(UserError, match="K is 3 but the window is 4"):
        Official(env, np.arange(2), shown, CONFIG, **rest)
    with pytest.raises(UserError, match="no demonstrated step"):
        Official(make_env(K=4), np.arange(2), [], CONFIG, **rest)
