"""Agents that learn by playing: one loop, improved by an actor and a critic or by whole returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from minirec.rl.a2c import a2c_loss, gae
from minirec.rl.memory import Ring
from minirec.rl.policy import build_policy
from minirec.rl.rollout import Collector, Segment
from minirec.rl.settings import LearnerConfig


class A2C:
    """Advantage actor-critic: play a segment, take one step on it, fit the reward head to memory.

    Everything that learns here is this loop, or changes one part of it. Built in chapter 11.

    Args:
        features: Item features, shape (N, f).
        collector: Plays the policy in the training environment.
        config: Settings.
        seed: Seed of the initial weights.
        generator: Draws batches (CPU).
        prior: What the reward head starts from, (N,); see :class:`minirec.rl.policy.RecPolicy`.
        constant_reward: Pay +1 for every step in place of the model_reward (a control).

    Source:
        Mnih et al. (2016), section 4, with the advantages of Schulman et al. (2016).
    """

    parts: tuple[str, ...] = ("policy", "optimiser", "memory")
    """What knows how to save and load itself."""

    def __init__(
        self, features: Tensor, collector: Collector, config: LearnerConfig, *, seed: int,
        generator: torch.Generator, prior: Tensor | None = None, constant_reward: bool = False,
    ) -> None:  # fmt: skip
        self.config, self.collector, self.generator = config, collector, generator
        self.constant_reward = constant_reward
        shape = {name: getattr(config, name) for name in ("dim", "hidden", "tracker", "foresight")}
        self.policy = build_policy(features, seed, prior=prior, **shape)
        self.policy.to(features.device)
        self.parameters = list(self.policy.parameters())
        actor = self.policy.actor_parameters()
        rest = [p for p in self.parameters if all(p is not slow for slow in actor)]
        slower: dict[str, Any] = {"params": actor, "lr": config.actor_rate}
        self.optimiser = torch.optim.Adam([slower, {"params": rest}], lr=config.rate, fused=True)
        known = features.new_zeros(0, features.shape[1] + 2)
        like = {"known": known, "acts": torch.zeros(0, dtype=torch.int64), "rewards": known[:, 0]}
        self.memory = Ring(config.memory, features.device, **like)
        self.steps, self.updates = 0, 0
        self.statistics: dict[str, float] = {}

    def begin(self) -> None:
        """Start with fresh users at the next update."""
        self.collector.obs = None

    def update(self) -> None:
        """Play and improve once."""
        self.updates += 1
        segment = self.play()
        self.improve_on(segment, segment.rewards)

    def play(self) -> Segment:
        """Play on with as many users as the settings say, and remember what was paid."""
        self.collector.size = self.config.users_at(self.steps)
        segment = self.collect()
        if self.constant_reward:
            segment = replace(segment, rewards=torch.ones_like(segment.rewards))
        held = {name: getattr(segment, name)[segment.valid] for name in self.memory.fields}
        self.memory.add(**held)
        self.steps += int(segment.valid.sum())
        return segment

    def collect(self) -> Segment:
        """Return the next steps; what is played depends on the agent."""
        return self.collector.collect(self.policy, self.config.segment)

    def improve_on(self, segment: Segment, rewards: Tensor) -> None:
        """Take one step on a segment for ``rewards`` (T, B), then look into the memory."""
        self.descend(self.loss(segment, rewards))
        self.foresee()

    def loss(self, segment: Segment, rewards: Tensor) -> Tensor:
        """Return what to descend on, a scalar."""
        config = self.config
        return a2c_loss(
            segment, rewards,
            discount=config.discount, trace=config.trace, entropy_weight=config.entropy,
        )  # fmt: skip

    def foresee(self) -> None:
        """Fit the reward head to a few batches of all that was played and shown."""
        for _ in range(self.config.memory_steps):
            kept = self.memory.draw(self.config.memory_batch, self.generator)
            predicted = self.policy.foresee(kept["known"], kept["acts"])
            self.descend(F.mse_loss(predicted, kept["rewards"]))

    def descend(self, loss: Tensor) -> None:
        """Take one clipped step down a loss."""
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values."""
        return {part: getattr(self, part).state_dict() for part in self.parts} | {
            "steps": self.steps, "updates": self.updates,
            "generator": self.generator.get_state(), "noise": self.collector.noise.get_state(),
            "draw": self.collector.draw.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned; the collector starts with fresh users."""
        for part in self.parts:
            getattr(self, part).load_state_dict(state[part])
        self.steps, self.updates = state["steps"], state["updates"]
        self.generator.set_state(state["generator"])
        self.collector.noise.set_state(state["noise"])
        self.collector.draw.bit_generator.state = state["draw"]
        self.begin()


class Reinforce(A2C):
    """REINFORCE: play whole episodes, and credit every step with all that came after it.

    The critic is a baseline and no more: what it says of later states is not believed. Built in
    chapter 11.

    Source:
        Williams (1992); with a learned baseline Sutton and Barto (2018), section 13.4.
    """

    def collect(self) -> Segment:
        """Play one whole episode with each user."""
        return self.collector.episodes(self.policy)

    def loss(self, segment: Segment, rewards: Tensor) -> Tensor:
        """Return -(G_t - V(s_t)) log pi(a_t | s_t), the baseline's error and the entropy."""
        config, valid = self.config, segment.valid
        nothing, ends = torch.zeros_like(rewards), (segment.terminated, segment.truncated)
        scaled = rewards * (1 - config.discount) / 5
        returns = gae(scaled, nothing, nothing, *ends, discount=config.discount, trace=1.0)[valid]
        surplus = returns - segment.values.detach()[valid]
        surplus = (surplus - surplus.mean()) / (surplus.std() + 1e-6)
        actor = -(surplus * segment.log_probs[valid]).mean()
        critic = F.mse_loss(segment.values[valid], returns)
        return actor + 0.5 * critic - config.entropy * segment.entropy[valid].mean()


class Learner(Protocol):
    """What :func:`train` needs of whoever learns."""

    steps: int

    def begin(self) -> None:
        """Start with fresh users at the next update."""

    def update(self) -> None:
        """Take some environment steps, counted in ``steps``, and learn from them."""


def train(learner: Learner, until: int, advance: Callable[[int], None]) -> None:
    """Update ``learner`` until it has taken ``until`` environment steps.

    It begins with fresh users, so that a run which stops here and goes on later plays the very
    same steps as one that never stopped.
    """
    learner.begin()
    while learner.steps < until:
        before = learner.steps
        learner.update()
        advance(learner.steps - before)
