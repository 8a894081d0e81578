"""The arms on games and books, with what GPT-3.5 recommended as demonstrations.

    python benchmarks/real_arms.py         # needs MINIREC_DATA

Steam (playtime) and Amazon Books, both 5-core, under the rules ``ilrec`` and ``no_repeat``; five
seeds, 200,000 environment steps; the released code three seeds and 20,000 episodes under
``ilrec``. A world model fitted on one half of the log pays the training, a judge of another kind
fitted on the other half pays the scores. The demonstrations are those that BiLLP recorded, cut to
the titles that the catalogue has: their users are known by the titles they had liked, and the world
model pays them. The released code needs users of the log, so it learns from the simulated
demonstrator. Two processes work side by side, and the same command goes on after a stop. Seconds
are the processor's, of one thread, with all that is judged on the way. The result is
``book/_results/real-arms.json``; published numbers stand in it in a block of their own.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import CLONED, WORKERS, Study
from controls import Careful, CarefulAgent
from domains import Experiment, problem_of, real, settings_of

from minirec import UserError
from minirec._io import read_json, torch_generator, write_json
from minirec.demos.billp import read_billp
from minirec.rl.imitation import Demonstrations
from minirec.world.deepfm import DeepFMSource

DOMAINS = {"steam-playtime": "steam", "amazon-books": "amazon"}
"""Folder of the data -> name in the recordings and in the released settings."""
RULES = ("ilrec", "no_repeat")
NAMES = (
    "untrained", CLONED, "A2C without demonstrations", "constant reward", "paper", "minirec",
    "minirec, shuffled demonstrations", "minirec without demonstrations", "official",
)  # fmt: skip
PREPARED = "world model, judge and demonstrations"
GOALS, TINY_GOALS = [10_000, 50_000, 200_000], [400]
EPISODES, TINY_EPISODES, OFFICIAL_SEEDS = 20_000, 20, 3
LIKED = 5.0  # the rating of a title in a recorded history: all are positives
PUBLISHED = {
    "steam": {"BiLLP": (15.367, 4.503, 69.20), "IL-Rec": (17.533, 4.476, 78.478)},
    "amazon": {"BiLLP": (9.413, 4.507, 42.42), "IL-Rec": (11.136, 4.330, 48.219)},
}
"""Len, R_each and R_traj as published (arXiv 2510.13229): other simulator, not comparable."""


def plain(title: str) -> str:
    """Return a title without case and punctuation."""
    return re.sub(r"[^a-z0-9]+", " ", title.lower()).strip()


@dataclass(frozen=True)
class Session:
    """A recorded session, cut to the titles that the catalogue has.

    Attributes:
        liked: Items of the user's history, oldest first.
        acts: Recommended items.
        quit: Whether the user quit at the last of them.
    """

    liked: list[int]
    acts: list[int]
    quit: bool


class RealStudy(Study):
    """One seed on one domain under one preset of rules; demonstrations are the recorded ones."""

    def begin(self) -> None:
        """Deal the recorded demonstrations in place of the simulated ones.

        Where repeats are allowed everybody but the released code gets the block list that the
        controls have.
        """
        super().begin()
        if self.env.rules.repeats == "allowed":
            self.setup = Careful(**vars(self.setup))
        self.sessions = self.recorded()
        demos = self.packed([one for one in self.sessions if one.acts])
        mixed = demos.shuffled(torch_generator(self.setup.seed, "shuffled demonstrations"))
        self.dealt = {"demonstrations": demos, "shuffled": mixed}

    def learner(self, name: str) -> tuple[Any, Any]:
        """Let what is trained with a block list be judged with it."""
        learner, agent = super().learner(name)
        if name == "official" or not isinstance(self.setup, Careful):
            return learner, agent
        return learner, lambda: CarefulAgent(learner, name)

    def untrained(self) -> dict[str, Any]:
        """Add what was demonstrated."""
        shown = {"shown_steps": sum(len(one.acts) for one in self.sessions),
                 "shown_episodes": sum(bool(one.acts) for one in self.sessions)}  # fmt: skip
        return super().untrained() | {"recorded": {"kind": "demonstrations"} | shown}

    def recorded(self) -> list[Session]:
        """Return the training sessions that BiLLP recorded, in the catalogue's items."""
        folder = real("llm-demos") / self.preset
        titles = self.setup.problem.catalogue.titles
        items = {plain(title): item for item, title in enumerate(titles)}
        masked, sessions = self.env.rules.repeats == "masked", []
        for file in sorted((folder / "trajs_agent").glob("*_train_*")):
            theirs, played = read_billp(file, folder / "env")
            where = [items.get(plain(title), -1) for title in theirs.titles] + [-1]
            for one in played:
                liked = [where[i] for i in one.obs["items"][0] if where[i] >= 0]
                acts = [where[i] for i in one.acts]
                last = one.reason == "quit" and acts[-1] >= 0
                kept = [act for act in acts if act >= 0]
                if masked:
                    kept = [act for act in dict.fromkeys(kept) if act not in liked]
                    last = last and bool(kept) and kept[-1] == acts[-1]
                sessions.append(Session(liked, kept, last))
        return sessions

    def packed(self, sessions: list[Session]) -> Demonstrations:
        """Return sessions as tensors, each step paid by the world model for that history."""
        env, longest = self.env, max(len(one.acts) for one in sessions)
        shape, n_items = (len(sessions), longest), env.n_items
        acts, rewards = np.zeros(shape, int), np.zeros(shape, np.float32)
        valid, quits = np.zeros(shape, bool), np.zeros(shape, bool)
        start = np.full((len(sessions), env.K), n_items)
        liked = np.full((len(sessions), max(len(one.liked) for one in sessions)), n_items)
        for row, one in enumerate(sessions):
            steps, known = len(one.acts), one.liked[-env.K :] if env.history == "log" else []
            acts[row, :steps], valid[row, :steps], quits[row, steps - 1] = one.acts, True, one.quit
            liked[row, : len(one.liked)] = one.liked
            start[row, env.K - len(known) :] = known
        source = DeepFMSource(self.model, self.setup.split.train)
        predicted = source.predict_histories(liked, np.full(liked.shape, LIKED, np.float32))
        rewards[valid] = np.take_along_axis(predicted, acts, 1)[valid]
        unseen = np.ones((len(sessions), n_items + 1), bool)
        np.put_along_axis(unseen, liked, False, 1)
        masked = env.rules.repeats == "masked"
        return Demonstrations(
            torch.from_numpy(start),
            torch.from_numpy(np.where(start < n_items, LIKED, 0).astype(np.float32)),
            *map(torch.from_numpy, (acts, rewards, valid, quits)),
            torch.from_numpy(unseen[:, :-1]) if masked else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Work:
    """Does the parts of one domain, preset and seed in a process of its own.

    Attributes:
        folder: Keeps the parts.
        tables: Settings that differ from the defaults, as JSON.
        tiny: Whether to do the same in seconds.
    """

    folder: Path
    tables: str
    tiny: bool

    def file(self, domain: str, rules: str, seed: int, name: str) -> Path:
        """Return where a part is kept."""
        slug = name.replace(" ", "-").replace(",", "")
        return self.folder / f"{domain}-{rules}" / f"{seed}-{slug}.json"

    def __call__(self, job: tuple[str, str, int]) -> None:
        """Do the parts that are missing."""
        torch.set_num_threads(1)
        domain, rules, seed = job
        tables = json.loads(self.tables)
        tables["rules"] = tables.get("rules", {}) | {"preset": rules}
        config = settings_of(domain, tables)
        folder = self.file(*job, "any").parent
        study = RealStudy(problem_of(domain), config, seed, folder, DOMAINS[domain])
        parts = {PREPARED: study.begin} | {
            name: partial(self.part, study, name) for name in names(rules, seed)
        }
        for name, part in parts.items():
            file = self.file(*job, name)
            if name == PREPARED or not file.is_file():
                started = time.process_time()
                found = part()
                if not file.is_file():
                    write_json(file, {"found": found, "seconds": time.process_time() - started})

    def part(self, study: RealStudy, name: str) -> Any:
        """Return what one method earns."""
        if name == "untrained":
            return study.untrained()
        if name == "official":
            return study.played(TINY_EPISODES if self.tiny else EPISODES)
        return study.trained(name, TINY_GOALS if self.tiny else GOALS)


def names(rules: str, seed: int) -> list[str]:
    """Return the methods of one preset and seed: the released code plays three seeds of one."""
    released = rules == "ilrec" and seed < OFFICIAL_SEEDS
    return [name for name in NAMES if released or name != "official"]


def main() -> int:
    """Run what is missing, two jobs at a time, and put it together."""
    experiment = Experiment("real_arms", __doc__.splitlines()[0], 5, tuple(DOMAINS))
    work = Work(experiment.folder, json.dumps(experiment.tables), experiment.tiny)
    jobs = [(domain, rules, seed) for seed in experiment.seeds
            for domain in experiment.domains for rules in RULES]  # fmt: skip
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        list(pool.map(work, jobs))
    worlds = []
    for domain in experiment.domains:
        for rules in RULES:
            parts: dict[str, list[Any]] = {}
            for seed in experiment.seeds:
                for name in (PREPARED, *names(rules, seed)):
                    part = read_json(work.file(domain, rules, seed, name))
                    parts.setdefault(name, []).append(part)
            found = {name: [one["found"] for one in seeds] for name, seeds in parts.items()}
            seconds = {name: [one["seconds"] for one in seeds] for name, seeds in parts.items()}
            del found[PREPARED]
            worlds.append({"domain": domain, "rules": rules, "untrained": found.pop("untrained"),
                           "arms": found, "seconds": seconds,
                           "published": PUBLISHED[DOMAINS[domain]]})  # fmt: skip
    config = experiment.tables
    experiment.write({"settings": config, "goals": GOALS, "worlds": worlds})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"real_arms: {error}")
