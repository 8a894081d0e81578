"""What a policy believes and what it gets, against the size of the log, with and without a penalty.

    python benchmarks/log_size.py          # needs no data

In a small world with 4,000 users a policy is optimised in a world model that was fitted to the rows
of 100 to 1,600 of them. Unseen users then judge it, paid by four: the *truth*; its *own* simulator;
a *twin*, the simulator made of as many other users; and *plain*, the own model without the
simulator's noise and with the truth's quit threshold. Three actor-critics differ in what pays them:
one world model; the mean of four; their mean less one standard deviation. The result is
``book/_results/log-size.json``: returns in rating points.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, settings_of

from minirec import pipeline
from minirec._io import IntArray, UserError, progress
from minirec.data.smallworld import small_world
from minirec.evidence.evaluate import Judge
from minirec.evidence.metrics import play
from minirec.problem import Problem, Setup, prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import train
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import Greedy, Policy, Popularity, UniformRandom
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.ensemble import EnsembleSource
from minirec.world.sources import TruthSource

ALL_USERS, USERS = 4000, (100, 200, 400, 800, 1600)
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


@cache
def problem() -> Problem:
    """Return the small world with twice its users."""
    world = small_world(0, n_users=ALL_USERS)
    return Problem(SMALL, world.catalogue, world.log, {"rows": len(world.log.items)}, world)


def shortened(setup: Setup, users: IntArray) -> Setup:
    """Return a setup that trains on the rows of these of its training users only."""
    users, train_log = np.sort(users), setup.split.train
    rows = train_log.subset(np.isin(train_log.users, users))
    return replace(setup, split=replace(setup.split, train=rows, train_users=users))


def fit(setup: Setup, seed: int) -> DeepFM:
    """Fit a world model to the training rows."""
    world, catalogue = setup.config.world, setup.problem.catalogue
    size = {"dim": world.dim, "hidden": world.hidden, "epochs": world.epochs}
    return fit_deepfm(setup.split.train, catalogue, seed=seed, **size)


def payers(setup: Setup, own: DeepFM, twin: DeepFM, judge: Judge) -> dict[str, BatchedRecEnv]:
    """Return who pays the scores of the test users."""
    plain = DeepFMSource(own, setup.split.visible)
    env = judge.env
    return {
        "truth": env, "own": judge.model_env,
        "twin": setup.model_env(twin, setup.split.visible, setup.split.test_users),
        "plain": BatchedRecEnv(plain, env.rules, setup.start, K=env.K, history=env.history),
    }  # fmt: skip


def study(n_users: int, seed: int, experiment: Experiment) -> dict[str, Any]:
    """Fit the world models to a log of one size and judge all policies."""
    config = settings_of(SMALL, experiment.tables)
    whole = prepare(problem(), config, seed)
    users = whole.rng("log size").permutation(whole.split.train_users)
    setup = shortened(whole, users[:n_users])
    split, catalogue = setup.split, setup.problem.catalogue
    seeds = [seed, *(int(setup.rng(f"member {k}").integers(2**31)) for k in range(1, MEMBERS))]
    members = tuple(fit(setup, one) for one in seeds)
    twin = fit(shortened(whole, users[n_users : 2 * n_users]), seed)
    payer = TruthSource(setup.problem.truth)
    judge = pipeline.judge_of(setup, members[0], payer, config.evaluation.users)
    paid_by = payers(setup, members[0], twin, judge)

    def returns(policy: Policy) -> dict[str, float]:
        played = {name: play(policy, env, judge.users) for name, env in paid_by.items()}
        return {name: float(episodes.returns.mean()) for name, episodes in played.items()}

    counts = np.bincount(split.train.items, minlength=catalogue.n_items)
    untrained = (
        UniformRandom(setup.rng("uniform random")), Popularity(counts),
        Greedy(DeepFMSource(members[0], split.visible)),
    )  # fmt: skip
    found = {policy.name: returns(policy) for policy in untrained}
    for name, penalty in ARMS.items():
        where = setup
        if penalty is not None:
            where = Careful(**vars(setup), members=members, penalty=penalty)
        learner = pipeline.make_learner(
            pipeline.Arm("A2C without demonstrations", where, members[0], None, judge, "cpu")
        )
        with progress(config.learner.steps, name) as advance:
            train(learner, config.learner.steps, advance)
        found[name] = returns(PolicyAgent(learner.policy, name))
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
            for who in parts[0][0]["arms"][name]
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
