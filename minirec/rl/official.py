"""The released code of IL-Rec as a learner: one update on replayed steps after every episode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minirec._io import FloatArray, IntArray, UserError
from minirec.rl.official_losses import critic_loss, official_weights, policy_loss
from minirec.rl.official_net import OfficialCritic, OfficialNet, mlp, recent
from minirec.rl.policy import sample
from minirec.rl.replay import MixedReplay, Steps
from minirec.rl.settings import OfficialConfig
from minirec.world.batched import BatchedRecEnv
from minirec.world.trajectory import Trajectory

PARTS = ("net", "critic", "target", "disc", "optimiser", "critic_optimiser", "disc_optimiser")
"""What knows how to save and load itself, the replay apart."""


def discounted_returns(steps: Steps, discount: float) -> FloatArray:
    """Return G_t = r_t + gamma G_{t+1} of whole episodes one after the other, shape (M,)."""
    returns, running = np.zeros(len(steps), np.float32), 0.0
    for t in range(len(steps) - 1, -1, -1):
        running = float(steps.paid[t]) + discount * running * (not steps.done[t])
        returns[t] = running
    return returns


def demo_advantages(net: OfficialNet, demos: Steps, config: OfficialConfig) -> Tensor:
    """Return A = Q - V of each demonstrated step in rating points, shape (D,).

    Q and V are fitted once, before anything else is trained, to the discounted returns: V on what
    the untrained tracker makes of the history, Q on that and the item's embedding.

    Source:
        The released code of IL-Rec (arXiv 2510.13229). Its default reads a language model's
        embedding of the step as text in place of [state; item]; this is its cheaper mode. Built in
        chapter 12.
    """
    returns = torch.from_numpy(discounted_returns(demos, config.discount))
    with torch.no_grad():
        state = net.eval().state(*seen(demos))
        pairs = net.pairs(state, torch.from_numpy(demos.acts))
    fitted: list[Tensor] = []
    for inputs in (pairs, state):
        head = mlp(inputs.shape[1], config.dim)
        optimiser = _adam(head, config.fit_rate)
        for _ in range(config.fit_steps):
            _descend(optimiser, F.mse_loss(head(inputs).squeeze(1), returns))
        fitted.append(head(inputs).squeeze(1).detach())
    q, v = fitted
    return q - v


def seen(steps: Steps) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the tracker reads before each step: users (M,), items and rewards (M, K)."""
    users, items, rewards = map(torch.from_numpy, (steps.users, steps.items, steps.rewards))
    return users, items, rewards


