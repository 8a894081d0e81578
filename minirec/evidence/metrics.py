"""What is measured: length, reward per step, return, and the steps it took to get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minirec._io import FloatArray, IntArray

if TYPE_CHECKING:
    from minirec.world.batched import BatchedRecEnv
    from minirec.world.controls import Policy


@dataclass(frozen=True)
class Episodes:
    """One finished episode for each of B users, up to T recommendations long.

    Attributes:
        acts: Recommended items, shape (B, T), padded with -1 after the end.
        rewards: Their rewards in rating points, shape (B, T), padded with 0.
        reasons: Why each episode ended, shape (B,).
    """

    acts: IntArray
    rewards: FloatArray
    reasons: NDArray[np.str_]

    @property
    def returns(self) -> FloatArray:
        """Undiscounted returns in rating points, the terminal reward included, shape (B,)."""
        return np.asarray(self.rewards.sum(1, dtype=float))

    @property
    def lengths(self) -> IntArray:
        """Recommendations per episode, the terminal one included, shape (B,)."""
        return np.asarray((self.acts >= 0).sum(1))

    @property
    def distinct(self) -> int:
        """How many different items were recommended to anyone."""
        return len(np.unique(self.acts[self.acts >= 0]))

    @property
    def repeats(self) -> float:
        """Share of the recommendations that the same episode had seen before."""
        shown = self.acts >= 0
        fresh = sum(len(np.unique(row[there])) for row, there in zip(self.acts, shown, strict=True))
        return float(1 - fresh / shown.sum())

    @property
    def ends(self) -> dict[str, float]:
        """Share of the episodes that ended for each reason."""
        names, counts = np.unique(self.reasons, return_counts=True)
        return dict(zip(names.tolist(), (counts / len(self.reasons)).tolist(), strict=True))


def play(policy: Policy, env: BatchedRecEnv, users: IntArray) -> Episodes:
    """Play one episode with each of ``users`` (B,), all at once, until the last one ends.

    Args:
        policy: Sees the observation and the mask (B, N), chooses an item for every row; what it
            chooses for finished rows is not counted.
        env: Pays the rewards and decides who quits.
        users: User indices, shape (B,).
    """
    obs = env.reset(users)
    policy.start(obs, users)
    acts, rewards = [], []
    for _ in range(env.rules.max_turns):
        alive = env.alive
        chosen = policy.act(obs, env.action_mask)
        obs, paid, _, _ = env.step(chosen)
        acts.append(np.where(alive, chosen, -1))
        rewards.append(paid)
        if not env.alive.any():
            break
    return Episodes(np.stack(acts, 1), np.stack(rewards, 1), env.reasons)


def episode_metrics(returns: ArrayLike, lengths: ArrayLike) -> dict[str, float]:
    """Return Len, R_traj and R_each of B episodes.

    Args:
        returns: Undiscounted returns in rating points, shape (B,).
        lengths: Recommendations per episode, shape (B,).

    Returns:
        ``len`` in items, ``r_traj`` in rating points, and ``r_each``, the ratio of the two means
        (pooled over all steps, so that long episodes count for what they are).

    >>> episode_metrics([10.0, 2.0], [3, 1])
    {'len': 2.0, 'r_each': 3.0, 'r_traj': 6.0}
    """
    length, total = (float(np.asarray(values, float).mean()) for values in (lengths, returns))
    return {"len": length, "r_each": total / length, "r_traj": total}


def share(returns: ArrayLike, reference: ArrayLike) -> float:
    """Return the mean of ``returns`` (B,) as a share of the mean of ``reference`` (B,).

    A ratio of means, not a mean of ratios: users with tiny references would drown the rest.

    Raises:
        ValueError: If the reference has no positive mean.
    """
    part, whole = (float(np.asarray(values, float).mean()) for values in (returns, reference))
    if not whole > 0:
        raise ValueError(f"a share needs a reference with a positive mean, not {whole}")
    return part / whole


def steps_to_reach(steps: ArrayLike, values: ArrayLike, threshold: float) -> float | None:
    """Return the environment steps at which a curve first reaches ``threshold``.

    Args:
        steps: Environment steps of the C points, shape (C,), rising.
        values: The curve, shape (C,), in the unit of ``threshold``.
        threshold: What to reach.

    Returns:
        The first crossing, linear between points, or None if there is none.

    >>> steps_to_reach([0, 100, 200], [0.0, 0.4, 0.8], 0.5)
    125.0
    """
    x, y = np.asarray(steps, float), np.asarray(values, float)
    reached = np.flatnonzero(y >= threshold)
    if not len(reached):
        return None
    around = slice(max(0, reached[0] - 1), reached[0] + 1)
    return float(np.interp(threshold, y[around], x[around]))
