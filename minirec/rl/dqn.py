"""DQN: learn what every item is worth from single steps, drawn in any order from a memory."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minirec.rl.agents import A2C
from minirec.rl.memory import Ring
from minirec.rl.policy import SHARPNESS
from minirec.rl.rollout import Segment


class DQN(A2C):
    """Double Q-learning with a target network, a memory and an explorer that calms down.

    Q(s, a) = V(s) + (1 - gamma) / 5 logit(s, a) / sharpness: at first a logit is a predicted
    reward times the sharpness, so Q starts as that reward, scaled like A2C's returns. The state is
    the regression alone (tracker ``none``): its numbers depend on no weight, so an old step is as
    good as a new one. Items that were not allowed are remembered as bits. Built in chapter 11.

    Source:
        Mnih et al. (2015); van Hasselt, Guez and Silver (2016), eq. 4.
    """

    parts = (*A2C.parts, "target", "steps_seen")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config, n_items = self.config, self.policy.n_items
        self.scale = (1 - config.discount) / 5
        self.target = copy.deepcopy(self.policy)
        fields = self.memory.fields
        self.steps_seen = Ring(
            config.replay, self.policy.features.device, known=fields["known"],
            acts=fields["acts"], rewards=fields["rewards"], next_known=fields["known"],
            terminated=torch.zeros(0, dtype=torch.bool),
            allowed=torch.zeros(0, (n_items + 7) // 8, dtype=torch.uint8),
        )  # fmt: skip

    def collect(self) -> Segment:
        """Play greedily but for a share of random items, which falls to its end linearly."""
        config = self.config
        share = max(config.explore_end, 1 - self.steps / config.explore_steps)
        segment = self.collector.collect(self.policy, config.segment, explore=share)
        flat = {
            "known": segment.known.flatten(0, 1), "acts": segment.acts.flatten(),
            "rewards": segment.rewards.flatten(), "terminated": segment.terminated.flatten(),
            "next_known": segment.next_known.flatten(0, 1),
            "allowed": torch.from_numpy(np.packbits(segment.allowed, axis=2)).flatten(0, 1),
        }  # fmt: skip
        self.steps_seen.add(**flat)
        return segment

    def values(self, net: Any, known: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return Q of all items (B, N); -inf where ``allowed`` (B, N) forbids one."""
        mask = torch.ones(1, net.n_items, dtype=torch.bool) if allowed is None else allowed
        logits, value = net.decide(net.table(), known, known, mask.to(known.device))
        q: Tensor = value[:, None] + self.scale * logits / SHARPNESS
        return q

    def improve_on(self, segment: Segment, rewards: Tensor) -> None:
        """Take a few steps on remembered transitions; follow with the target now and then."""
        for _ in range(self.config.q_steps):
            kept = self.steps_seen.draw(self.config.memory_batch, self.generator)
            self.descend(self.error(kept))
        if self.updates % self.config.target_every == 0:
            self.target.load_state_dict(self.policy.state_dict())
        self.foresee()

    def error(self, kept: dict[str, Tensor]) -> Tensor:
        """Return the mean Huber error of Q(s, a) against r + gamma (1 - terminated) Q(s', a*)."""
        q = self.values(self.policy, kept["known"]).gather(1, kept["acts"][:, None]).squeeze(1)
        with torch.no_grad():
            bits, n_items = kept["allowed"].cpu().numpy(), self.policy.n_items
            allowed = torch.from_numpy(np.unpackbits(bits, axis=1, count=n_items)).bool()
            best = self.values(self.policy, kept["next_known"], allowed).argmax(1, keepdim=True)
            later = self.values(self.target, kept["next_known"]).gather(1, best).squeeze(1)
            goal = self.scale * kept["rewards"]
            goal = goal + self.config.discount * ~kept["terminated"] * later
        return F.smooth_l1_loss(q, goal, beta=0.1)
