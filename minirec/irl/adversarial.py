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
    """D = sigmoid(logits); ``logits > 0`` means *demonstrator*.

    AIRL's logits are f - log pi, so that f can become a reward; GAIL's are g(s, a), a classifier
    like any other.

    Args:
        net: The reward network, f and g.
        structured: Whether the logits are AIRL's (the default) or GAIL's.

    Source:
        Fu, Luo and Levine (2018), eq. 3; Ho and Ermon (2016), eq. 14. Built in chapter 9.
    """

    def __init__(self, net: RewardNet, *, structured: bool = True) -> None:
        super().__init__()
        self.net, self.structured = net, structured

    def forward(self, batch: Transitions) -> Tensor:
        """Return the logits, shape (M,)."""
        if not self.structured:
            return self.net.reward(batch.items, batch.rewards, batch.acts)
        logits: Tensor = self.net(batch) - batch.log_probs
        return logits

    def pay(self, batch: Transitions, form: RewardForm) -> Tensor:
        """Return what the agent is paid for each transition, shape (M,), without gradients."""
        with torch.no_grad():
            if form is RewardForm.REWARD:
                return self.net.reward(batch.items, batch.rewards, batch.acts)
            if form is RewardForm.SHAPED:
                return torch.as_tensor(self.net(batch))
            logits = self(batch)
            if form is RewardForm.GAIL:
                return F.softplus(logits)
            return logits if form is RewardForm.AIRL else F.logsigmoid(logits)


def discriminator_step(
    discriminator: Discriminator, optimiser: torch.optim.Optimizer, demos: Transitions,
    policy: Transitions, *, batch: int, generator: torch.Generator, penalty: float = 0.0,
) -> dict[str, float]:  # fmt: skip
    """Take one gradient step on equal halves of demonstrator and policy transitions.

    Args:
        discriminator: Changed in place.
        optimiser: Over the discriminator's parameters.
        demos: The demonstrator's transitions.
        policy: The policy's transitions.
        batch: Transitions of each side in the step.
        generator: Draws the batches (CPU).
        penalty: Weight of the mean squared slope of g at the demonstrator's side, which keeps the
            discriminator from being sure too soon (Mescheder, Geiger and Nowozin, 2018, R1).

    Returns:
        Before the step: ``loss`` in nats, ``accuracy_demos`` and ``accuracy_policy`` as shares,
        ``entropy`` of its judgements in nats (log 2 = 0.69 is a coin), ``logit_demos`` and
        ``logit_policy``, the means of the two sides.
    """

    def draw(side: Transitions) -> Transitions:
        rows = torch.randint(len(side), (batch,), generator=generator)
        return side.take(rows.to(side.acts.device))

    shown = draw(demos)
    demo_logits, policy_logits = discriminator(shown), discriminator(draw(policy))
    loss = F.softplus(-demo_logits).mean() + F.softplus(policy_logits).mean()
    total = loss + penalty * discriminator.net.steepness(shown) if penalty else loss
    optimiser.zero_grad()
    total.backward()
    optimiser.step()
    logits = torch.cat([demo_logits, policy_logits]).detach()
    entropy = F.softplus(logits) - logits * logits.sigmoid()
    return {
        "loss": float(loss.detach()) / 2,
        "accuracy_demos": float((demo_logits > 0).float().mean()),
        "accuracy_policy": float((policy_logits < 0).float().mean()),
        "entropy": float(entropy.mean()),
        "logit_demos": float(demo_logits.detach().mean()),
        "logit_policy": float(policy_logits.detach().mean()),
    }


def adversarial_round(
    discriminator: Discriminator, optimiser: torch.optim.Optimizer, learner: Learner, *,
    form: RewardForm, steps: int, batch: int, generator: torch.Generator, penalty: float = 0.0,
) -> dict[str, float]:  # fmt: skip
    """Roll out, train the discriminator ``steps`` times, improve the policy once.

    Returns:
        The discriminator's statistics at its last step, and ``paid_mean`` and ``paid_std`` of
        what the learner was paid for the transitions it asked about.

    Source:
        Fu, Luo and Levine (2018), algorithm 1. Built in chapter 9.
    """
    policy, demos = learner.rollout(), learner.demonstrations()
    statistics: dict[str, float] = {}
    for _ in range(steps):
        statistics = discriminator_step(
            discriminator, optimiser, demos, policy,
            batch=batch, generator=generator, penalty=penalty,
        )  # fmt: skip

    def reward(transitions: Transitions) -> Tensor:
        paid = discriminator.pay(transitions, form)
        statistics.update(paid_mean=float(paid.mean()), paid_std=float(paid.std()))
        return paid

    learner.improve(reward)
    return statistics
