"""Play the policy in the environment, keeping what the losses need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minirec._io import BoolArray, IntArray
from minirec.rl.policy import ItemTable, RecPolicy, sample
from minirec.world.batched import BatchedRecEnv, Obs


@dataclass(frozen=True)
class Segment:
    """T steps of B users in lock-step; every tensor has shape (T, B) unless noted.

    ``log_probs``, ``entropy`` and ``values`` carry gradients. ``next_values`` are the critic's
    values of the states that followed, detached; 0 where the user quit.
    """

    obs: list[Obs]  # T observations before each action
    next_obs: list[Obs]  # T observations after it, before any restart
    allowed: BoolArray  # (T, B, N), what might be shown next, before any restart; explorers only
    acts: Tensor
    rewards: Tensor  # model_reward in rating points
    log_probs: Tensor
    entropy: Tensor
    known: Tensor  # (T, B, f + 2), what the reward head saw
    next_known: Tensor  # likewise of what followed, before any restart; explorers only
    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor  # False where an episode was over already


class Collector:
    """Keeps B users busy: a user who quits is replaced by the next one drawn.

    Args:
        env: The batched environment.
        users: Users to draw from, shape (U',).
        size: B, how many users play at once; may be changed between segments.
        draw: Generator that draws users.
        noise: Generator that draws actions.
    """

    def __init__(
        self, env: BatchedRecEnv, users: IntArray, size: int, draw: np.random.Generator,
        noise: torch.Generator,
    ) -> None:  # fmt: skip
        self.env, self.users, self.size, self.draw, self.noise = env, users, size, draw, noise
        self.expected = size  # restarts in a segment, by the last one
        self.obs: Obs | None = None
        self.state: Tensor | None = None

    def begin(self, policy: RecPolicy, table: ItemTable) -> tuple[Obs, Tensor]:
        """Start an episode with each of ``size`` fresh users."""
        obs = self.env.reset(self.draw.choice(self.users, self.size))
        return obs, policy.start(table, *windows(obs, policy.features.device))

    def collect(self, policy: RecPolicy, length: int, explore: float | None = None) -> Segment:
        """Play ``length`` steps and return them with gradients attached.

        Actions are drawn from the policy; given ``explore``, they are its best items but for that
        share, which is uniform among what is allowed.
        """
        table = policy.table()
        if self.obs is None or self.state is None or len(self.state) != self.size:
            self.obs, self.state = self.begin(policy, table)
            self.expected = self.size
        obs, state, turns = self.obs, self.state.detach(), []
        room = WaitingRoom(self, policy, table, self.expected)
        for _ in range(length):
            turn, obs, state = self._turn(policy, table, obs, state, explore)
            turns.append(turn)
            done = turn["terminated"] | turn["truncated"]
            if done.any():
                users, fresh = room.call(int(done.sum()))
                obs = self.env.restart(done.cpu().numpy(), users)
                state = state.index_copy(0, done.nonzero().squeeze(1), fresh)
        self.obs, self.state, self.expected = obs, state.detach(), room.called
        return _stack(turns, policy.value(state).detach())

    def episodes(self, policy: RecPolicy) -> Segment:
        """Play one whole episode with each of ``size`` fresh users."""
        table, turns = policy.table(), []
        obs, state = self.begin(policy, table)
        while self.env.alive.any():
            turn, obs, state = self._turn(policy, table, obs, state, None)
            turns.append(turn)
        return _stack(turns, turns[-1]["values"].detach())

    def _turn(
        self, policy: RecPolicy, table: ItemTable, obs: Obs, state: Tensor, explore: float | None
    ) -> tuple[dict[str, Any], Obs, Tensor]:
        """Recommend one item to everybody; return what happened, what is seen now, the states."""
        env, device = self.env, state.device
        alive = torch.from_numpy(env.alive).to(device)
        mask = torch.from_numpy(env.action_mask.copy()).to(device)
        logits, values, known = policy.act(table, state, mask)
        log_policy = logits.log_softmax(1)
        acts = sample(logits, self.noise)
        if explore is not None:
            best, chance = logits.argmax(1), torch.rand(len(acts), generator=self.noise)
            anything = sample(torch.zeros_like(logits).masked_fill(~mask, -torch.inf), self.noise)
            acts = torch.where(chance.to(device) < explore, anything, best)
        next_obs, rewards, terminated, truncated = env.step(acts.cpu().numpy())
        reward = torch.from_numpy(rewards).to(device)
        state = policy.step(table, state, acts, reward)
        plogp = log_policy.exp() * log_policy.masked_fill(~mask, 0)
        cut = torch.from_numpy(np.flatnonzero(truncated)).to(device)
        left = torch.zeros_like(reward)
        if len(cut):
            left[cut] = policy.value(state[cut]).detach()
        turn = {
            "obs": obs, "next_obs": next_obs, "allowed": env.action_mask[:, :0],
            "acts": acts, "rewards": reward, "known": known, "values": values, "left": left,
            "log_probs": log_policy.gather(1, acts[:, None]).squeeze(1),
            "entropy": -plogp.sum(1), "valid": alive,
            "terminated": torch.from_numpy(terminated).to(device),
            "truncated": torch.from_numpy(truncated).to(device),
        }  # fmt: skip
        if explore is not None:
            turn |= {"next_known": policy.read(state)[1], "allowed": env.action_mask.copy()}
        return turn, next_obs, state


class WaitingRoom:
    """Users who come next, their first windows read together: one pass for many.

    Args:
        collector: Whose users they are.
        policy: Reads the windows.
        table: What it knows of the catalogue.
        expected: How many will probably be called.
    """

    def __init__(
        self, collector: Collector, policy: RecPolicy, table: ItemTable, expected: int
    ) -> None:
        self.collector, self.policy, self.table = collector, policy, table
        self.expected, self.called = max(expected, 4), 0
        self.users, self.states = np.zeros(0, int), torch.zeros(0)

    def call(self, count: int) -> tuple[IntArray, Tensor]:
        """Return the next ``count`` users and the states in which they start, (count, d)."""
        if count > len(self.users):
            collector = self.collector
            more = collector.draw.choice(collector.users, max(count, self.expected))
            obs = dict(zip(("items", "rewards"), collector.env.opening(more), strict=True))
            states = self.policy.start(self.table, *windows(obs, self.policy.features.device))
            self.users = np.append(self.users, more)
            self.states = torch.cat([self.states, states]) if len(self.states) else states
        users, fresh = self.users[:count], self.states[:count]
        self.users, self.states = self.users[count:], self.states[count:]
        self.called += count
        return users, fresh


def _stack(turns: list[dict[str, Any]], last: Tensor) -> Segment:
    """Put turns into one segment; ``last`` (B,) is V of where those who go on stand."""
    obs, next_obs = ([turn.pop(name) for turn in turns] for name in ("obs", "next_obs"))
    allowed = np.stack([turn.pop("allowed") for turn in turns])
    columns = {name: torch.stack([turn[name] for turn in turns]) for name in turns[0]}
    over = columns["terminated"] | columns["truncated"]
    following = torch.cat([columns["values"][1:].detach(), last[None]])
    next_values = torch.where(over, columns.pop("left"), following)
    columns.setdefault("next_known", columns["known"][:, :0])
    return Segment(obs, next_obs, allowed, next_values=next_values, **columns)


def windows(obs: Obs, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return an observation's items and rewards, each (B, K), as tensors."""
    items, rewards = (torch.from_numpy(obs[name]).to(device) for name in ("items", "rewards"))
    return items, rewards
