"""A learned reward: a network over what the user showed and the item, plus a shaping potential."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minirec._io import UserError, save_tensors


@dataclass(frozen=True)
class Transitions:
    """M transitions as tensors: what the discriminator compares.

    Attributes:
        items: Observed windows before the action, shape (M, K), padded with ``n_items``.
        rewards: Their rewards in rating points, shape (M, K).
        acts: Recommended items, shape (M,).
        next_items: Windows after the action, shape (M, K).
        next_rewards: Their rewards, shape (M, K).
        terminated: Whether the user quit, shape (M,).
        log_probs: log pi(a | s) of the present policy, shape (M,).
        turns: How many turns came before in the episode, shape (M,).
    """

    items: Tensor
    rewards: Tensor
    acts: Tensor
    next_items: Tensor
    next_rewards: Tensor
    terminated: Tensor
    log_probs: Tensor
    turns: Tensor

    def __len__(self) -> int:
        """Return M."""
        return len(self.acts)

    def take(self, rows: Tensor) -> Transitions:
        """Return the chosen rows (M',)."""
        return Transitions(*(getattr(self, field.name)[rows] for field in fields(self)))


class RewardForm(Enum):
    """Which function of the discriminator the agent is paid; built in chapter 9.

    D is the probability of *demonstrator*. The sign decides what mere survival is worth in an
    episode that can end early.
    """

    REWARD = "reward"  # g(s, a): AIRL's reward without shaping; any sign
    SHAPED = "shaped"  # f(s, a, s'): the same with its potential; any sign
    AIRL = "airl"  # f - log pi = log D - log(1 - D): any sign
    GAIL = "gail"  # -log(1 - D), IL-Rec's -log D of the policy: above 0, so surviving pays
    LOG_D = "log_d"  # log D: below 0, so leaving early pays


class RewardNet(nn.Module):
    """AIRL's f(s, a, s') = g(s, a) + gamma (1 - terminated) h(s') - h(s).

    The state is what the observation window shows: the mean item vector, the mean of item vectors
    weighted by how much they were liked, and the mean reward. Nothing in it is learned by the
    policy, so the reward stands on its own. Built in chapter 9.

    Args:
        features: Item features, shape (N, f), dimensionless.
        hidden: Width of the two hidden layers.
        discount: gamma of the shaping term.
        level: About where g starts, before it has learned anything.
        turn_limit: Of an episode, if the potential h is to know the turn. One that does not cannot
            tell that less is left to earn, and g sinks in its place (chapter 9).

    Source:
        Fu, Luo and Levine (2018), eq. 4; terminal potential zero: Ng, Harada and Russell (1999).
    """

    features: Tensor

    def __init__(
        self, features: Tensor, *, hidden: int = 64, discount: float = 0.95, level: float = 0.0,
        turn_limit: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        size, self.discount, self.turn_limit = features.shape[1], discount, turn_limit
        self.register_buffer("features", F.pad(features, (0, 0, 0, 1)))
        inputs, middle = nn.Linear(4 * size + 1, hidden), nn.Linear(hidden, hidden)
        last = nn.Linear(hidden, 1)
        last.bias.data += level
        self.g = nn.Sequential(inputs, nn.ReLU(), middle, nn.ReLU(), last)
        read = 2 * size + 1 + (turn_limit is not None)
        self.h = nn.Sequential(nn.Linear(read, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def state(self, items: Tensor, rewards: Tensor) -> Tensor:
        """Summarise windows (M, K) as (M, 2f + 1)."""
        known = (items < len(self.features) - 1).unsqueeze(2)
        x = self.features[items]
        liking = ((rewards - 3) / 2).unsqueeze(2) * known
        count = known.sum(1).clamp(min=1)
        return torch.cat([x.sum(1), (liking * x).sum(1), liking.sum(1)], 1) / count

    def inputs(self, items: Tensor, rewards: Tensor, acts: Tensor) -> Tensor:
        """Return what g reads of windows (M, K) and items (M,), shape (M, 4f + 1)."""
        state, x = self.state(items, rewards), self.features[acts]
        liked = state[:, x.shape[1] : -1]
        return torch.cat([state, x, liked * x], 1)

    def reward(self, items: Tensor, rewards: Tensor, acts: Tensor) -> Tensor:
        """Return g(s, a) of windows (M, K) and items (M,) -> (M,): the learned_reward."""
        return torch.squeeze(self.g(self.inputs(items, rewards, acts)), 1)

    def potential(self, items: Tensor, rewards: Tensor, turns: Tensor) -> Tensor:
        """Return h of windows (M, K) at turns (M,) -> (M,)."""
        state = self.state(items, rewards)
        if self.turn_limit is not None:
            state = torch.cat([state, turns.unsqueeze(1) / self.turn_limit], 1)
        return torch.squeeze(self.h(state), 1)

    def steepness(self, batch: Transitions) -> Tensor:
        """Return the mean squared slope of g at some transitions, a scalar with gradients."""
        inputs = self.inputs(batch.items, batch.rewards, batch.acts).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.g(inputs).sum(), inputs, create_graph=True)
        return slope.square().sum(1).mean()

    def forward(self, batch: Transitions) -> Tensor:
        """Return f(s, a, s') of each transition, shape (M,)."""
        g = self.reward(batch.items, batch.rewards, batch.acts)
        here = self.potential(batch.items, batch.rewards, batch.turns)
        there = self.potential(batch.next_items, batch.next_rewards, batch.turns + 1)
        f: Tensor = g + self.discount * ~batch.terminated * there - here
        return f

    def save(self, path: str | Path) -> None:
        """Write the weights and the item features, atomically; :func:`load_reward` reads them."""
        settings = {"discount": self.discount, "turn_limit": self.turn_limit}
        save_tensors(path, settings | {"net": self.state_dict()})


def load_reward(path: str | Path) -> RewardNet:
    """Return the reward network that :meth:`RewardNet.save` wrote.

    Raises:
        UserError: If there is no such file, or it holds something else.
    """
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        state, discount = stored["net"], float(stored["discount"])
        hidden, features = len(state["g.0.weight"]), state["features"][:-1]
        how = {"hidden": hidden, "discount": discount, "turn_limit": stored["turn_limit"]}
        net = RewardNet(features, **how)
        net.load_state_dict(state)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except Exception as error:  # torch and pickle raise many kinds for a file that is none of ours
        raise UserError(f"{path} holds no learned reward ({error}); give one saved by it") from None
    return net.eval()
