"""The IL-Rec learner: one loop that imitates, plays and improves; its arms are configurations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minirec.irl.adversarial import Discriminator, RewardFunction, adversarial_round
from minirec.irl.rewards import RewardForm, RewardNet, Transitions
from minirec.irl.weights import demonstration_weights
from minirec.rl.a2c import gae
from minirec.rl.agents import A2C
from minirec.rl.imitation import Demonstrations, imitation_loss, replay
from minirec.rl.rollout import Collector, Segment
from minirec.rl.settings import LearnerConfig


class ILRec(A2C):
    """A2C that is shown demonstrations: it imitates them, and a discriminator learns their reward.

    :meth:`clone`, then :meth:`adversarial` rounds, then :meth:`update` until the budget is spent.
    Its arms (:mod:`minirec.rl.arms`) are settings of this one loop. Built in chapter 12.

    Args:
        features: Item features, shape (N, f).
        collector: Plays the policy in the training environment.
        demos: The demonstrations.
        config: Settings.
        seed: Seed of the initial weights.
        generator: Draws batches (CPU).
        prior: What the reward head starts from, (N,).

    Source:
        IL-Rec (arXiv 2510.13229); where its text and its code differ, the book says what we chose.
    """

    parts = (*A2C.parts, "discriminator", "disc_optimiser")

    def __init__(
        self, features: Tensor, collector: Collector, demos: Demonstrations,
        config: LearnerConfig, *, seed: int, generator: torch.Generator,
        prior: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(features, collector, config, seed=seed, generator=generator, prior=prior)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            structured = config.form not in ("gail", "log_d")
            # logits are f - log pi: with f = 0 all that a uniform policy does has log N
            level = -math.log(len(features)) if structured and config.even_start else 0.0
            net = RewardNet(features, discount=config.discount, level=level)
        self.discriminator = Discriminator(net, structured=structured).to(features.device)
        parameters = self.discriminator.parameters()
        self.disc_optimiser = torch.optim.Adam(parameters, lr=config.disc_rate)
        self.demos, self.steps = demos, int(demos.valid.sum())
        self.weights = torch.ones_like(demos.rewards)
        self.segment: Segment | None = None
        with torch.no_grad():
            self.read = replay(self.policy, demos)
        known, where = self.read.known, demos.valid
        self.memory.add(known=known[where], acts=demos.acts[where], rewards=demos.rewards[where])

    def clone(self, epochs: int) -> None:
        """Imitate all demonstrations with equal weight for ``epochs`` passes (a warm start)."""
        self.optimiser.param_groups[0]["lr"] = self.config.clone_rate
        for _ in range(epochs):
            order = torch.randperm(len(self.demos.acts), generator=self.generator)
            for rows in order.split(self.config.demo_batch):
                self.foresee()
                self.descend(self.imitation_on(rows.to(self.demos.acts.device)))
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
        """Run an adversarial round if one is due; else play and improve once."""
        self.updates += 1
        every = self.config.disc_every
        if every and self.updates % every == 0:
            self.adversarial()
            return
        segment = self.play()
        if self.config.bonus:
            self.improve(lambda played: self.discriminator.pay(played, RewardForm.REWARD))
        else:
            self.improve_on(segment, segment.rewards)

    def rollout(self) -> Transitions:
        """Play one segment (the ``Learner`` protocol of ``minirec.irl``)."""
        return as_transitions(self.play())

    def demonstrations(self) -> Transitions:
        """Return the demonstrated transitions with the present policy's log-probabilities."""
        with torch.no_grad():
            self.read = replay(self.policy, self.demos)
        return self.demos.transitions(self.read.log_probs)

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
        self.improve_on(self.segment, task + self.config.bonus * learned.view_as(paid))

    def refresh_weights(self) -> None:
        """Weigh every demonstrated step by discriminator and critic, as the last round read it."""
        demos, config = self.demos, self.config
        with torch.no_grad():
            read = self.read
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
        return self.config.imitation * max(0.0, left)

    def play(self) -> Segment:
        """Play on, and keep the segment for the round that it belongs to."""
        self.segment = super().play()
        return self.segment

    def loss(self, segment: Segment, rewards: Tensor) -> Tensor:
        """Return A2C's loss plus lambda_imit times that of imitation."""
        loss = super().loss(segment, rewards)
        if weight := self.imitation_weight():
            shape = (self.config.demo_batch,)
            rows = torch.randint(len(self.demos.acts), shape, generator=self.generator)
            loss = loss + weight * self.imitation_on(rows.to(self.demos.acts.device))
        return loss

    def imitation_on(self, rows: Tensor) -> Tensor:
        """Return the weighted imitation loss on some demonstrations, rows (D',)."""
        demos = self.demos.take(rows)
        weights = self.weights[rows, : demos.acts.shape[1]]
        return imitation_loss(replay(self.policy, demos), demos, weights)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values."""
        return super().state_dict() | {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned; the collector starts with fresh users."""
        super().load_state_dict(state)
        self.weights = state["weights"]


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
