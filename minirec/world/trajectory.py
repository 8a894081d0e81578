"""One episode as data, with the field names of the ``imitation`` library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minirec._io import FloatArray, IntArray, read_jsonl, write_jsonl


@dataclass(frozen=True)
class Trajectory:
    """One finished episode of T recommendations.

    Attributes:
        user: The user's index in the log.
        obs: ``items`` (T+1, K) with padding, ``rewards`` (T+1, K) in rating points, and ``turn``
            (T+1,): what was known before each recommendation and after the last.
        acts: Recommended items, shape (T,).
        rews: Their rewards in rating points, shape (T,), the terminal one included.
        infos: One dictionary a step (what the demonstrator said, how it was grounded), or empty.
        terminal: Whether the user quit (True) or the episode was cut (False).
        reason: Why it ended: one of ``minirec.world.rules.REASONS`` or ``invalid``.

    Raises:
        ValueError: If there is not exactly one observation more than there are actions.
    """

    user: int
    obs: dict[str, Any]
    acts: IntArray
    rews: FloatArray
    infos: tuple[dict[str, Any], ...]
    terminal: bool
    reason: str

    def __post_init__(self) -> None:
        found, needed = len(self.obs["items"]), len(self.acts) + 1
        if found != needed:
            raise ValueError(f"{needed - 1} actions need {needed} observations, not {found}")

    def __len__(self) -> int:
        """Return the number of recommendations, the terminal one included."""
        return len(self.acts)

    def to_json(self) -> dict[str, Any]:
        """Return the episode as plain values; only the first observation window is stored."""
        items, rewards = self.obs["items"][0], _rounded(self.obs["rewards"][0])
        start = {"start_items": items, "start_rewards": rewards}
        played = {"acts": self.acts, "rews": _rounded(self.rews), "infos": list(self.infos)}
        end = {"terminal": bool(self.terminal), "reason": self.reason}
        return {"user": int(self.user), **start, **played, **end}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Trajectory:
        """Rebuild an episode from :meth:`to_json`: each window is the last one, shifted by one."""
        acts, rews = np.array(row["acts"], np.int64), np.array(row["rews"], np.float32)
        items = np.concatenate([np.array(row["start_items"], np.int64), acts])
        rewards = np.concatenate([np.array(row["start_rewards"], np.float32), rews])
        turn = np.arange(len(acts) + 1)
        window = turn[:, None] + np.arange(len(row["start_items"]))
        obs = {"items": items[window], "rewards": rewards[window], "turn": turn}
        rest = tuple(row["infos"]), row["terminal"], row["reason"]
        return cls(row["user"], obs, acts, rews, *rest)


def _rounded(rewards: FloatArray) -> list[float]:
    """Return rewards as plain numbers with four decimals."""
    return [round(float(reward), 4) for reward in rewards]


def save_trajectories(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories as JSON lines, atomically."""
    write_jsonl(path, (trajectory.to_json() for trajectory in trajectories))


def load_trajectories(path: str | Path) -> list[Trajectory]:
    """Read what :func:`save_trajectories` wrote."""
    return [Trajectory.from_json(row) for row in read_jsonl(path)]
