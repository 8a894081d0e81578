"""Learn from demonstrations: as tensors, and imitated with a weight for each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minirec.irl.rewards import Transitions
from minirec.rl.policy import RecPolicy
from minirec.world.histories import Histories
from minirec.world.trajectory import Trajectory


@dataclass(frozen=True)
class Demonstrations:
    """D demonstrations of at most T steps, padded at the end.

    Attributes:
        start_items: First windows, shape (D, K); ``start_rewards`` alike, in rating points.
        start_rewards: See above.
        acts: Items, shape (D, T), 0 where padded.
        rewards: In rating points, shape (D, T).
        valid: Which steps exist, shape (D, T).
        terminated: Whether the user quit at a step, shape (D, T).
        unseen: Which items the visible log leaves free, shape (D, N); None if repeats are allowed.
    """

    start_items: Tensor
    start_rewards: Tensor
    acts: Tensor
    rewards: Tensor
    valid: Tensor
    terminated: Tensor
    unseen: Tensor | None

    @classmethod
    def pack(
        cls, trajectories: Sequence[Trajectory], histories: Histories | None,
        device: torch.device | str = "cpu",
    ) -> Demonstrations:  # fmt: skip
        """Pad trajectories; pass ``histories`` where the rules mask repeats, else None."""
        trajectories = [trajectory for trajectory in trajectories if len(trajectory)]

        def pad(name: str, dtype: torch.dtype) -> Tensor:
            rows = [torch.tensor(getattr(t, name), dtype=dtype) for t in trajectories]
            return pad_sequence(rows, batch_first=True).to(device)

        lengths = torch.tensor([[len(trajectory)] for trajectory in trajectories], device=device)
        steps = torch.arange(int(lengths.max()), device=device)
        ends = torch.tensor([[trajectory.terminal] for trajectory in trajectories], device=device)
        users = np.array([trajectory.user for trajectory in trajectories])
        first = [trajectory.obs for trajectory in trajectories]
        start = np.stack([obs["rewards"][0] for obs in first]).astype(np.float32)
        return cls(
            torch.tensor(np.stack([obs["items"][0] for obs in first]), device=device),
            torch.tensor(start, device=device), pad("acts", torch.int64),
            pad("rews", torch.float32), steps < lengths, (steps == lengths - 1) & ends,
            None if histories is None else torch.from_numpy(histories.unseen(users)).to(device),
        )  # fmt: skip

    def take(self, rows: Tensor) -> Demonstrations:
        """Return the chosen demonstrations (D',), cut to the longest of them."""
        longest = int(self.valid[rows].sum(1).max())
        unseen = None if self.unseen is None else self.unseen[rows]
        start = self.start_items[rows], self.start_rewards[rows]
        names = "acts", "rewards", "valid", "terminated"
        steps = {name: getattr(self, name)[rows, :longest] for name in names}
        return Demonstrations(*start, **steps, unseen=unseen)

    def shuffled(self, generator: torch.Generator) -> Demonstrations:
        """Return the control: the same items, dealt to the steps at random."""
        where = self.valid.nonzero(as_tuple=True)
        order = torch.randperm(len(where[0]), generator=generator).to(self.acts.device)
        acts = self.acts.clone()
        acts[where] = self.acts[where][order]
        return replace(self, acts=acts)

    def transitions(self, log_probs: Tensor) -> Transitions:
        """Return the M valid steps as transitions; ``log_probs`` has shape (D, T)."""
        length, valid = self.start_items.shape[1], self.valid
        turns = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        items = torch.cat([self.start_items, self.acts], 1).unfold(1, length, 1)
        rewards = torch.cat([self.start_rewards, self.rewards], 1).unfold(1, length, 1)
        return Transitions(
            items[:, :-1][valid], rewards[:, :-1][valid], self.acts[valid],
            items[:, 1:][valid], rewards[:, 1:][valid], self.terminated[valid], log_probs[valid],
            turns[valid],
        )  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """What the present policy makes of the demonstrations; every tensor has shape (D, T)."""

    log_probs: Tensor
    values: Tensor
    next_values: Tensor
    known: Tensor  # (D, T, f + 2), what the reward head sees


def replay(policy: RecPolicy, demos: Demonstrations) -> Replay:
    """Read the demonstrations with the policy's tracker and score their actions."""
    table = policy.table()
    state = policy.start(table, demos.start_items, demos.start_rewards)
    free = torch.ones(len(state), policy.n_items, dtype=torch.bool, device=state.device)
    free = free if demos.unseen is None else demos.unseen.clone()
    steps = []
    for t in range(demos.acts.shape[1]):
        act = demos.acts[:, t : t + 1]
        free = free.scatter(1, act, True)  # a shuffled item may have been shown before
        logits, value, known = policy.act(table, state, free)
        steps.append((logits.log_softmax(1).gather(1, act).squeeze(1), value, known))
        if demos.unseen is not None:
            free = free.scatter(1, act, False)
        state = policy.step(table, state, act.squeeze(1), demos.rewards[:, t])
    log_probs, values, known = (torch.stack(parts, 1) for parts in zip(*steps, strict=True))
    following = torch.cat([values[:, 1:], policy.value(state)[:, None]], 1).detach()
    return Replay(log_probs, values, following, known)


def imitation_loss(replayed: Replay, demos: Demonstrations, weights: Tensor) -> Tensor:
    """Return the weighted negative log-likelihood of the demonstrated steps (a scalar).

    Args:
        replayed: From :func:`replay`.
        demos: The same demonstrations.
        weights: One weight a step, shape (D, T); padded steps do not count.

    Source:
        IL-Rec (arXiv 2510.13229), weighted imitation. Built in chapter 12.
    """
    return -(weights * replayed.log_probs)[demos.valid].mean()
