"""Our actor-critic beside Stable-Baselines3's A2C and PPO: steps a second, and where time goes.

    .venv-peers/sb3/bin/python benchmarks/policy.py    # `make peers` makes that environment

Everybody plays users of one world model under ``no_repeat`` and trains the same network on as many
steps of as many users: 8 between two updates as A2C, 32 as PPO, which then learns from each four
times. Ours is A2C in both. The library's policies can carry no state, so the network is one that
needs none: it reads the last ten items from the observation. The library plays a ``DummyVecEnv`` of
one ``RecEnv`` a user, its standard way, and ``BatchedRecEnv``, which shows what that alone is
worth. Our default learner, with its own larger network and its reward head, is there for
orientation.

Times are the processor's, in one thread. All take turns in each repeat, with a learning rate of 0,
so that all policies stay near uniform and all play alike. Then they train in earnest, from the same
weights, and the truth judges them on users whom no stage has seen, items drawn from the policy, so
that nobody is timed doing nothing. The library knows no mask, and while it learns shows something
again sooner or later, which ends the session; when judged, all draw from what the mask leaves.
``policy_peer`` compares single numbers. The result is ``book/_results/policy.json``.
"""

from __future__ import annotations

import copy
import importlib.metadata
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of, world_model
from irl import Contestant, Part, sampling, shares, weights

from minirec._io import UserError, torch_generator
from minirec.evidence.metrics import episode_metrics, play
from minirec.pipeline import Arm, make_learner
from minirec.problem import prepare
from minirec.rl.a2c import a2c_loss
from minirec.rl.rollout import Collector, Segment
from minirec.rl.settings import LearnerConfig
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import Policy, UniformRandom
from minirec.world.sources import TruthSource

try:
    from policy_peer import Stateless, agent, agreement
    from sb3_env import vectorised
    from stable_baselines3 import A2C, PPO
except ImportError:
    sys.exit("policy: stable_baselines3 is not installed here; see the first lines of this file")

SIZES = (16, 64, 256)  # users at once
LENGTHS = {"A2C": 8, "PPO": 32}  # steps of each user between two updates
EPOCHS = 4  # of PPO, each in one batch
STEPS, TINY_STEPS = 8_192, 512  # of one repeat
REPEATS, PROFILED = 5, 5
STILL = 0.0
TRAINED, TINY_TRAINED, RATE = 30_720, 1_024, 3e-3  # steps, and the learning rate, in earnest
OURS, DUMMY, BATCHED = "ours", "Stable-Baselines3", "Stable-Baselines3, BatchedRecEnv"
DEFAULT, ALONE = "our default learner", "environment alone"


