"""One episode as data, with the field names of the ``imitation`` library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from minirec._io import FloatArray, IntArray, UserError, read_jsonl, write_jsonl

# what RecEnv writes into its infos; a trajectory keeps the first two for itself
OF_ENV = ("user", "reason", "action_mask")


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


def to_imitation(trajectory: Trajectory, space: spaces.Dict | None = None) -> Any:
    """Return an episode as the ``TrajectoryWithRew`` of the ``imitation`` library.

    Its infos get ``user`` and, in the last one, ``reason``, as those of ``RecEnv`` have them.

    Args:
        trajectory: The episode, of at least one step.
        space: ``RecEnv.observation_space``: observations become one array (T + 1, n) each, as
            Gymnasium's ``FlattenObservation`` makes them. None leaves them dictionaries, which most
            algorithms of the library do not take.

    Raises:
        UserError: If the library is missing, the episode is empty or does not fit the space.
    """
    try:
        from imitation.data.types import DictObs, TrajectoryWithRew
    except ImportError:
        raise UserError("the imitation library is missing; `pip install imitation`") from None
    if not len(trajectory):
        raise UserError(f"the episode of user {trajectory.user} has no step; leave it out")
    told: list[dict[str, Any]] = list(trajectory.infos) or [{}] * len(trajectory)
    infos = [info | {"user": trajectory.user} for info in told]
    infos[-1]["reason"] = trajectory.reason
    obs = DictObs(trajectory.obs) if space is None else _flat(trajectory.obs, space)
    end = {"infos": np.array(infos, object), "terminal": bool(trajectory.terminal)}
    return TrajectoryWithRew(obs=obs, acts=trajectory.acts, rews=trajectory.rews, **end)


def from_imitation(
    played: Any, space: spaces.Dict | None = None, *, user: int | None = None,
    reason: str | None = None,
) -> Trajectory:  # fmt: skip
    """Return a ``TrajectoryWithRew`` of the ``imitation`` library as an episode.

    What :func:`to_imitation` made of an episode comes back equal, in both forms. What the library's
    ``rollout`` plays in a ``RecEnv`` can be read too, if it was told ``exclude_infos=False``.

    Args:
        played: The trajectory.
        space: ``RecEnv.observation_space``, where observations are flat.
        user: Whose it is; None asks the infos.
        reason: Why it ended; None asks the infos.

    Raises:
        UserError: If the infos do not tell, or the space is missing.
    """
    infos = [] if played.infos is None else list(played.infos)
    told = {name: value for info in infos for name, value in info.items() if name in OF_ENV}
    told |= {k: v for k, v in (("user", user), ("reason", reason)) if v is not None}
    if missing := sorted({"user", "reason"} - told.keys()):
        raise UserError(f"the infos do not tell the {missing[0]}; pass {missing[0]}=...")
    rest = tuple({k: v for k, v in info.items() if k not in OF_ENV} for info in infos)
    if hasattr(played.obs, "unwrap"):
        obs = played.obs.unwrap()
    elif space is None:
        raise UserError("the observations are flat; pass space=env.observation_space")
    else:
        rows: list[Any] = [spaces.unflatten(space, row) for row in played.obs]
        obs = {name: np.stack([row[name] for row in rows]) for name in space}
    acts, rews = np.asarray(played.acts, np.int64), np.asarray(played.rews, np.float32)
    end = rest if any(rest) else (), bool(played.terminal), str(told["reason"])
    return Trajectory(int(told["user"]), obs, acts, rews, *end)


def _flat(obs: dict[str, Any], space: spaces.Dict) -> FloatArray:
    """Return observations as one array (T + 1, n)."""
    rows = [{name: value[t] for name, value in obs.items()} for t in range(len(obs["turn"]))]
    if wrong := [t for t, row in enumerate(rows) if not space.contains(row)]:
        raise UserError(f"turn {wrong[0]} is not in this space; take the played environment's")
    return np.stack([np.asarray(spaces.flatten(space, row)) for row in rows])