class Official:
    """IL-Rec as its code was released: :meth:`update` until the budget is spent.

    Each update plays one episode with the next user in order and stores it; every
    ``disc_interval`` episodes the discriminator takes one step and the next few demonstrated steps
    are weighed anew; then critic and policy take one step each on steps drawn from all that was
    ever played or demonstrated. The learned reward is never paid. Built in chapter 12.

    Differences to the release, beside that of :func:`demo_advantages`: the discriminator's label
    is 1 for *demonstrator*, as everywhere in this package, which changes the sign of its logits
    and nothing else; its inputs are taken without dropout; where the rules mask repeats, masked
    items are not played (the losses know of no mask); the release plays with all users of the log,
    those who are judged among them. All of it runs on the CPU: batches of 8 gain nothing elsewhere.

    Args:
        env: The training environment; its K is at least the window.
        users: Users to play with, in this order, shape (U',).
        shown: The demonstrations.
        config: Settings.
        seed: Seed of the initial weights and of dropout.
        generator: Draws batches.
        noise: Draws actions (CPU).

    Raises:
        UserError: If the observations are shorter than the window, or nothing is demonstrated.

    Source:
        The released code of IL-Rec (arXiv 2510.13229).
    """

    def __init__(
        self, env: BatchedRecEnv, users: IntArray, shown: Sequence[Trajectory],
        config: OfficialConfig, *, seed: int, generator: np.random.Generator,
        noise: torch.Generator,
    ) -> None:  # fmt: skip
        if config.window > env.K:
            raise UserError(f"K is {env.K} but the window is {config.window}; let K be as long")
        shown = [trajectory for trajectory in shown if len(trajectory)]
        if not shown:
            raise UserError("no demonstrated step; this learner needs some")
        self.env, self.users, self.config = env, users, config
        self.generator, self.noise = generator, noise
        demos = Steps.joined([Steps.of(trajectory, config.window) for trajectory in shown])
        self.replay = MixedReplay(demos, config.priority)
        n_users, n_items, dim = env.source.n_users, env.n_items, config.dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = OfficialNet(n_users, n_items, config)
            self.critic = OfficialCritic(n_items, dim)
            self.disc = mlp(2 * dim, dim)
            self.advantages = demo_advantages(self.net, demos, config)
            self.dropout = torch.get_rng_state()
        self.target = deepcopy(self.critic)
        parts = self.net, self.critic, self.disc
        optimisers = (_adam(part, config.rate) for part in parts)
        self.optimiser, self.critic_optimiser, self.disc_optimiser = optimisers
        self.reweighted = np.zeros(len(demos), bool)
        self.episode, self.disc_steps, self.steps = 0, 0, len(demos)
        self.statistics: dict[str, float] = {}

    def begin(self) -> None:
        """Nothing: every update plays a whole episode with the next user."""

    def update(self) -> None:
        """Play one episode, judge if it is time to, and take one step of critic and policy.

        ``statistics`` then hold, of this update: ``length`` and ``return`` of the episode,
        ``entropy`` of the policy in nats, ``demo_share`` of the two draws and ``demo_share_due``,
        what the priorities make one expect; and so far: ``episodes``, ``disc_steps``, and
        ``reweighted``, how many demonstrated steps were ever given a weight.
        """
        with self._own_dropout():
            self.net.train()
            episode = self.play()
            self.replay.append(episode)
            if self.episode % self.config.disc_interval == 0:
                self.judge(episode)
            self.statistics = {"demo_share_due": self.replay.demo_share}
            shares = [self.criticise(), self.improve()]
        self.episode += 1
        self.steps += len(episode)
        self.statistics |= {
            "length": len(episode), "return": float(episode.paid.sum()),
            "demo_share": sum(shares) / 2, "episodes": self.episode,
            "disc_steps": self.disc_steps, "reweighted": int(self.reweighted.sum()),
        }  # fmt: skip

    @torch.inference_mode()
    def play(self) -> Steps:
        """Play one episode with the next user in order, with dropout, and return it."""
        user, window = self.users[[self.episode % len(self.users)]], self.config.window
        obs, who, rows = self.env.reset(user), torch.from_numpy(user), []
        while self.env.alive.any():
            items, rewards = recent(obs, window)
            logits = self.net.logits(self.net.state(who, items, rewards))
            if self.env.available is not None:
                allowed = torch.from_numpy(self.env.available)
                logits = logits.masked_fill(~allowed, -torch.inf)
            acts = sample(logits, self.noise).numpy()
            obs, paid, terminated, truncated = self.env.step(acts)
            done = terminated | truncated
            rows.append(Steps(user, items.numpy(), rewards.numpy(), acts, paid, done))
        return Steps.joined(rows)

    def judge(self, episode: Steps) -> None:
        """Take one discriminator step on the next demonstrated steps and an episode; weigh them."""
        count = np.arange(self.config.demo_batch)
        rows = (self.config.demo_batch * self.episode + count) % self.replay.n_demos
        demos = self.replay.take(rows)
        with torch.no_grad():
            inputs = torch.cat([self._pairs(demos), self._pairs(episode)])
        logits = self.disc(inputs).squeeze(1)
        labels = torch.zeros_like(logits)
        labels[: len(demos)] = 1
        _descend(self.disc_optimiser, F.binary_cross_entropy_with_logits(logits, labels))
        with torch.no_grad():
            logits = self.disc(inputs[: len(demos)]).squeeze(1)
        weights = official_weights(self.advantages[rows], logits, self.config)
        self.replay.weights[rows] = weights.numpy()
        self.reweighted[rows] = True
        self.disc_steps += 1

    def criticise(self) -> float:
        """Take one step of the critic on a fresh draw; return the demonstrations' share in it.

        y = r + gamma (1 - done) V_target(s'), where an episode that reached the turn limit is done
        too. The tracker does not learn from it.
        """
        steps, weights, shown = self._draw()
        acts = torch.from_numpy(steps.acts)
        users, items, rewards = seen(steps)
        next_items, next_rewards = map(torch.from_numpy, steps.following())
        with torch.no_grad():
            windows = torch.cat([items, next_items]), torch.cat([rewards, next_rewards])
            state, following = self.net.state(users.repeat(2), *windows).chunk(2)
            future = self.target(following, acts)[1] * torch.from_numpy(~steps.done)
            y = torch.from_numpy(steps.paid) + self.config.discount * future
        q, v = self.critic(state, acts)
        _descend(self.critic_optimiser, critic_loss(q, v, y, weights))
        if (self.episode + 1) % self.config.target_interval == 0:
            self.target.load_state_dict(self.critic.state_dict())
        return float(shown.float().mean())

    def improve(self) -> float:
        """Take one step of the policy on a fresh draw; return the demonstrations' share in it."""
        steps, weights, shown = self._draw()
        acts = torch.from_numpy(steps.acts)
        state = self.net.state(*seen(steps))
        with torch.no_grad():
            q, v = self.critic(state, acts)
        loss, entropy = policy_loss(
            self.net.logits(state), acts, q - v, shown, weights, self.config
        )
        _descend(self.optimiser, loss)
        self.net.cap()
        self.statistics["entropy"] = float(entropy)
        return float(shown.float().mean())

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values."""
        return {part: getattr(self, part).state_dict() for part in PARTS} | {
            "replay": self.replay.state_dict(), "advantages": self.advantages,
            "reweighted": torch.from_numpy(self.reweighted), "dropout": self.dropout,
            "episode": self.episode, "disc_steps": self.disc_steps, "steps": self.steps,
            "generator": self.generator.bit_generator.state, "noise": self.noise.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, as if there had been no stop."""
        for part in (*PARTS, "replay"):
            getattr(self, part).load_state_dict(state[part])
        for name in ("advantages", "dropout", "episode", "disc_steps", "steps"):
            setattr(self, name, state[name])
        self.reweighted = state["reweighted"].numpy().copy()
        self.generator.bit_generator.state = state["generator"]
        self.noise.set_state(state["noise"])

    def _draw(self) -> tuple[Steps, Tensor, Tensor]:
        """Draw a batch: steps, their weights (M,), and which were demonstrated (M,)."""
        rows = self.replay.draw(self.config.batch, self.generator)
        weights = torch.from_numpy(self.replay.weights_of(rows).astype(np.float32))
        return self.replay.take(rows), weights, torch.from_numpy(rows < self.replay.n_demos)

    def _pairs(self, steps: Steps) -> Tensor:
        """Return [state; item embedding] without dropout, (M, 2 d)."""
        self.net.eval()
        pairs = self.net.pairs(self.net.state(*seen(steps)), torch.from_numpy(steps.acts))
        self.net.train()
        return pairs

    @contextmanager
    def _own_dropout(self) -> Iterator[None]:
        """Draw dropout from a stream of our own and leave the global generator as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.dropout)
            yield
            self.dropout = torch.get_rng_state()


def _adam(part: nn.Module, rate: float) -> torch.optim.Adam:
    """Return Adam over a part's weights, in the form that is quickest for many small tensors."""
    try:
        return torch.optim.Adam(part.parameters(), lr=rate, fused=True)
    except RuntimeError:  # before torch 2.4 on the CPU
        return torch.optim.Adam(part.parameters(), lr=rate, foreach=True)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
