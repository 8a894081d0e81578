"""What can be had without learning from rewards: every domain, every preset of quit rules.

    python benchmarks/controls.py                                    # needs MINIREC_DATA; hours
    python benchmarks/controls.py --only "small world" --out here    # needs no data

Everything but one row needs no training at all. ``constant reward`` is the actor-critic that is
paid +1 for each turn and never sees a rating. The result is ``book/_results/controls.json``.
"""

from __future__ import annotations

import sys
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from domains import DOMAINS, Experiment, problem_of, settings_of

from minirec import pipeline
from minirec._io import BoolArray, IntArray, UserError, progress
from minirec.evidence.evaluate import Judge, controls
from minirec.problem import Setup, prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import A2C, train
from minirec.world.batched import BatchedRecEnv, Obs
from minirec.world.controls import Near, without_recent
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.rules import RULES
from minirec.world.sources import RewardSource

STEPS = 100_000  # of the control that is paid for mere survival


@cache
def fitted(domain: str, seed: int, tiny: bool) -> tuple[DeepFM, RewardSource]:
    """Fit the world model and who pays the scores, once for all presets."""
    setup = prepare(problem_of(domain), settings_of(domain, {}), seed)
    epochs = 2 if tiny else setup.config.world.epochs
    catalogue, dim = setup.problem.catalogue, setup.config.world.dim
    model = fit_deepfm(setup.split.train, catalogue, seed=seed, dim=dim, epochs=epochs)
    return model, pipeline.fit_payer(setup)


class BlockListEnv(BatchedRecEnv):
    """An environment whose mask leaves out what the quit window does not allow."""

    @cached_property
    def near(self) -> Near | None:
        """What there is to know of the distances."""
        return Near.of(self)

    @property
    def action_mask(self) -> BoolArray:
        """Which items may be recommended, (B, N)."""
        return without_recent(super().action_mask, self._obs(), self.rules.window, self.near)


class Careful(Setup):
    """A setup whose training environment has a block list."""

    def training_env(self, model: DeepFM) -> BatchedRecEnv:
        """Return the environment that the learner plays."""
        env = super().training_env(model)
        return BlockListEnv(env.source, env.rules, self.start, K=env.K, history=env.history)


class CarefulAgent(PolicyAgent):
    """A policy that keeps to the block list it was trained with, wherever it plays."""

    def __init__(self, learner: A2C, name: str) -> None:
        super().__init__(learner.policy, name)
        env = learner.collector.env
        self.window, self.near = env.rules.window, Near.of(env)

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Return one item a row, (B,)."""
        return super().act(obs, without_recent(mask, obs, self.window, self.near))


def survive(setup: Setup, model: DeepFM, judge: Judge, steps: int) -> dict[str, Any]:
    """Train on +1 for each turn and judge the result; it has a block list, as all controls have."""
    careful = Careful(**vars(setup))
    learner = pipeline.make_learner(
        pipeline.Arm("constant reward", careful, model, None, judge, "cpu")
    )
    with progress(steps, "constant reward") as advance:
        train(learner, steps, advance)
    return judge.score(CarefulAgent(learner, "constant reward"))


def rows(domain: str, preset: str, seed: int, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return the numbers of every method, by name."""
    model, payer = fitted(domain, seed, experiment.tiny)
    config = settings_of(domain, experiment.tables | {"rules": {"preset": preset}})
    setup = prepare(problem_of(domain), config, seed)
    judge = pipeline.judge_of(setup, model, payer, config.evaluation.users)
    visible, env = DeepFMSource(model, setup.split.visible), setup.training_env(model)
    users, train_log = setup.split.train_users, setup.split.train
    found = {name: row for name, _, row in controls(judge, train_log, visible, env, users, seed)}
    found["constant reward"] = survive(setup, model, judge, 1_000 if experiment.tiny else STEPS)
    upper, best = float(np.mean(judge.upper)), found["feasible oracle"]["r_traj"]
    bound = {"r_traj": upper, "share_oracle": upper / best, "share_upper": 1.0}
    return found | {"upper bound": bound}


def main() -> int:
    """Fill the table, part by part."""
    torch.set_num_threads(1)
    experiment, table = Experiment("controls", __doc__.splitlines()[0], 3, [*DOMAINS]), []
    for domain in experiment.domains:
        for preset in RULES:
            by_seed = [
                experiment.part(
                    f"{domain} {preset} {seed}",
                    lambda d=domain, p=preset, s=seed: rows(d, p, s, experiment),
                )
                for seed in experiment.seeds
            ]
            methods = {
                name: {key: [found[name][key] for found in by_seed] for key in by_seed[0][name]}
                for name in by_seed[0]
            }
            table.append({"domain": domain, "preset": preset, "methods": methods})
    experiment.write({"steps": STEPS, "rows": table})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"controls: {error}")