class Learner:
    """Our actor-critic around the library's network.

    Args:
        network: The network; it brings its optimiser.
        collector: Plays it.
        config: Discount, trace and entropy.
    """

    def __init__(self, network: Any, collector: Collector, config: LearnerConfig) -> None:
        self.network, self.policy = network, Stateless(network)
        self.collector, self.config = collector, config

    def descend(self, segment: Segment) -> None:
        """Take one step."""
        config, optimiser = self.config, self.network.optimizer
        loss = a2c_loss(
            segment, segment.rewards,
            discount=config.discount, trace=config.trace, entropy_weight=config.entropy,
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimiser.step()


def playing(env: BatchedRecEnv, policy: Any) -> list[Part]:
    """Return the parts of our collector's work."""
    return [
        ("environment", env, "step"), ("environment", env, "restart"), ("acting", policy, "act"),
        ("state", policy, "step"), ("other values", policy, "value"),
    ]  # fmt: skip


class World:
    """One seed's world model and judge.

    Args:
        seed: The seed.
        tables: Settings that differ from the defaults.
        folder: Where the world model is kept.
    """

    def __init__(self, seed: int, tables: dict[str, Any], folder: Path) -> None:
        config = settings_of(SMALL, tables)
        self.setup = prepare(problem_of(SMALL), config, seed)
        self.model = world_model(self.setup, folder)
        self.env = self.setup.training_env(self.model)
        self.vectors = torch.from_numpy(self.env.source.item_vectors())
        self.judged = self.setup.judge_env(TruthSource(self.setup.problem.truth))
        self.users = self.setup.split.test_users[: config.evaluation.users]

    def judge(self, policy: Policy) -> float:
        """Return the mean return of one episode with each unseen user, paid by the truth."""
        episodes = play(policy, self.judged, self.users)
        return episode_metrics(episodes.returns, episodes.lengths)["r_traj"]

    def library(self, kind: str, users: int, rate: float, *, batched: bool = True) -> Any:
        """Return the library's A2C or PPO with our learner's settings."""
        venv = vectorised(copy.copy(self.env), self.setup.split.train_users, users, batched)
        config, length = self.setup.config.learner, LENGTHS[kind]
        more = {"n_epochs": EPOCHS, "batch_size": length * users} if kind == "PPO" else {}
        return agent(
            {"A2C": A2C, "PPO": PPO}[kind], venv, self.vectors, self.env.K, rate=rate,
            discount=config.discount, trace=config.trace, entropy=config.entropy,
            seed=self.setup.seed, n_steps=length, **more,
        )  # fmt: skip

    def theirs(self, kind: str, users: int, rate: float, *, batched: bool) -> Contestant:
        """Return the library's A2C or PPO as somebody who learns."""
        learner = self.library(kind, users, rate, batched=batched)
        network, size = learner.policy, LENGTHS[kind] * users

        def rounds(count: int) -> None:
            learner.learn(count * size, reset_num_timesteps=False)

        parts = [
            ("environment", learner.env, "step_wait"), ("acting", network, "forward"),
            ("other values", network, "predict_values"), ("update", learner, "train"),
        ]  # fmt: skip
        drawn = sampling(Stateless(network), self.setup.seed)
        return Contestant(rounds, drawn, parts, weights(network))

    def ours(self, kind: str, users: int, rate: float) -> Contestant:
        """Return our A2C with the library's network, its first weights and its optimiser."""
        setup, env = self.setup, copy.copy(self.env)
        draw, noise = setup.rng("users"), torch_generator(setup.seed, "actions")
        collector = Collector(env, setup.split.train_users, users, draw, noise)
        network = self.library("A2C", 1, rate).policy
        learner = Learner(network, collector, setup.config.learner)

        def rounds(count: int) -> None:
            for _ in range(count):
                learner.descend(collector.collect(learner.policy, LENGTHS[kind]))

        parts = [*playing(env, learner.policy), ("update", learner, "descend")]
        return Contestant(rounds, sampling(learner.policy, setup.seed), parts, weights(network))

    def default(self, users: int, still: bool) -> Contestant:
        """Return our default learner without demonstrations."""
        rates = {"rate": STILL, "actor_rate": STILL} if still else {}
        config = replace(self.setup.config.learner, users=users, most_users=users, **rates)
        setup = replace(self.setup, config=replace(self.setup.config, learner=config))
        arm = Arm("A2C without demonstrations", setup, self.model, None, None, "cpu")
        learner = make_learner(arm)
        policy = learner.policy
        if still:
            policy.sharpness.requires_grad_(False).zero_()  # uniform, as the others are

        def rounds(count: int) -> None:
            for _ in range(count):
                learner.update()

        parts = [*playing(learner.collector.env, policy), ("update", learner, "improve_on")]
        return Contestant(rounds, sampling(policy, setup.seed), parts, weights(policy))

    def stepping(self, users: int, *, batched: bool) -> Contestant:
        """Return an environment that is played at random, a round as long as A2C's."""
        venv = vectorised(copy.copy(self.env), self.setup.split.train_users, users, batched)
        rng = np.random.default_rng(0)
        venv.seed(0)
        venv.reset()

        def rounds(count: int) -> None:
            for _ in range(count * LENGTHS["A2C"]):
                venv.step(rng.integers(self.env.n_items, size=users))

        return Contestant(rounds, UniformRandom(rng), [], 0)

    def contestant(self, what: str, who: str, users: int, rate: float) -> Contestant:
        """Return anybody."""
        if what == DEFAULT:
            return self.default(users, rate == STILL)
        if what == ALONE:
            return self.stepping(users, batched=who != DUMMY)
        if who == OURS:
            return self.ours(what, users, rate)
        return self.theirs(what, users, rate, batched=who == BATCHED)


RACING: dict[tuple[str, str], tuple[str, str]] = {
    ("A2C", OURS): ("A2C", OURS), ("A2C", DUMMY): ("A2C", OURS), ("A2C", BATCHED): ("A2C", OURS),
    ("PPO", OURS): ("PPO", OURS), ("PPO", DUMMY): ("PPO", OURS), ("PPO", BATCHED): ("PPO", OURS),
    (DEFAULT, OURS): ("A2C", OURS),
    (ALONE, BATCHED): (ALONE, BATCHED), (ALONE, DUMMY): (ALONE, BATCHED),
}  # fmt: skip
"""What and who -> with whom they are compared."""


def timings(world: World, tiny: bool) -> list[dict[str, Any]]:
    """Return the steps a second of everybody, and how many times as long as others they take.

    All take turns in each repeat. The seconds are the processor's, in one thread: what else the
    machine does counts for nobody.
    """
    rows = []
    for users in SIZES[:1] if tiny else SIZES:
        rounds = {
            what: max(1, (TINY_STEPS if tiny else STEPS) // users // LENGTHS.get(what, 8))
            for what, _ in RACING
        }
        racing = {key: world.contestant(*key, users, STILL) for key in RACING}
        rates: dict[tuple[str, str], list[float]] = {key: [] for key in RACING}
        for repeat in range(2 if tiny else REPEATS + 1):
            for key, contestant in racing.items():
                count = rounds[key[0]]
                start = time.process_time()
                contestant.play(count if repeat else 1)  # the first one warms up
                seconds = time.process_time() - start
                if repeat:
                    rates[key].append(count * users * LENGTHS.get(key[0], 8) / seconds)
        for (what, who), found in rates.items():
            base = rates[RACING[what, who]]
            ratios = np.array(base) / found
            about = {"users": users, "what": what, "who": who, "weights": racing[what, who].weights}
            rows.append(
                about | {"rates": found, "rate": median(found), "times_as_long": ratios.tolist()}
            )
            print(users, what, who, round(median(found)), round(median(ratios), 2), flush=True)
    return rows


def profiles(world: World, tiny: bool) -> list[dict[str, Any]]:
    """Return where everybody's time goes."""
    rows = []
    for users in SIZES[:1] if tiny else SIZES:
        for what, who in RACING:
            if what != ALONE:
                contestant = world.contestant(what, who, users, STILL)
                spent = shares(contestant, 1 if tiny else PROFILED)
                spent["the rest"] = spent.pop("acting and the rest")
                rows.append({"users": users, "what": what, "who": who, "shares": spent})
    return rows


def learned(world: World, tiny: bool) -> list[dict[str, Any]]:
    """Return what 16 users teach everybody: returns before and after, and the steps a second."""
    rows, users = [], SIZES[0]
    for what, who in RACING:
        if what == ALONE:
            continue
        learner = world.contestant(what, who, users, RATE)
        before = world.judge(learner.policy)
        rounds = (TINY_TRAINED if tiny else TRAINED) // users // LENGTHS.get(what, 8)
        start = time.process_time()
        learner.play(rounds)
        rate = rounds * users * LENGTHS.get(what, 8) / (time.process_time() - start)
        earned = {"before": before, "r_traj": world.judge(learner.policy), "rate": rate}
        rows.append({"seed": world.setup.seed, "what": what, "who": who} | earned)
        print(rows[-1], flush=True)
    random = {"what": "uniform random", "who": None}
    earned = {"r_traj": world.judge(UniformRandom(world.setup.rng("uniform random")))}
    return [*rows, {"seed": world.setup.seed} | random | earned]


def main() -> int:
    """Compare, measure, train; store it."""
    torch.set_num_threads(1)
    experiment = Experiment("policy", __doc__.splitlines()[0], seeds=3)
    tiny, part = experiment.tiny, experiment.part
    world = cache(lambda seed: World(seed, experiment.tables, experiment.folder))
    found: dict[str, Any] = {"agreement": part("agreement", agreement)}
    found["timings"] = part("timings", lambda: timings(world(0), tiny))
    found["shares"] = part("shares", lambda: profiles(world(0), tiny))
    found["learned"] = [
        row for seed in experiment.seeds
        for row in part(f"learned {seed}", lambda seed=seed: learned(world(seed), tiny))
    ]  # fmt: skip
    names = "stable_baselines3", "gymnasium"
    about = {"peer": {name: importlib.metadata.version(name) for name in names}}
    about |= {"data": problem_of(SMALL).digest(), "trained": TRAINED, "rate": RATE}
    experiment.write(about | found)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"policy: {error}")
