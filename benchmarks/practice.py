"""What practice in a poor simulator does to a policy, and which part of the policy it does it to.

    python benchmarks/practice.py          # needs no data

``minirec`` without demonstrations starts from its world model's regression. Two parts of it could
learn on from the simulator: the reward head and the actor. Here either, both or none do, in world
models fitted to the rows of 50, 200 and 1,600 users of the small world. A simulator pays each pair
of user and item its prediction and an error that is always the same. So both parts learn in a
second simulator, too, which draws errors of that size anew at every step: there is nothing in them
to fit. In the thin logs both learn in a third one besides, with the same model and the same rules,
in which all 1,600 users play, known to the model by their rows. The truth judges all at the start
and after 3,000, 10,000 and 30,000 environment steps, 5 seeds. The result is
``book/_results/practice.json``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch
from domains import Experiment
from thin_logs import JUDGED_AT, TINY_AT, Study

from minirec import UserError
from minirec._io import FloatArray, IntArray
from minirec.problem import Setup, prepare
from minirec.rl import arms
from minirec.rl.agents import A2C
from minirec.world.batched import BatchedRecEnv
from minirec.world.deepfm import DeepFM, DeepFMSource

USERS = (50, 200, 1600)
STILL = {
    "both learn": {"memory_steps": 8}, "the head alone": {"memory_steps": 8, "actor_rate": 0.0},
    "the actor alone": {"memory_steps": 0}, "none": {"memory_steps": 0, "actor_rate": 0.0},
}  # fmt: skip
"""Name -> settings that differ from minirec's."""
ANEW, CROWD = "both learn, errors anew", "both learn, with everybody"


class AnewSource(DeepFMSource):
    """A world model whose error is another at every step, and as large."""

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return what pairs are paid, users (B,) and items (B,): float32 (B,) in 1..5."""
        assert self.noise_seed is not None
        self.noise_seed += 1
        return super().rewards(users, items)


class Anew(Setup):
    """A setup whose training environment draws its errors anew."""

    def training_env(self, model: DeepFM) -> BatchedRecEnv:
        """Return the environment with the rules of the other one."""
        env = super().training_env(model)
        env.source = AnewSource(model, self.split.train, noise_seed=self.seed)
        return env


def crowded(few: Setup) -> Setup:
    """Return a setup in which all training users play, in a world model fitted to a few."""
    whole = prepare(few.problem, few.config, few.seed).split

    class Crowd(Setup):
        def training_env(self, model: DeepFM) -> BatchedRecEnv:
            env = few.training_env(model)
            env.source = DeepFMSource(model, whole.train, noise_seed=self.seed)
            return env

    return Crowd(**vars(replace(few, split=replace(few.split, train_users=whole.train_users))))


def study(n_users: int, seed: int, experiment: Experiment) -> dict[str, Any]:
    """Train all of them in one world model."""
    of_log, found = Study(n_users, seed, experiment), dict[str, Any]()
    for name, settings in STILL.items():
        arms.ARMS[name] = arms.ArmSpec(A2C, arms.MINIREC | settings)
        found[name] = of_log.trained(name, of_log.model, None, (0, *of_log.goals))[1]
    of_log.setup = Anew(**vars(of_log.setup))
    arms.ARMS[ANEW] = arms.ARMS["both learn"]
    found[ANEW] = of_log.trained(ANEW, of_log.model, None, (0, *of_log.goals))[1]
    return found


def crowd(n_users: int, seed: int, experiment: Experiment) -> list[dict[str, Any]]:
    """Let both learn where everybody plays."""
    of_log = Study(n_users, seed, experiment)
    of_log.setup = crowded(of_log.setup)
    arms.ARMS[CROWD] = arms.ArmSpec(A2C, arms.MINIREC | STILL["both learn"])
    return of_log.trained(CROWD, of_log.model, None, (0, *of_log.goals))[1]


def main() -> int:
    """Fill the table, part by part."""
    torch.set_num_threads(1)
    experiment = Experiment("practice", __doc__.splitlines()[0], 5)
    sizes = USERS[-1:] if experiment.tiny else USERS

    def parts(name: str, work: Any, n: int) -> list[Any]:
        return [
            experiment.part(f"{name}{n}-{seed}", lambda s=seed: work(n, s, experiment))
            for seed in experiment.seeds
        ]

    found = [parts("", study, n) for n in sizes]
    for n, seeds in zip(sizes, found, strict=True):
        if n < USERS[-1] or experiment.tiny:
            for seed, points in zip(seeds, parts("crowd-", crowd, n), strict=True):
                seed[CROWD] = points
    goals = (0, *(TINY_AT if experiment.tiny else JUDGED_AT))
    experiment.write({"users": sizes, "judged_at": goals, "found": found})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"practice: {error}")
