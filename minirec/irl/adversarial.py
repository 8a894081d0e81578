"""Adversarial IRL: a discriminator tells demonstrator from policy, and its f is the reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minirec.irl.rewards import RewardForm, RewardNet, Transitions

RewardFunction = Callable[[Transitions], Tensor]


class Learner(Protocol):
    """What adversarial training needs of whoever learns; ``minirec.rl`` implements it."""

    def rollout(self) -> Transitions:
        """Play the present policy and return its transitions."""

    def demonstrations(self) -> Transitions:
        """Return the demonstrator's transitions with the present policy's log-probabilities."""

    def improve(self, reward: RewardFunction) -> None:
        """Improve the policy once on what :meth:`rollout` returned last, paid by ``reward``."""


class Discriminator(nn.Module):
    """D = sigmoid(f - log pi); ``logits > 0`` means *demonstrator*.

    Args:
        net: The reward network f.

    Source:
        Fu, Luo and Levine (2018), eq. 3. Built in chapter 9.
    """

    def __init__(self, net: RewardNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Transitions) -> Tensor:
        """Return the logits, shape (M,)."""
        logits: Tensor = self.net(batch) - batch.log_probs
        return logits

    def pay(self, batch: Transitions, form: RewardForm) -> Tensor:
        """Return what the agent is paid for each transition, shape (M,), without gradients."""
        with torch.no_grad():
            if form is RewardForm.REWARD:
                return self.net.reward(batch.items, batch.rewards, batch.acts)
            logits = self(batch)
            return logits if form is RewardForm.AIRL else F.softplus(logits)


def discriminator_step(
    discriminator: Discriminator, optimiser: torch.optim.Optimizer, demos: Transitions,
    policy: Transitions, *, batch: int, generator: torch.Generator,
) -> dict[str, float]:  # fmt: skip
    """Take one gradient step on equal halves of demonstrator and policy transitions.

    Args:
        discriminator: Changed in place.
        optimiser: Over the discriminator's parameters.
        demos: The demonstrator's transitions.
        policy: The policy's transitions.
        batch: Transitions of each side in the step.
        generator: Draws the batches (CPU).

    Returns:
        ``loss`` in nats, ``accuracy_demos`` and ``accuracy_policy`` as shares before the step.
    """

    def draw(side: Transitions) -> Transitions:
        rows = torch.randint(len(side), (batch,), generator=generator)
        return side.take(rows.to(side.acts.device))

    demo_logits, policy_logits = discriminator(draw(demos)), discriminator(draw(policy))
    loss = F.softplus(-demo_logits).mean() + F.softplus(policy_logits).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return {
        "loss": float(loss.detach()) / 2,
        "accuracy_demos": float((demo_logits > 0).float().mean()),
        "accuracy_policy": float((policy_logits < 0).float().mean()),
    }


def adversarial_round(
    discriminator: Discriminator, optimiser: torch.optim.Optimizer, learner: Learner, *,
    form: RewardForm, steps: int, batch: int, generator: torch.Generator,
) -> dict[str, float]:  # fmt: skip
    """Roll out, train the discriminator ``steps`` times, improve the policy once.

    Returns:
        The discriminator's statistics at its last step.

    Source:
        Fu, Luo and Levine (2018), algorithm 1. Built in chapter 9.
    """
    policy, demos = learner.rollout(), learner.demonstrations()
    statistics: dict[str, float] = {}
    for _ in range(steps):
        statistics = discriminator_step(
            discriminator, optimiser, demos, policy, batch=batch, generator=generator
        )
    learner.improve(lambda transitions: discriminator.pay(transitions, form))
    return statistics
