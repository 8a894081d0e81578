"""Our environment as Stable-Baselines3 wants it: one user at a time, or all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.wrappers import FlattenObservation
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from minirec.world.batched import BatchedRecEnv, Obs
from minirec.world.env import RecEnv


def flat(obs: Obs, turns: int) -> Any:
    """Return B observations as ``FlattenObservation`` does: items, rewards, turn as one-hot."""
    turn = obs["turn"][:, None] == np.arange(turns + 1)
    return np.concatenate([obs["items"], obs["rewards"], turn], 1)


def one(env: BatchedRecEnv, users: Any) -> FlattenObservation:
    """Return the environment for one of ``users`` at a time."""
    world = env.source, env.rules, env.histories
    return FlattenObservation(RecEnv(*world, users=users, K=env.K, history=env.history))


class Batched(VecEnv):
    """``BatchedRecEnv`` as Stable-Baselines3 wants it.

    Args:
        env: The environment.
        users: Users to draw from, shape (U',).
        size: How many of them play at once.
    """

    def __init__(self, env: BatchedRecEnv, users: Any, size: int) -> None:
        self.env, self.users, self.rng = env, users, np.random.default_rng()
        single = one(env, users)
        super().__init__(size, single.observation_space, single.action_space)

    def seed(self, seed: int | None = None) -> list[None]:
        """Draw the users anew."""
        self.rng = np.random.default_rng(seed)
        return [None] * self.num_envs

    def reset(self) -> Any:
        """Start with fresh users."""
        users = self.rng.choice(self.users, self.num_envs)
        return flat(self.env.reset(users), self.env.rules.max_turns)

    def step_async(self, actions: Any) -> None:
        """Remember what to recommend."""
        self.acts = actions

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Recommend it; whoever has left is replaced at once."""
        turns = self.env.rules.max_turns
        obs, paid, terminated, truncated = self.env.step(self.acts)
        done, seen = terminated | truncated, flat(obs, turns)
        infos: list[dict[str, Any]] = [{} for _ in done]
        if done.any():
            last = seen
            for row in np.flatnonzero(done):
                cut = {"TimeLimit.truncated": bool(truncated[row])}
                infos[row] = {"terminal_observation": last[row]} | cut
            seen = flat(self.env.restart(done, self.rng.choice(self.users, done.sum())), turns)
        return seen, paid, done, infos

    def close(self) -> None:
        """Nothing to close."""

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that nobody is wrapped."""
        return [False] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environment, once a user."""
        return [getattr(self.env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: rows have no attributes of their own."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Refuse: rows have no methods of their own."""
        raise NotImplementedError


def vectorised(env: BatchedRecEnv, users: Any, size: int, batched: bool) -> VecEnv:
    """Return ``size`` users at once: our way, or as the library's examples do it."""
    if batched:
        return Batched(env, users, size)
    return DummyVecEnv([lambda: one(env, users)] * size)
