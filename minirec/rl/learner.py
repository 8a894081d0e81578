"""The IL-Rec learner: one loop that imitates, plays and improves; its arms are configurations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minirec.irl.adversarial import Discriminator, RewardFunction, adversarial_round
from minirec.irl.rewards import RewardForm, RewardNet, Transitions
from minirec.irl.weights import demonstration_weights
from minirec.rl.a2c import a2c_loss, gae
from minirec.rl.imitation import Demonstrations, imitation_loss, replay
from minirec.rl.memory import RewardMemory
from minirec.rl.policy import build_policy
from minirec.rl.rollout import Collector, Segment
from minirec.rl.settings import LearnerConfig

PARTS = ("policy", "optimiser", "discriminator", "disc_optimiser", "memory")
"""What knows how to save and load itself."""


class ILRec:
    """A policy, its critic and its discriminator, and everything needed to go on after a stop.

    With demonstrations: :meth:`clone`, then :meth:`adversarial` rounds, then :meth:`update` until
    the budget is spent. Without: :meth:`update` alone, which is then plain A2C. Built in chapter
    12.

    Args:
        features: Item features, shape (N, f).
        collector: Plays the policy in the training environment.
        demos: The demonstrations, or None.
        config: Settings.
        seed: Seed of the initial weights.
        generator: Draws demonstration batches (CPU).
        constant_reward: Pay +1 for every step in place of the model_reward (a control).

    Source:
        IL-Rec (arXiv 2510.13229); where its text and its code differ, the book says what we chose.
    """

    def __init__(
        self, features: Tensor, collector: Collector, demos: Demonstrations | None,
        config: LearnerConfig, *, seed: int, generator: torch.Generator,
        constant_reward: bool = False,
    ) -> None:  # fmt: skip
        self.config, self.collector, self.demos = config, collector, demos
        self.generator, self.constant_reward = generator, constant_reward
        self.policy = build_policy(features, seed, dim=config.dim, hidden=config.hidden)
        self.policy.to(features.device)
        actor = self.policy.actor_parameters()
        rest = [p for p in self.policy.parameters() if all(p is not slow for slow in actor)]
        slower: dict[str, Any] = {"params": actor, "lr": config.actor_rate}
        self.optimiser = torch.optim.Adam([slower, {"params": rest}], lr=config.rate)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            structured = config.form not in ("gail", "log_d")
            # logits are f - log pi: with f = 0 all that a uniform policy does has log N
            level = -math.log(len(features)) if structured and config.even_start else 0.0
            net = RewardNet(features, discount=config.discount, level=level)
        self.discriminator = Discriminator(net, structured=structured).to(features.device)
        parameters = self.discriminator.parameters()
        self.disc_optimiser = torch.optim.Adam(parameters, lr=config.disc_rate)
        self.steps = 0 if demos is None else int(demos.valid.sum())
        self.statistics: dict[str, float] = {}
        self.weights = None if demos is None else torch.ones_like(demos.rewards)
        self.segment: Segment | None = None
        self.memory = RewardMemory(features.shape[1] + 2, config.memory, features.device)
        if demos is not None:
            with torch.no_grad():
                known = replay(self.policy, demos).known
            self.memory.add(known[demos.valid], demos.acts[demos.valid], demos.rewards[demos.valid])

    def clone(self, epochs: int) -> None:
        """Imitate all demonstrations with equal weight for ``epochs`` passes (a warm start)."""
        assert self.demos is not None
        self.optimiser.param_groups[0]["lr"] = self.config.clone_rate
        for _ in range(epochs):
            order = torch.randperm(len(self.demos.acts), generator=self.generator)
            for rows in order.split(self.config.demo_batch):
                self._foresee()
                self._descend(self._imitation(rows.to(self.demos.acts.device)))
        self.optimiser.param_groups[0]["lr"] = self.config.actor_rate

    def adversarial(self) -> None:
        """Run one round of adversarial IRL, whose ``statistics`` stay, and weigh anew."""
        config = self.config
        self.statistics = adversarial_round(
            self.discriminator, self.disc_optimiser, self, form=RewardForm(config.form),
            steps=config.disc_steps, batch=config.disc_batch, generator=self.generator,
            penalty=config.disc_penalty,
        )  # fmt: skip
        self.refresh_weights()

    def update(self) -> None:
        """Play one segment and take one actor-critic step on it."""
        segment = self._play()
        if self.demos is not None and self.config.bonus:
            self.improve(lambda played: self.discriminator.pay(played, RewardForm.REWARD))
        else:
            self._improve(segment, segment.rewards)

    def rollout(self) -> Transitions:
        """Play one segment (the ``Learner`` protocol of ``minirec.irl``)."""
        return as_transitions(self._play())

    def demonstrations(self) -> Transitions:
        """Return the demonstrated transitions with the present policy's log-probabilities."""
        assert self.demos is not None
        with torch.no_grad():
            return self.demos.transitions(replay(self.policy, self.demos).log_probs)

    def improve(self, reward: RewardFunction) -> None:
        """Take one actor-critic step on the last segment, with ``reward`` as a bonus.

        Unless told otherwise it is standardised over the segment first: its scale is arbitrary,
        and a mean other than 0 would pay or fine mere survival.
        """
        assert self.segment is not None
        learned, paid = reward(as_transitions(self.segment)), self.segment.rewards
        if self.config.standardise:
            learned = (learned - learned.mean()) / (learned.std() + 1e-6)
        task = self.config.task * paid
        self._improve(self.segment, task + self.config.bonus * learned.view_as(paid))

    def refresh_weights(self) -> None:
        """Weigh every demonstrated step by the present critic and discriminator."""
        assert self.demos is not None and self.weights is not None
        demos, config = self.demos, self.config
        with torch.no_grad():
            read = replay(self.policy, demos)
            ends = demos.valid & ~torch.cat([demos.valid[:, 1:], demos.valid[:, :1] & False], 1)
            advantages = gae(
                demos.rewards.T * (1 - config.discount) / 5, read.values.T, read.next_values.T,
                demos.terminated.T, (ends & ~demos.terminated).T,
                discount=config.discount, trace=config.trace,
            ).T  # fmt: skip
            logits = self.discriminator(demos.transitions(read.log_probs))
            self.weights[demos.valid] = demonstration_weights(
                advantages[demos.valid], logits,
                temperature=config.weight_temperature, mix=config.weight_mix,
            )  # fmt: skip

    def imitation_weight(self) -> float:
        """Return lambda_imit: it fades linearly with the environment steps and ends at 0."""
        left = 1 - self.steps / self.config.imitation_steps
        return self.config.imitation * max(0.0, left) if self.demos is not None else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values."""
        return {part: getattr(self, part).state_dict() for part in PARTS} | {
            "weights": self.weights, "steps": self.steps,
            "generator": self.generator.get_state(), "noise": self.collector.noise.get_state(),
            "draw": self.collector.draw.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned; the collector starts with fresh users."""
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        self.weights, self.steps = state["weights"], state["steps"]
        self.generator.set_state(state["generator"])
        self.collector.noise.set_state(state["noise"])
        self.collector.draw.bit_generator.state = state["draw"]
        self.collector.obs = None

    def _play(self) -> Segment:
        segment = self.collector.collect(self.policy, self.config.segment)
        if self.constant_reward:
            segment = replace(segment, rewards=torch.ones_like(segment.rewards))
        known, acts, rewards = segment.known.flatten(0, 1), segment.acts, segment.rewards
        self.memory.add(known, acts.flatten(), rewards.flatten())
        self.steps += acts.numel()
        self.segment = segment
        return segment

    def _foresee(self) -> None:
        """Fit the reward head to a few batches of all that was played and demonstrated."""
        for _ in range(self.config.memory_steps):
            known, acts, rewards = self.memory.draw(self.config.memory_batch, self.generator)
            predicted = self.policy.predict(self.policy.table(), known)
            chosen = predicted.gather(1, acts[:, None]).squeeze(1)
            self._descend(F.mse_loss(chosen, rewards))

    def _improve(self, segment: Segment, rewards: Tensor) -> None:
        config = self.config
        loss = a2c_loss(
            segment, rewards,
            discount=config.discount, trace=config.trace, entropy_weight=config.entropy,
        )  # fmt: skip
        if weight := self.imitation_weight():
            assert self.demos is not None
            shape = (config.demo_batch,)
            rows = torch.randint(len(self.demos.acts), shape, generator=self.generator)
            loss = loss + weight * self._imitation(rows.to(self.demos.acts.device))
        self._descend(loss)
        self._foresee()

    def _imitation(self, rows: Tensor) -> Tensor:
        assert self.demos is not None and self.weights is not None
        demos = self.demos.take(rows)
        weights = self.weights[rows, : demos.acts.shape[1]]
        return imitation_loss(replay(self.policy, demos), demos, weights)

    def _descend(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimiser.step()


def as_transitions(segment: Segment) -> Transitions:
    """Flatten a segment's (T, B) steps into M = T B transitions without gradients."""
    device = segment.acts.device

    def stack(which: list[Any], name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([obs[name] for obs in which])).to(device)

    return Transitions(
        stack(segment.obs, "items"), stack(segment.obs, "rewards"), segment.acts.flatten(),
        stack(segment.next_obs, "items"), stack(segment.next_obs, "rewards"),
        segment.terminated.flatten(), segment.log_probs.detach().flatten(),
        stack(segment.obs, "turn"),
    )  # fmt: skip


def train(learner: ILRec, until: int, advance: Callable[[int], None]) -> None:
    """Update ``learner`` until it has taken ``until`` environment steps.

    It begins with fresh users, so that a run which stops here and goes on later plays the very
    same steps as one that never stopped.
    """
    learner.collector.obs = None
    while learner.steps < until:
        before = learner.steps
        learner.update()
        advance(learner.steps - before)
