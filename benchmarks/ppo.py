"""Another library's agent in our environment: PPO of Stable-Baselines3 against uniform random.

    .venv-peers/sb3/bin/python benchmarks/ppo.py      # `make peers` makes that environment

Gymnasium's and Stable-Baselines3's checkers look at ``RecEnv`` under every preset of quit rules.
Then PPO plays 20,000 steps with the first 1,600 users of the small world, paid by the truth, and is
judged on the other 400, one episode each. It comes twice: with its own network, to which an item is
a number like any other; and with one that knows items by the vectors of a world model, fitted to
the 1,600 users' log. Neither knows of the action mask, so random is shown with and without it.

Both read flat observations: the library's policy for dictionaries keeps a module under each key,
and torch refuses ``items`` as the name of a module. The result is ``book/_results/ppo.json``.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import torch
from domains import Experiment
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation
from torch import Tensor, nn

from minirec import RULES, Histories, RecEnv, TruthSource, UserError, fit_deepfm, small_world
from minirec.world.deepfm import DeepFMSource

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env as check_sb3
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ImportError:
    sys.exit("ppo: stable_baselines3 is not installed here; see the first lines of this file")

TRAINED, STEPS, TINY_STEPS = 1600, 20_000, 256
SETTINGS = {"n_steps": 256, "learning_rate": 1e-3, "gamma": 0.95, "ent_coef": 0.02}
Choose = Callable[[Any, Any], int]
"""An observation and the action mask to an item."""


@cache
def item_vectors(tiny: bool) -> Tensor:
    """Return the vectors of a world model fitted to the training users' log, (N, d)."""
    world = small_world()
    log = world.log.subset(world.log.users < TRAINED)
    model = fit_deepfm(log, world.catalogue, seed=0, dim=16, epochs=2 if tiny else 30)
    return torch.from_numpy(DeepFMSource(model, log).item_vectors())


class Window(BaseFeaturesExtractor):
    """The mean vector of the last items, plain and weighted by how much they were liked."""

    def __init__(self, space: gymnasium.spaces.Box, vectors: Tensor, length: int) -> None:
        super().__init__(space, 2 * vectors.shape[1])
        self.length, self.padding = length, len(vectors)
        self.register_buffer("vectors", nn.functional.pad(vectors, (0, 0, 0, 1)))

    def forward(self, obs: Tensor) -> Tensor:
        """Return (B, 2 d) from flat observations: items, rewards, turn."""
        items, rewards = obs[:, : self.length].long(), obs[:, self.length : 2 * self.length]
        liked = torch.where(items < self.padding, rewards - 3, 0)
        shown = self.vectors[items]
        return torch.cat([shown.mean(1), (shown * liked[..., None]).mean(1)], 1)


class ItemHead(nn.Module):
    """Logits of all items from one vector: a wish, multiplied with every item's vector."""

    def __init__(self, width: int, vectors: Tensor) -> None:
        super().__init__()
        self.wish = nn.Linear(width, vectors.shape[1])
        nn.init.normal_(self.wish.weight, std=0.01)
        nn.init.zeros_(self.wish.bias)
        self.register_buffer("vectors", vectors / vectors.std(0).clamp(min=1e-3))

    def forward(self, latent: Tensor) -> Tensor:
        """Return logits (B, N) from (B, width)."""
        return self.wish(latent) @ self.vectors.T


class ItemPolicy(ActorCriticPolicy):
    """The library's actor-critic with a head that knows items by their vectors."""

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        vectors = self.features_extractor.vectors[:-1]
        self.action_net = ItemHead(self.mlp_extractor.latent_dim_pi, vectors)
        rate = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)


def environment(preset: str, users: Any) -> RecEnv:
    """Return the small world under one preset, with some of its users."""
    world = small_world()
    source, histories = TruthSource(world), Histories.from_log(world.log)
    return RecEnv(source, RULES[preset], histories, users=users)


def returns(choose: Choose, env: gymnasium.Env[Any, Any], users: Any) -> list[float]:
    """Play one episode with each user and return what it earned, in rating points."""
    earned = []
    for user in users:
        obs, info = env.reset(options={"user": int(user)})
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, info = env.step(choose(obs, info["action_mask"]))
            total, over = total + reward, terminated or truncated
        earned.append(total)
    return earned


def study(preset: str, seed: int, tiny: bool) -> dict[str, float]:
    """Train PPO twice and return the mean return of everybody."""
    users = np.arange(TRAINED, TRAINED + (20 if tiny else 400))
    env = FlattenObservation(environment(preset, np.arange(TRAINED)))
    knows = {
        "features_extractor_class": Window,
        "features_extractor_kwargs": {"vectors": item_vectors(tiny), "length": env.unwrapped.K},
    }
    agents = {
        "PPO, items as numbers": PPO("MlpPolicy", env, seed=seed, device="cpu", **SETTINGS),
        "PPO, items as vectors": PPO(
            ItemPolicy, env, seed=seed, device="cpu", policy_kwargs=knows, **SETTINGS
        ),
    }
    policies: dict[str, Choose] = {}
    for name, agent in agents.items():
        agent.learn(TINY_STEPS if tiny else STEPS)
        policies[name] = lambda obs, mask, agent=agent: int(agent.predict(obs)[0])
    rng = np.random.default_rng(seed)
    policies["uniform random"] = lambda obs, mask: int(rng.integers(len(mask)))
    policies["uniform random, masked"] = lambda obs, mask: int(rng.choice(np.flatnonzero(mask)))
    judged = FlattenObservation(environment(preset, users))
    return {name: float(np.mean(returns(act, judged, users))) for name, act in policies.items()}


def main() -> int:
    """Check the environment, train, judge."""
    torch.set_num_threads(1)
    experiment, rows = Experiment("ppo", __doc__.splitlines()[0], 5), []
    for preset in RULES:
        check_env(environment(preset, None), skip_render_check=True)
        check_sb3(environment(preset, None))
        found = [
            experiment.part(f"{preset} {s}", lambda p=preset, s=s: study(p, s, experiment.tiny))
            for s in experiment.seeds
        ]
        row = {name: [one[name] for one in found] for name in found[0]}
        rows.append({"preset": preset, "returns": row})
        print(preset, {name: round(float(np.mean(values)), 1) for name, values in row.items()})
    peer = {"stable_baselines3": importlib.metadata.version("stable_baselines3")}
    experiment.write({"steps": STEPS, "settings": SETTINGS, "peer": peer, "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error_:
        sys.exit(f"ppo: {error_}")
