"""Play the policy in the environment, keeping what the losses need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minirec._io import BoolArray, IntArray
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
        self,
        env: BatchedRecEnv,
        users: IntArray,
        size: int,
        draw: np.random.Generator,
        noise: torch.Generator,
    ) -> None:
        self.env, self.users, self.size, self.draw, self.noise = env, users, size, draw, noise
        self.obs: Obs | None = None
        self.state: Tensor | None = None

    def collect(self, policy: RecPolicy, length: int) -> Segment:
        """Play ``length`` steps and return them with gradients attached."""
        env, table, device = self.env, policy.table(), policy.features.device
        if self.obs is None or self.state is None:
            self.obs = env.reset(self.draw.choice(self.users, self.size))
            self.state = self._start(policy, table, self.obs)
        obs, state = self.obs, self.state.detach()
        columns: dict[str, Any] = {name: [] for name in Segment.__dataclass_fields__}
        for _ in range(length):
            mask = torch.from_numpy(env.action_mask.copy()).to(device)
            logits, values, known = policy.act(table, state, mask)
            log_policy = logits.log_softmax(1)
            acts = sample(logits, self.noise)
            next_obs, rewards, terminated, truncated = env.step(acts.cpu().numpy())
            reward = torch.from_numpy(rewards).to(device)
            following = policy.step(table, state, acts, reward)
            plogp = log_policy.exp() * log_policy.masked_fill(~mask, 0)
            step = {
                "obs": obs,
                "next_obs": next_obs,
                "acts": acts,
                "rewards": reward,
                "log_probs": log_policy.gather(1, acts[:, None]).squeeze(1),
                "entropy": -plogp.sum(1),
                "known": known,
                "values": values,
                "next_values": policy.value(following).detach(),
                "terminated": torch.from_numpy(terminated).to(device),
                "truncated": torch.from_numpy(truncated).to(device),
            }
            for name, value in step.items():
                columns[name].append(value)
            obs, state = next_obs, following
            done = terminated | truncated
            if done.any():
                obs = env.restart(done, self.draw.choice(self.users, int(done.sum())))
                state = self._restart(policy, table, state, obs, done)
        self.obs, self.state = obs, state.detach()
        for name, value in columns.items():
            columns[name] = torch.stack(value) if isinstance(value[0], Tensor) else value
        return Segment(**columns)

    def _start(self, policy: RecPolicy, table: Any, obs: Obs) -> Tensor:
        device = policy.features.device
        items = torch.from_numpy(obs["items"]).to(device)
        return policy.start(table, items, torch.from_numpy(obs["rewards"]).to(device))

    def _restart(
        self, policy: RecPolicy, table: Any, state: Tensor, obs: Obs, done: BoolArray
    ) -> Tensor:
        """Replace the state of the rows in ``done`` by that of their new user."""
        rows = torch.from_numpy(np.flatnonzero(done)).to(state.device)
        fresh = self._start(policy, table, {k: v[done] for k, v in obs.items()})
        return state.index_copy(0, rows, fresh)
