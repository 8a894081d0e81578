"""Every arm on the small world, from 10,000 to a million environment steps, judged by the truth.

    python benchmarks/arms.py

Ten seeds; each varies the users that no stage sees, the world model, the demonstrations and the
training. One run per seed and arm, judged on its way (schedules depend on steps, so a run of a
million steps is at 10,000 what a run of 10,000 is at its end). Beside them stand the controls that
need no training, the demonstrator, the informed bound and the feasible oracle. Two processes work
side by side; what is finished is kept, and the same command goes on after a stop. The result is
``book/_results/arms.json``.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of, world_model

from minirec import UserError, pipeline
from minirec._io import read_json, torch_generator, write_json
from minirec.config import Config
from minirec.evidence.evaluate import Judge, Row, controls
from minirec.evidence.metrics import play
from minirec.problem import Problem, Setup, prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import train
from minirec.rl.arms import ARMS
from minirec.rl.official import Official
from minirec.rl.official_net import OfficialAgent
from minirec.rl.settings import OFFICIAL
from minirec.world.deepfm import DeepFMSource
from minirec.world.trajectory import Trajectory, load_trajectories

JUDGED_AT = (10_000, 30_000, 100_000, 300_000, 1_000_000)
TINY_AT = (600, 900)
UNTIL = {"official": 100_000}
"""Arms that stop earlier."""
CLONED = "behaviour cloning"
NAMES = ("untrained", CLONED, *ARMS, "official")
WORKERS = 2


class Study:
    """What all arms of one seed share, kept in a folder.

    Args:
        problem: The data.
        config: The settings.
        seed: The seed.
        folder: Keeps the world model and the demonstrations.
        preset: Of the settings that the released code has.
    """

    def __init__(
        self, problem: Problem, config: Config, seed: int, folder: Path, preset: str = "steam"
    ) -> None:
        self.setup: Setup = prepare(problem, config, seed)
        self.preset = preset
        self.demos, self.scratch = folder / f"demos-{seed}.jsonl", folder / f"scratch-{seed}"

    def begin(self) -> None:
        """Fit the world model, unless that was done, and let the simulated chat model play."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.model = world_model(self.setup, self.scratch.parent)
        self.env = self.setup.training_env(self.model)
        if not self.demos.is_file():
            pipeline.demonstrate(self.setup, self.model, self.scratch, self.demos)
        self.shown, payer = load_trajectories(self.demos), pipeline.fit_payer(self.setup)
        most = self.setup.config.evaluation.users
        self.judge: Judge = pipeline.judge_of(self.setup, self.model, payer, most)
        self.dealt = pipeline.deal(self.setup, self.shown, "cpu")

    def certain(self, agent: Any) -> float:
        """Return what ``agent`` earns where the world model pays its bare prediction."""
        source = DeepFMSource(self.model, self.setup.split.visible)
        env = self.setup.env(source, self.setup.split.test_users, "threshold")
        return float(play(agent, env, self.judge.users).returns.mean())

    def untrained(self) -> dict[str, Row]:
        """Score what needs no training, and the demonstrator."""
        setup, judge, model = self.setup, self.judge, self.model
        visible = DeepFMSource(model, setup.split.visible)
        given = judge, setup.split.train, visible, setup.training_env(model)
        found = {name: {"kind": kind} | row for name, kind, row in
                 controls(*given, setup.split.train_users, setup.seed)}  # fmt: skip
        chat = pipeline.chat_model(setup, model, self.demos)
        users = judge.users[: setup.config.demos.judged]
        played = pipeline.ask_chat(setup, judge.env, users, chat, self.scratch / "judged.jsonl")
        returns, lengths = (np.array([f(one) for one in played]) for f in (total, len))
        row = judge.row(returns, lengths) | {"shown_steps": sum(map(len, self.shown))}
        return found | {"demonstrator": {"kind": "demonstrator"} | row}

    def learner(self, name: str) -> tuple[Any, Any]:
        """Return an untrained learner, and what makes an agent of it."""
        setup = self.setup
        if name == "official":
            users = setup.rng("order of official").permutation(setup.split.train_users)
            learner = Official(
                self.env, users, self.shown,
                OFFICIAL[self.preset], seed=int(setup.rng("initial weights").integers(2**31)),
                generator=setup.rng("batches of official"),
                noise=torch_generator(setup.seed, "actions of official"),
            )  # fmt: skip
            noise = torch_generator(setup.seed, "judged official")
            return learner, lambda: OfficialAgent(learner.net, name, noise)
        shown = ARMS[name].shown if name in ARMS else "demonstrations"
        demos = self.dealt[shown] if shown else None
        arm = pipeline.Arm(name, setup, self.model, demos, self.judge, "cpu")
        learner = pipeline.make_learner(arm)
        return learner, lambda: PolicyAgent(learner.policy, name)

    def played(self, episodes: int) -> list[Row]:
        """Train the released code for so many episodes and score it."""
        learner, agent = self.learner("official")
        for _ in range(episodes):
            learner.update()
        return [self.judge.score(agent(), gap=True) | {"steps": learner.steps}]

    def trained(self, name: str, goals: list[int]) -> list[Row]:
        """Train one arm and score it at each of ``goals``; cloning stops before the first step."""
        (learner, agent), rows = self.learner(name), list[Row]()

        def score() -> None:
            row = self.judge.score(agent(), gap=True) | {"steps": learner.steps}
            rows.append(row | {"certain_return": self.certain(agent())})

        demos = getattr(learner, "demos", None)
        if demos is not None:
            learner.clone(learner.config.clone_epochs)
        if name == CLONED:
            score()
            return rows
        if demos is not None:
            for _ in range(learner.config.rounds):
                learner.adversarial()
        for goal in goals:
            train(learner, goal, lambda n: None)
            score()
        return rows


def total(trajectory: Trajectory) -> float:
    """Return what an episode earned, rating points."""
    return float(trajectory.rews.sum())


@dataclass(frozen=True)
class Work:
    """Does one part after the other in a process of its own.

    Attributes:
        folder: Keeps the parts.
        tables: Settings that differ from the defaults, as JSON.
        goals: When arms are judged, environment steps.
    """

    folder: Path
    tables: str
    goals: tuple[int, ...]

    def file(self, seed: int, name: str) -> Path:
        """Return where a part is kept."""
        return self.folder / f"{seed}-{name.replace(' ', '-').replace(',', '')}.json"

    def __call__(self, seed: int) -> None:
        """Do the parts of one seed that are missing."""
        torch.set_num_threads(1)
        config = settings_of(SMALL, json.loads(self.tables))
        study = Study(problem_of(SMALL), config, seed, self.folder)
        study.begin()
        for name in NAMES:
            if not (file := self.file(seed, name)).is_file():
                goals = [goal for goal in self.goals if goal <= UNTIL.get(name, goal)]
                untrained = name == "untrained"
                write_json(file, study.untrained() if untrained else study.trained(name, goals))


def main() -> int:
    """Run what is missing, two seeds at a time, and put it together."""
    experiment = Experiment("arms", __doc__.splitlines()[0], 10)
    goals = TINY_AT if experiment.tiny else JUDGED_AT
    work = Work(experiment.folder, json.dumps(experiment.tables), goals)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        list(pool.map(work, experiment.seeds))
    found = {name: [read_json(work.file(seed, name)) for seed in experiment.seeds]
             for name in NAMES}  # fmt: skip
    config = settings_of(SMALL, experiment.tables).to_json()
    untrained = found.pop("untrained")
    experiment.write({"config": config, "judged_at": goals, "untrained": untrained, "arms": found})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"arms: {error}")
