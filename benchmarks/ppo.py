"""Another library's agent in our environment: PPO of Stable-Baselines3 against uniform random.

    .venv-peers/sb3/bin/python benchmarks/ppo.py      # `make peers` makes that environment

Gymnasium's and Stable-Baselines3's checkers look at ``RecEnv`` under every preset of quit rules.
Then PPO, as it comes, plays 20,000 steps with the first 1,600 users of the small world, paid by the
truth. It is judged on the other 400, one episode each, beside uniform random. PPO knows nothing of
the action mask, so random is shown with and without it. The result is ``book/_results/ppo.json``.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from domains import Experiment
from gymnasium.utils.env_checker import check_env

from minirec import RULES, Histories, RecEnv, TruthSource, UserError, small_world

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env as check_sb3
except ImportError:
    PPO = None

TRAINED, STEPS, TINY_STEPS = 1600, 20_000, 256
Choose = Callable[[dict[str, Any], Any], int]
"""An observation and the action mask to an item."""


def environment(preset: str, users: Any) -> RecEnv:
    """Return the small world under one preset, with some of its users."""
    world = small_world()
    source, histories = TruthSource(world), Histories.from_log(world.log)
    return RecEnv(source, RULES[preset], histories, users=users)


def returns(choose: Choose, env: RecEnv, users: Any) -> list[float]:
    """Play one episode with each user and return what it earned, in rating points."""
    earned = []
    for user in users:
        obs, info = env.reset(seed=int(user), options={"user": int(user)})
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, info = env.step(choose(obs, info["action_mask"]))
            total, over = total + reward, terminated or truncated
        earned.append(total)
    return earned


def study(preset: str, seed: int, tiny: bool) -> dict[str, float]:
    """Train PPO once and return the mean return of everybody."""
    users = np.arange(TRAINED, TRAINED + (20 if tiny else 400))
    env = environment(preset, np.arange(TRAINED))
    steps = {"n_steps": TINY_STEPS, "batch_size": 64} if tiny else {}
    agent = PPO("MultiInputPolicy", env, seed=seed, device="cpu", **steps)
    agent.learn(TINY_STEPS if tiny else STEPS)
    torch.manual_seed(seed)  # PPO draws its actions from torch's own generator
    rng = np.random.default_rng(seed)
    policies: dict[str, Choose] = {
        "PPO": lambda obs, mask: int(agent.predict(obs)[0]),
        "uniform random": lambda obs, mask: int(rng.integers(len(mask))),
        "uniform random, masked": lambda obs, mask: int(rng.choice(np.flatnonzero(mask))),
    }
    judged = environment(preset, users)
    return {name: float(np.mean(returns(act, judged, users))) for name, act in policies.items()}


def main() -> int:
    """Check the environment, train, judge."""
    torch.set_num_threads(1)
    experiment, rows = Experiment("ppo", __doc__.splitlines()[0], 5), []
    for preset in RULES:
        check_env(environment(preset, None), skip_render_check=True)
    if PPO is None:
        raise UserError("stable_baselines3 is not installed; see the first lines of this file")
    for preset in RULES:
        check_sb3(environment(preset, None))
        found = [
            experiment.part(f"{preset} {s}", lambda p=preset, s=s: study(p, s, experiment.tiny))
            for s in experiment.seeds
        ]
        row = {name: [one[name] for one in found] for name in found[0]}
        rows.append({"preset": preset, "returns": row})
        print(preset, {name: round(float(np.mean(values)), 1) for name, values in row.items()})
    peer = {"stable_baselines3": importlib.metadata.version("stable_baselines3")}
    experiment.write({"steps": STEPS, "peer": peer, "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error_:
        sys.exit(f"ppo: {error_}")
