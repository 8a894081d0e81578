"""The exploitation gap against the size of the log, with and without an ensemble's penalty.

    python benchmarks/log_size.py          # needs no data

In the small world a policy is optimised in a world model that was fitted to the rows of 100 to
1,600 users; unseen users then judge it, paid once by the truth and once by the world model. What it
returns in the world model beyond what it returns in the truth is the gap. Three actor-critics
differ in what pays them: one world model; the mean of four; their mean less one standard deviation.
The result is ``book/_results/log-size.json``: returns in rating points.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of

from minirec import pipeline
from minirec._io import UserError, generator, progress
from minirec.evidence.evaluate import Judge
from minirec.evidence.metrics import play
from minirec.problem import Setup, prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.learner import train
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import Greedy, Policy, Popularity, UniformRandom
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.ensemble import EnsembleSource
from minirec.world.sources import TruthSource

USERS = 100, 200, 400, 800, 1600
MEMBERS = 4
ARMS = {
    "A2C without demonstrations": None, "A2C, ensemble mean": 0.0,
    "A2C, ensemble with penalty": 1.0,
}  # fmt: skip
"""Name -> penalty of the ensemble that pays, in standard deviations; None: one world model pays."""


@dataclass(frozen=True)
class Careful(Setup):
    """A setup whose training environment is paid by an ensemble."""

    members: tuple[DeepFM, ...] = ()
    penalty: float = 0.0

    def training_env(self, model: DeepFM) -> BatchedRecEnv:
        """Return the environment that the learner plays."""
        fits = [
            DeepFMSource(member, self.split.train, noise_seed=self.seed) for member in self.members
        ]
        source = EnsembleSource(fits, self.penalty)
        return self.env(source, self.split.train_users, "threshold")


def shortened(setup: Setup, n_users: int) -> Setup:
    """Return a setup that trains on the rows of ``n_users`` of its training users only."""
    split = setup.split
    users = np.sort(generator(setup.seed, "log size").permutation(split.train_users)[:n_users])
    rows = split.train.subset(np.isin(split.train.users, users))
    return replace(setup, split=replace(split, train=rows, train_users=users))


def returns(policy: Policy, judge: Judge) -> dict[str, float]:
    """Return what the truth and the world model pay to a policy for the same users."""
    who = {"truth": judge.env, "believed": judge.model_env}
    return {name: float(play(policy, env, judge.users).returns.mean()) for name, env in who.items()}


def study(n_users: int, seed: int, experiment: Experiment) -> dict[str, Any]:
    """Fit the world models to a log of one size and judge all policies."""
    config = settings_of(SMALL, experiment.tables)
    setup = shortened(prepare(problem_of(SMALL), config, seed), n_users)
    split, catalogue, world = setup.split, setup.problem.catalogue, config.world
    seeds = [seed, *(int(setup.rng(f"member {k}").integers(2**31)) for k in range(1, MEMBERS))]
    members = tuple(
        fit_deepfm(
            split.train, catalogue, seed=one, dim=world.dim, hidden=world.hidden,
            epochs=world.epochs,
        )
        for one in seeds
    )  # fmt: skip
    payer = TruthSource(setup.problem.truth)
    judge = pipeline.judge_of(setup, members[0], payer, config.evaluation.users)
    counts = np.bincount(split.train.items, minlength=catalogue.n_items)
    untrained = (
        UniformRandom(setup.rng("uniform random")), Popularity(counts),
        Greedy(DeepFMSource(members[0], split.visible)),
    )  # fmt: skip
    found = {policy.name: returns(policy, judge) for policy in untrained}
    for name, penalty in ARMS.items():
        where = setup
        if penalty is not None:
            where = Careful(**vars(setup), members=members, penalty=penalty)
        learner = pipeline.make_learner(
            pipeline.Arm("A2C without demonstrations", where, members[0], None, judge, "cpu")
        )
        with progress(config.learner.steps, name) as advance:
            train(learner, config.learner.steps, advance)
        found[name] = returns(PolicyAgent(learner.policy, name), judge)
    error = members[0].errors[0].item()
    return {
        "rows": len(split.train.items), "error": error, "oracle": float(judge.oracle.mean()),
        "arms": found,
    }  # fmt: skip


def main() -> int:
    """Fill the table, part by part."""
    torch.set_num_threads(1)
    experiment = Experiment("log_size", __doc__.splitlines()[0], 5)
    sizes = USERS[-2:] if experiment.tiny else USERS
    parts = [
        [
            experiment.part(f"{n}-{seed}", lambda n=n, s=seed: study(n, s, experiment))
            for seed in experiment.seeds
        ]
        for n in sizes
    ]
    arms = {
        name: {
            who: [[found["arms"][name][who] for found in of_size] for of_size in parts]
            for who in ("believed", "truth")
        }
        for name in parts[0][0]["arms"]
    }
    each = {
        name: [[found[key] for found in of_size] for of_size in parts]
        for name, key in (("errors", "error"), ("oracle", "oracle"))
    }
    rows = [float(np.mean([found["rows"] for found in of_size])) for of_size in parts]
    experiment.write({"sizes": sizes, "rows": rows, "members": MEMBERS, "arms": arms, **each})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error_:
        sys.exit(f"log_size: {error_}")
