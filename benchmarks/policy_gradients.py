"""What a policy gradient learns, how fast, and what a baseline, a critic and a head add to it.

    python benchmarks/policy_gradients.py          # needs no data

Learners play the world model's simulator of the small world under ``no_repeat``, at most 20 turns a
session, so that whole episodes are cheap. After so many environment steps the truth judges them on
users whom no stage has seen, twice: *drawn*, as a policy gradient plays and what it maximises, and
*likeliest*, as a trained policy serves (DQN knows only the second). REINFORCE runs with its
baseline and without it at three learning rates, so that a slow rate is not taken for noise; all
others without a reward head run at the middle one. Two kinds of untrained rankings stand beside the
usual controls: *any list*, one random order of the items for everybody, and *any taste*, the order
along a random direction in the space of the item vectors, both means of 20.

The result is ``book/_results/policy-gradients.json``: returns in rating points, by seed.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of
from irl import sampling
from torch import Tensor

from minirec._io import UserError, progress, torch_generator
from minirec.evidence.metrics import play
from minirec.problem import Setup, prepare
from minirec.rl.a2c import gae
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import A2C, Reinforce, train
from minirec.rl.arms import ArmSpec
from minirec.rl.dqn import DQN
from minirec.rl.rollout import Collector, Segment
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import (
    FixedList,
    GreedyRefit,
    InformedBound,
    Popularity,
    Ranked,
    UniformRandom,
    best_fixed_list,
)  # fmt: skip
from minirec.world.deepfm import DeepFMSource, fit_deepfm
from minirec.world.sources import TruthSource

TURNS, USERS = 20, 150  # of a session at most; judged
CHECKED, TINY_CHECKED = (0, 250, 500, 1000, 1500, 2000, 3000, 4000, 5000), (0, 100)
RATES = (3e-3, 1e-2, 3e-2)
UNTRAINED = 20  # random rankings of each kind


class NoBaseline(Reinforce):
    """REINFORCE as in 1992: each step is pushed by all that came after it, and by nothing less."""

    def loss(self, segment: Segment, rewards: Tensor) -> Tensor:
        """Return -G_t log pi(a_t | s_t), in units of the spread of G, and the entropy."""
        config, valid = self.config, segment.valid
        nothing, ends = torch.zeros_like(rewards), (segment.terminated, segment.truncated)
        returns = gae(rewards, nothing, nothing, *ends, discount=config.discount, trace=1.0)[valid]
        returns = returns / (returns.std() + 1e-6)
        actor = -(returns * segment.log_probs[valid]).mean()
        return actor - config.entropy * segment.entropy[valid].mean()


def rate(value: float) -> dict[str, Any]:
    """Return the settings of a learner without reward head at one learning rate."""
    return {"foresight": False, "memory_steps": 0, "rate": value, "actor_rate": value}


HEAD: dict[str, Any] = {"rate": 1e-2, "actor_rate": 1e-3}
TRACKERS = ("gru", "average", "attention", "none")
ARMS = {
    **{f"no baseline, rate {r:g}": ArmSpec(NoBaseline, rate(r)) for r in RATES},
    **{f"REINFORCE, rate {r:g}": ArmSpec(Reinforce, rate(r)) for r in RATES},
    **{f"A2C, {t}": ArmSpec(A2C, rate(1e-2) | {"tracker": t}) for t in TRACKERS},
    **{f"A2C with head, {t}": ArmSpec(A2C, HEAD | {"tracker": t}) for t in TRACKERS},
    "A2C, no entropy": ArmSpec(A2C, rate(1e-2) | {"entropy": 0.0}),
    "DQN": ArmSpec(DQN, rate(1e-2) | {"tracker": "none"}),
    "DQN with head": ArmSpec(DQN, {"rate": 1e-2, "tracker": "none"}),
}
COMMON: dict[str, Any] = {
    "dim": 16, "hidden": 32, "users": 16, "segment": 4, "explore_steps": 3_000,
}  # fmt: skip


class World:
    """One seed's world model, simulator and judge."""

    def __init__(self, experiment: Experiment, seed: int) -> None:
        asked = {"rules": {"max_turns": TURNS}}
        self.config = config = settings_of(SMALL, experiment.tables | asked)
        self.setup: Setup = prepare(problem_of(SMALL), config, seed)
        self.seed, split, problem = seed, self.setup.split, self.setup.problem
        size = {name: getattr(config.world, name) for name in ("dim", "hidden", "epochs")}
        self.model = fit_deepfm(split.train, problem.catalogue, seed=seed, **size)
        self.env = self.setup.training_env(self.model)
        self.truth = TruthSource(problem.truth)
        self.judge: BatchedRecEnv = self.setup.judge_env(self.truth)
        self.judged = split.test_users[:USERS]
        self.vectors = self.env.source.item_vectors()
        self.checked = TINY_CHECKED if experiment.tiny else CHECKED

    def returns(self, policy: Any) -> float:
        """Return the mean true return of the judged users."""
        return float(play(policy, self.judge, self.judged).returns.mean())

    def controls(self) -> dict[str, float]:
        """Judge what does not train."""
        setup, rng = self.setup, self.setup.rng("untrained rankings")
        split, n_items = setup.split, len(self.vectors)
        counts = np.bincount(split.train.items, minlength=n_items)
        best = best_fixed_list(self.truth, self.judge.rules, setup.start, split.train_users)
        own = DeepFMSource(self.model, split.visible)
        policies = [
            UniformRandom(setup.rng("uniform random")), Popularity(counts),
            FixedList(best, n_items), GreedyRefit(own.predict_histories),
            InformedBound(setup.problem.truth),
        ]  # fmt: skip
        found = {policy.name: self.returns(policy) for policy in policies}
        spread = self.vectors - self.vectors.mean(0)
        lists = [rng.normal(size=n_items) for _ in range(UNTRAINED)]
        tastes = [spread @ rng.normal(size=spread.shape[1]) for _ in range(UNTRAINED)]
        for name, scores in (("any list", lists), ("any taste", tastes)):
            found[name] = float(np.mean([self.returns(Ranked(name, one)) for one in scores]))
        return found

    def curve(self, name: str) -> dict[str, Any]:
        """Train one arm and judge it on the way."""
        spec, seed, setup = ARMS[name], self.seed, self.setup
        config = ArmSpec(A2C, COMMON | spec.settings).config(self.config.learner)
        users, features = setup.split.train_users, torch.from_numpy(self.vectors)
        noise = torch_generator(seed, "acts")
        collector = Collector(self.env, users, config.users, setup.rng("users"), noise)
        dice = torch_generator(seed, "batches")
        learner = spec.learner(features, collector, config, seed=seed, generator=dice)
        found: dict[str, Any] = {"steps": [], "drawn": [], "likeliest": []}
        with progress(self.checked[-1], name) as advance:
            for until in self.checked:
                train(learner, until, advance)
                found["steps"].append(learner.steps)
                agent = PolicyAgent(learner.policy, name)
                found["likeliest"].append(self.returns(agent))
                if spec.learner is not DQN:
                    found["drawn"].append(self.returns(sampling(learner.policy, seed)))
        played = play(agent, self.judge, self.judged)
        return found | {"distinct": played.distinct, "updates": learner.updates}


def main() -> int:
    """Train every arm, part by part."""
    torch.set_num_threads(1)
    experiment = Experiment("policy_gradients", __doc__.splitlines()[0], 6)

    @lru_cache(maxsize=1)
    def world(seed: int) -> World:
        return World(experiment, seed)

    controls, arms = [], []
    for seed in experiment.seeds:
        controls.append(experiment.part(f"{seed}-controls", lambda s=seed: world(s).controls()))
        for name in ARMS:
            found = experiment.part(f"{seed}-{name}", lambda s=seed, n=name: world(s).curve(n))
            arms.append({"name": name, "seed": seed, **found})
    digest = problem_of(SMALL).digest()
    settings = {"turns": TURNS, "judged": USERS, **COMMON}
    experiment.write({"data": digest, "settings": settings, "controls": controls, "arms": arms})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error_:
        sys.exit(f"policy_gradients: {error_}")
