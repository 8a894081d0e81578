"""Advantage actor-critic: generalised advantages that know a quit from a time limit, one loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minirec.rl.rollout import Segment


def gae(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor,
    *, discount: float, trace: float,
) -> Tensor:  # fmt: skip
    """Return generalised advantage estimates, shape (T, B), in the units of ``rewards``.

    delta_t = r_t + gamma (1 - terminated) V(s_{t+1}) - V(s_t); the sum of deltas stops where an
    episode ends. A user who quits has no future, a truncated episode would have gone on: its last
    step still counts V(s_{t+1}).

    Args:
        rewards: Shape (T, B).
        values: V(s_t), shape (T, B).
        next_values: V(s_{t+1}) before any restart, shape (T, B).
        terminated: Whether the user quit at t, shape (T, B).
        truncated: Whether the turn limit ended the episode at t, shape (T, B).
        discount: gamma.
        trace: lambda of GAE.

    Source:
        Schulman et al. (2016), eq. 16. Built in chapter 11.
    """
    delta = rewards + discount * ~terminated * next_values - values
    goes_on = ~(terminated | truncated)
    advantages, running = torch.empty_like(delta), torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + discount * trace * goes_on[t] * running
        advantages[t] = running
    return advantages


def a2c_loss(
    segment: Segment, rewards: Tensor, *, discount: float, trace: float, entropy_weight: float
) -> Tensor:
    """Return the actor-critic loss of one segment (a scalar).

    ``rewards`` (T, B) are what the learner maximises, in rating points. They are scaled by
    (1 - discount) / 5, so that values lie between 0 and 1 whatever the horizon.

    Source:
        Mnih et al. (2016), section 4, with GAE in place of n-step returns. Built in chapter 11.
    """
    scaled, values = rewards * (1 - discount) / 5, segment.values.detach()
    ends = segment.terminated, segment.truncated
    advantages = gae(scaled, values, segment.next_values, *ends, discount=discount, trace=trace)
    normalised = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
    actor = -(normalised * segment.log_probs).mean()
    critic = F.mse_loss(segment.values, advantages + values)
    return actor + 0.5 * critic - entropy_weight * segment.entropy.mean()
