"""One user at a time: the environment as Gymnasium and a reader want it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from minirec._io import IntArray, UserError
from minirec.data.smallworld import small_world
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules
from minirec.world.sources import Distances, RewardSource, TruthSource


class RecEnv(gymnasium.Env[dict[str, Any], Any]):
    """Recommend items to one user until the user quits or the turns are used up.

    Written in plain Python, straight from the rules, so that it can be read and so that
    :class:`minirec.world.batched.BatchedRecEnv` has something to be equal to. Built in chapter 1.

    Observation (a dictionary): ``items`` (K,) and ``rewards`` (K,) of the last K items, padded on
    the left with ``n_items`` and 0; ``turn``, how many items were recommended. ``info`` holds
    ``user``, ``action_mask`` (N,) and, at the end, ``reason``.

    Stable-Baselines3 needs Gymnasium's ``FlattenObservation`` around it: its own policies for
    dictionaries cannot have a key called ``items``.

    Args:
        source: Pays the rewards; None takes the truth of the bundled small world.
        rules: When the user quits; None takes ``no_repeat``.
        histories: What is known of each user beforehand; None takes the small world's log.
        users: Which users an episode may draw, shape (U',); None takes all.
        K: History length.
        history: ``"log"`` starts with the user's last logged items, ``"none"`` with nothing.

    Raises:
        UserError: If only one of ``source`` and ``histories`` is given.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own name and type)

    def __init__(
        self, source: RewardSource | None = None, rules: QuitRules | None = None,
        histories: Histories | None = None, *, users: IntArray | None = None, K: int = 10,
        history: str = "log",
    ) -> None:  # fmt: skip
        if (source is None) != (histories is None):
            raise UserError("RecEnv needs source and histories together, or neither of them")
        if source is None or histories is None:
            world = small_world()
            source, histories = TruthSource(world), Histories.from_log(world.log)
        self.source, self.histories = source, histories
        self.rules = rules or RULES["no_repeat"]
        self.users = np.arange(source.n_users) if users is None else np.asarray(users)
        self.K, self.history, self.n_items = K, history, source.n_items
        self.distances = Distances(source) if self.rules.min_distance is not None else None
        self.action_space = spaces.Discrete(self.n_items)
        self.observation_space = spaces.Dict(
            items=spaces.Box(0, self.n_items, (K,), np.int64),
            rewards=spaces.Box(-np.inf, np.inf, (K,), np.float32),
            turn=spaces.Discrete(self.rules.max_turns + 1),
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode with ``options["user"]``, or with a user drawn from ``np_random``."""
        super().reset(seed=seed)
        drawn = self.users[self.np_random.integers(len(self.users))]
        self.user = int((options or {}).get("user", drawn))
        items, ratings = (column.tolist() for column in self.histories.of(self.user))
        self.seen = set(items)
        self.shown = list(zip(items, ratings, strict=True)) if self.history == "log" else []
        self.episode: list[int] = []
        return self._obs(), self._info()

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Recommend item ``action``; return Gymnasium's five values, the reward in rating points.

        Raises:
            UserError: If ``action`` is not an item of the catalogue.
        """
        item, rules = int(action), self.rules
        if not 0 <= item < self.n_items:
            raise UserError(f"action {item} is no item; the catalogue has 0 to {self.n_items - 1}")
        reward = float(self.source.rewards(np.array([self.user]), np.array([item]))[0])
        reason = self._why_quit(item, reward)
        reward = 0.0 if reason == "repeat" else reward
        self.episode.append(item)
        self.seen.add(item)
        quits = reason is not None
        hide = quits and rules.shown_quit_reward is not None
        self.shown.append((item, rules.shown_quit_reward if hide else reward))
        truncated = not quits and len(self.episode) >= rules.max_turns
        why = {"reason": reason or "max_turn"} if quits or truncated else {}
        return self._obs(), reward, quits, truncated, self._info() | why

    def _why_quit(self, item: int, reward: float) -> str | None:
        """Return the reason why the user quits at this recommendation, or None."""
        rules = self.rules
        if rules.repeats == "masked" and item in self.seen:
            return "repeat"
        if reward < rules.min_reward and (self.episode or rules.quit_at_first):
            return "low_reward"
        if self.distances is not None and rules.min_distance is not None and rules.window:
            recent = np.array(self.episode[-rules.window :], np.int64)
            if (self.distances.between(np.array(item), recent) < rules.min_distance).any():
                return "distance"
        return None

    def _obs(self) -> dict[str, Any]:
        padded = [(self.n_items, 0.0)] * self.K + self.shown
        items, rewards = zip(*padded[-self.K :], strict=True)
        obs = {"items": np.array(items, np.int64), "rewards": np.array(rewards, np.float32)}
        return obs | {"turn": len(self.episode)}

    def _info(self) -> dict[str, Any]:
        mask = np.ones(self.n_items, bool)
        if self.rules.repeats == "masked":
            mask[list(self.seen)] = False
        return {"user": self.user, "action_mask": mask}


if "minirec/RecEnv-v0" not in gymnasium.registry:  # unless this module is loaded again
    gymnasium.register("minirec/RecEnv-v0", entry_point="minirec.world.env:RecEnv")
