"""Play the policy in the environment, keeping what the losses need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minirec._io import IntArray
from minirec.rl.policy import RecPolicy, sample
from minirec.world.batched import BatchedRecEnv, Obs


@dataclass(frozen=True)
class Segment:
    """T steps of B users in lock-step; every tensor has shape (T, B) unless noted.

    ``log_probs``, ``entropy`` and ``values`` carry gradients. ``next_values`` are the critic's
    values of the states that followed, detached, also where the episode then ended.
    """

    obs: list[Obs]  # T observations before each action
    next_obs: list[Obs]  # T observations after it, before any restart
    acts: Tensor
    rewards: Tensor  # model_reward in rating points
    log_probs: Tensor
    entropy: Tensor
    known: Tensor  # (T, B, f + 2), what the reward head saw
    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor


class Collector:
    """Keeps B users busy: a user who quits is replaced by the next one drawn.

    Args:
        env: The batched environment.
        users: Users to draw from, shape (U',).
        size: B, how many users play at once.
        draw: Generator that draws users.
        noise: Generator that draws actions.
    """

    def __init__(
        self, env: BatchedRecEnv, users: IntArray, size: int, draw: np.random.Generator,
        noise: torch.Generator,
    ) -> None:  # fmt: skip
        self.env, self.users, self.size, self.draw, self.noise = env, users, size, draw, noise
        self.obs: Obs | None = None
        self.state: Tensor | None = None

    def collect(self, policy: RecPolicy, length: int) -> Segment:
        """Play ``length`` steps and return them with gradients attached."""
        env, table, device = self.env, policy.table(), policy.features.device
        if self.obs is None or self.state is None:
            self.obs = env.reset(self.draw.choice(self.users, self.size))
            self.state = policy.start(table, *windows(self.obs, device))
        obs, state = self.obs, self.state.detach()
        before, after, steps = [], [], []
        for _ in range(length):
            mask = torch.from_numpy(env.action_mask.copy()).to(device)
            logits, values, known = policy.act(table, state, mask)
            log_policy = logits.log_softmax(1)
            acts = sample(logits, self.noise)
            next_obs, rewards, terminated, truncated = env.step(acts.cpu().numpy())
            reward = torch.from_numpy(rewards).to(device)
            following = policy.step(table, state, acts, reward)
            plogp = log_policy.exp() * log_policy.masked_fill(~mask, 0)
            before.append(obs)
            after.append(next_obs)
            steps.append({
                "acts": acts, "rewards": reward, "known": known, "values": values,
                "log_probs": log_policy.gather(1, acts[:, None]).squeeze(1),
                "entropy": -plogp.sum(1), "next_values": policy.value(following).detach(),
                "terminated": torch.from_numpy(terminated).to(device),
                "truncated": torch.from_numpy(truncated).to(device),
            })  # fmt: skip
            obs, state = next_obs, following
            done = terminated | truncated
            if done.any():
                obs = env.restart(done, self.draw.choice(self.users, int(done.sum())))
                rows = torch.from_numpy(np.flatnonzero(done)).to(device)
                fresh = windows({name: values[done] for name, values in obs.items()}, device)
                state = state.index_copy(0, rows, policy.start(table, *fresh))
        self.obs, self.state = obs, state.detach()
        columns = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
        return Segment(before, after, **columns)


def windows(obs: Obs, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return an observation's items and rewards, each (B, K), as tensors."""
    items, rewards = (torch.from_numpy(obs[name]).to(device) for name in ("items", "rewards"))
    return items, rewards
