"""How soon half of what the feasible oracle earns is reached: steps, seconds, memory.

    .venv-peers/sb3/bin/python benchmarks/half.py    # `make peers` makes that environment

In the small world, under ``no_repeat``, each learner starts with a fitted world model and, where
it learns from them, with the demonstrations. Everything else counts: mending the model, cloning,
inferring a reward. Every thousand environment steps the truth judges the likeliest items on users
that no stage has seen, while the clock stands still, until they earn half of the oracle's return or
100,000 steps are over. Beside ours stand Stable-Baselines3's A2C and PPO with the network of
``policy.py``. Seconds are the processor's, in one thread; the memory is the peak of a process of
its own, libraries and world included. The result is ``book/_results/half.json``.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from arms import Study
from domains import SMALL, Experiment, problem_of, settings_of
from main_results import peak

from minirec._io import UserError
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import train

OURS = ("A2C without demonstrations", "IL-Rec", "minirec without demonstrations", "minirec")
THEIRS = ("A2C", "PPO")
USERS, RATE = 16, 3e-3  # of the library's, as in policy.py
EVERY, LIMIT, TINY_LIMIT = 1_000, 100_000, 1_000
HALF = 0.5
Stages = list[Callable[[], int]]
"""What is done before each judgement; each returns how many environment steps it has been."""


def ours(study: Study, name: str, limit: int) -> tuple[Any, Stages]:
    """Return one of our agents, and what it does before each judgement."""
    learner, agent = study.learner(name)

    def prepare() -> int:
        if hasattr(learner, "demos"):
            learner.clone(learner.config.clone_epochs)
            for _ in range(learner.config.rounds):
                learner.adversarial()
        return int(learner.steps)

    def go_on(goal: int) -> int:
        train(learner, goal, lambda n: None)
        return int(learner.steps)

    goals = range(EVERY, limit + 1, EVERY)
    return agent(), [prepare, *(partial(go_on, goal) for goal in goals)]


def theirs(world: Any, name: str, limit: int) -> tuple[Any, Stages]:
    """Return one of the library's agents (``world``: of ``policy.py``), likewise."""
    from policy_peer import Stateless  # late: ours do without the library

    learner = world.library(name, USERS, RATE, batched=False)

    def go_on() -> int:
        learner.learn(EVERY, reset_num_timesteps=False)
        return int(learner.num_timesteps)

    return PolicyAgent(Stateless(learner.policy), name), [go_on] * (limit // EVERY)


@dataclass(frozen=True)
class Race:
    """One learner of one seed, in a process of its own.

    Attributes:
        experiment: The settings.
        name: Who learns; empty to fit the world model and let the demonstrator play, no more.
        seed: The seed.
    """

    experiment: Experiment
    name: str
    seed: int

    def __call__(self) -> dict[str, Any]:
        """Return what it took."""
        torch.set_num_threads(1)
        experiment = self.experiment
        config = settings_of(SMALL, experiment.tables)
        started = time.process_time()
        study = Study(problem_of(SMALL), config, self.seed, experiment.folder)
        study.begin()
        if not self.name:
            return {"seconds": time.process_time() - started}
        make, where = ours, study
        if self.name in THEIRS:
            from policy import World  # now, not while the clock runs

            make, where = theirs, World(self.seed, experiment.tables, experiment.folder)
        before, limit = peak(), TINY_LIMIT if experiment.tiny else LIMIT
        started = time.process_time()
        agent, stages = make(where, self.name, limit)
        seconds, shares = time.process_time() - started, []
        for stage in stages:
            started = time.process_time()
            steps = stage()
            seconds += time.process_time() - started
            shares.append(study.judge.score(agent)["share_oracle"])
            if shares[-1] >= HALF:
                break
        return {"name": self.name, "seed": self.seed, "reached": shares[-1] >= HALF,
                "steps": steps, "seconds": seconds, "share": shares[-1], "best": max(shares),
                "before": before, "peak": peak()}  # fmt: skip


def main() -> int:
    """Let everybody run, one after the other."""
    experiment, rows, worlds = Experiment("half", __doc__.splitlines()[0], seeds=3), [], []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:

        def part(name: str, seed: int) -> Any:
            race = Race(experiment, name, seed)
            return experiment.part(f"{name or 'world'} {seed}", lambda: pool.submit(race).result())

        for seed in experiment.seeds:
            worlds.append(part("", seed))
            for name in (*OURS, *THEIRS):
                rows.append(part(name, seed))
                print(rows[-1], flush=True)
    experiment.write({"data": problem_of(SMALL).digest(), "worlds": worlds, "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"half: {error}")
