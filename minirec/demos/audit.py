"""Audit (stand-in)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirec.demos.roles import ATTEMPTS
from minirec.world.trajectory import Trajectory


def audit(trajectories: Sequence[Trajectory], catalogue: Any = None, counts: Any = None) -> dict[str, Any]:
    """Summarise demonstrations: how long, how inventive, how often unreadable.

    Returns:
        ``episodes``, ``steps``, ``mean_length``, ``mean_return`` (rating points),
        ``invented_share`` (of the titles read, those not literally in the catalogue),
        ``grounding`` (steps by kind), ``blocked`` (titles of the catalogue that were barred),
        ``unreadable_replies``, ``invalid_episodes`` and ``repeats`` (steps that showed an item
        again).
    """
    infos = [info for trajectory in trajectories for info in trajectory.infos]
    invalid = sum(trajectory.reason == "invalid" for trajectory in trajectories)
    steps, episodes = len(infos), len(trajectories)
    return {
        "episodes": episodes, "steps": steps,
        "mean_length": steps / max(episodes, 1),
        "mean_return": sum(float(t.rews.sum()) for t in trajectories) / max(episodes, 1),
        "invented_share": sum(not info["literal"] for info in infos) / max(steps, 1),
        "grounding": dict(sorted(Counter(info["how"] for info in infos).items())),
        "blocked": sum(info["literal"] and info["how"] != "exact" for info in infos),
        "unreadable_replies": sum("rejected" in info for info in infos) + ATTEMPTS * invalid,
        "invalid_episodes": invalid,
        "repeats": sum(len(t.acts) - len(np.unique(t.acts)) for t in trajectories),
    }  # fmt: skip


