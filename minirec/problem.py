"""What a run starts from: the data, one seed's split, and the environments they make."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from minirec._io import IntArray, generator
from minirec.config import Config
from minirec.data.folder import Dataset, load_folder
from minirec.data.interactions import Interactions
from minirec.data.smallworld import SmallWorld, small_world
from minirec.data.split import Split, split
from minirec.world.batched import BatchedRecEnv
from minirec.world.deepfm import DeepFM, DeepFMSource
from minirec.world.histories import Histories
from minirec.world.rules import START, rules_named
from minirec.world.sources import RewardSource, TruthSource
from minirec.world.thresholds import fail_quantile, near_quantile


@dataclass(frozen=True)
class Problem(Dataset):
    """What stays the same for all seeds: a catalogue, a log and, in the small world, the truth."""

    truth: SmallWorld | None = None

    def digest(self) -> str:
        """Return a hash of the catalogue and the log, so that a run knows its own data."""
        parts = self.log.users, self.log.items, self.log.ratings, np.array(self.catalogue.titles)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def load_problem(config: Config) -> Problem:
    """Load the data that the settings name; the bundled small world if they name none."""
    data = config.data
    if data.folder is None:
        world = small_world(data.world)
        name = "small world" if data.world == 0 else f"small world {data.world}"
        return Problem(name, world.catalogue, world.log, {"rows": len(world.log.items)}, world)
    found = load_folder(data.folder, k_core=data.k_core, min_rating=data.min_rating)
    return Problem(**vars(found))


@dataclass(frozen=True)
class Setup:
    """One seed's split and everything that follows from it alone.

    Attributes:
        problem: The data.
        config: All settings.
        seed: The run's seed.
        split: Who is trained on and who is judged; halves of every user's rows.
        start: What an episode may show of each user beforehand.
    """

    problem: Problem
    config: Config
    seed: int
    split: Split
    start: Histories

    def rng(self, purpose: str) -> np.random.Generator:
        """Return this run's generator for one purpose."""
        return generator(self.seed, purpose)

    def training_env(self, model: DeepFM) -> BatchedRecEnv:
        """Return the environment that every learner plays: the world model, training users."""
        return self.model_env(model, self.split.train, self.split.train_users)

    def model_env(self, model: DeepFM, log: Interactions, users: IntArray) -> BatchedRecEnv:
        """Return an environment that the world model pays, its own error added to each reward.

        The users are known to it by their rows in ``log``.
        """
        source = DeepFMSource(model, log, noise_seed=self.seed)
        return self.env(source, users, "threshold")

    def judge_env(self, source: RewardSource) -> BatchedRecEnv:
        """Return the environment that pays the scores of the test users."""
        return self.env(source, self.split.test_users, "judge's threshold")

    def env(self, source: RewardSource, users: IntArray, purpose: str) -> BatchedRecEnv:
        """Return an environment in which ``source`` pays, under the run's quit rules.

        Unless the settings name a quit threshold, it is 2.0 where the truth pays, and else where a
        uniformly random first pick of ``users`` fails as often as they say. Where the preset has a
        distance rule, as many pairs of items are too near as the settings say.
        """
        asked = self.config.rules
        rules, (history, length) = rules_named(asked.preset), START[asked.preset]
        threshold = asked.min_reward
        if threshold is None and isinstance(source, TruthSource):
            threshold = 2.0
        elif threshold is None:
            threshold = fail_quantile(source, users, asked.first_failure, self.rng(purpose))
        near = rules.min_distance
        if near is not None:
            near = near_quantile(source, asked.near_pairs, self.rng(f"{purpose}: near pairs"))
        turns = rules.max_turns if asked.max_turns is None else asked.max_turns
        rules = replace(rules, min_reward=threshold, min_distance=near, max_turns=turns)
        return BatchedRecEnv(source, rules, self.start, K=length, history=history)


def prepare(problem: Problem, config: Config, seed: int) -> Setup:
    """Split the users for one seed."""
    rng = generator(seed, "split")
    share, real = config.data.test_share, problem.truth is None
    parts = split(problem.log, test_share=share, rng=rng, judge_needs_log=real)
    return Setup(problem, config, seed, parts, Histories.from_log(parts.start))
