"""When demonstrations help: by the size of the log, by who demonstrates, for which items.

    python benchmarks/thin_logs.py          # needs no data

In the small world everything is fitted to the rows of 50 to 1,600 of its users. Three simulated
demonstrators play 400 episodes, or one with each user: one *like GPT-3.5*, as the recordings are
(the default dials); one that *knows, but shows the famous*: it knows the items well and writes most
titles rightly; and one that *knows*, and does not care for fame. ``minirec`` learns without
demonstrations and with those of each; from the last also with the demonstrations shuffled, and in
the corrected world without imitation or learned bonus. The truth judges all on unseen users, after
3,000, 10,000 and 30,000 environment steps, demonstrated steps included, and in the end by how often
the recommended items were rated in the log. The result is ``book/_results/thin-logs.json``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of, world_model
from log_size import shortened

from minirec import UserError, pipeline
from minirec._io import IntArray
from minirec.evidence.evaluate import Judge, Row
from minirec.evidence.metrics import play
from minirec.problem import Setup, prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import train
from minirec.rl.correction import corrected
from minirec.rl.imitation import Demonstrations
from minirec.world.controls import GreedyRefit
from minirec.world.deepfm import DeepFM, DeepFMSource
from minirec.world.trajectory import Trajectory, load_trajectories

USERS = (50, 100, 200, 400, 800, 1600)
EPISODES, TINY_EPISODES = 400, 20
KNOWS = "knows"
DEMONSTRATORS: dict[str, dict[str, float]] = {
    "like GPT-3.5": {},
    "knows, but shows the famous": {"knowledge_noise": 0.2, "hallucination": 0.1},
    KNOWS: {"knowledge_noise": 0.2, "hallucination": 0.1, "popularity_bias": 0.0},
}
"""Name -> dials that differ from the default."""
JUDGED_AT, TINY_AT = (3_000, 10_000, 30_000), (900, 1_200)
RARITY = (0, 1, 4, 16)
"""Ratings in the log from which on an item belongs to a class."""


class Study:
    """One log, its world model, and all that learns from them.

    Args:
        n_users: Whose rows make the log.
        seed: The seed.
        experiment: Keeps the world model and the demonstrations.
    """

    def __init__(self, n_users: int, seed: int, experiment: Experiment) -> None:
        whole = prepare(problem_of(SMALL), settings_of(SMALL, experiment.tables), seed)
        users = whole.rng("log size").permutation(whole.split.train_users)[:n_users]
        self.setup: Setup = shortened(whole, users)
        self.goals = TINY_AT if experiment.tiny else JUDGED_AT
        self.episodes = TINY_EPISODES if experiment.tiny else EPISODES
        self.folder = experiment.folder / f"log-{n_users}"
        self.model = world_model(self.setup, self.folder)
        payer, most = pipeline.fit_payer(self.setup), self.setup.config.evaluation.users
        self.judge: Judge = pipeline.judge_of(self.setup, self.model, payer, most)

    def rarity(self, items: IntArray) -> IntArray:
        """Return the class of each item."""
        log = self.setup.split.train
        counts = np.bincount(log.items, minlength=log.n_items)
        return np.searchsorted(RARITY, counts[items], side="right") - 1

    def shown(self, who: str) -> list[Trajectory]:
        """Return the episodes of a demonstrator."""
        kept = self.folder / f"{who.replace(' ', '-')}-{self.setup.seed}"
        if not (target := kept / "demos.jsonl").is_file():
            kept.mkdir(parents=True, exist_ok=True)
            dials = DEMONSTRATORS[who]
            demos = replace(self.setup.config.demos, episodes=self.episodes, **dials)
            setup = replace(self.setup, config=replace(self.setup.config, demos=demos))
            pipeline.demonstrate(setup, self.model, kept, target)
        return load_trajectories(target)

    def trained(
        self, name: str, model: DeepFM, demos: Demonstrations | None, goals: tuple[int, ...]
    ) -> tuple[PolicyAgent, list[Row]]:
        """Train an arm and judge it at each of ``goals``."""
        arm = pipeline.Arm(name, self.setup, model, demos, self.judge, "cpu")
        learner = pipeline.make_learner(arm)
        agent, points = PolicyAgent(learner.policy, name), []
        if demos is not None:
            learner.clone(learner.config.clone_epochs)
            for _ in range(learner.config.rounds):
                learner.adversarial()
        for goal in goals:
            train(learner, goal, lambda n: None)
            points.append(self.judge.score(agent, gap=True) | {"steps": learner.steps})
        return agent, points

    def learned(self, name: str, model: DeepFM, demos: Demonstrations | None) -> dict[str, Any]:
        """Train an arm and tell which classes of items it recommends in the end."""
        agent, points = self.trained(name, model, demos, self.goals)
        played = play(agent, self.judge.env, self.judge.users)
        there = played.acts >= 0
        rarity = self.rarity(played.acts[there])
        shown = np.bincount(rarity, minlength=len(RARITY))
        paid = np.bincount(rarity, played.rewards[there], len(RARITY))
        return {"points": points, "shown": shown.tolist(), "paid": paid.tolist()}

    def greedy(self, model: DeepFM) -> float:
        """Return what greedy play on a world model earns, re-fitted each turn."""
        source = DeepFMSource(model, self.setup.split.visible)
        return float(self.judge.score(GreedyRefit(source.predict_histories))["r_traj"])

    def without(self) -> dict[str, Any]:
        """Score what is shown nothing."""
        names = "A2C without demonstrations", "minirec without demonstrations"
        log = self.setup.split.train
        items = np.bincount(self.rarity(np.arange(log.n_items)), minlength=len(RARITY))
        return {
            "rows": len(log.items), "items": items.tolist(), "error": float(self.model.errors[0]),
            "oracle": float(self.judge.oracle.mean()), "greedy": self.greedy(self.model),
            "arms": {name: self.learned(name, self.model, None) for name in names},
        }  # fmt: skip

    def after(self, who: str) -> dict[str, Any]:
        """Score what learns from one demonstrator."""
        episodes = self.shown(who)
        acts = np.concatenate([episode.acts for episode in episodes])
        users = np.repeat([e.user for e in episodes], [len(e) for e in episodes])
        dealt = pipeline.deal(self.setup, episodes, "cpu")
        demos, log, seed = dealt["demonstrations"], self.setup.split.train, self.setup.seed
        model, told, trust = corrected(self.model, demos, log, seed)
        names = {"minirec": (self.model, demos)}
        if who == KNOWS:
            names["minirec, shuffled demonstrations"] = self.model, dealt["shuffled"]
            names["minirec without demonstrations"] = model, None
        return {
            "steps": len(acts), "distinct": len(np.unique(acts)),
            "true_reward": float(self.judge.env.source.rewards(users, acts).mean()),
            "trust": trust.tolist(), "sharpness": told.sharpness, "greedy": self.greedy(model),
            "arms": {name: self.learned(name, *given) for name, given in names.items()},
        }  # fmt: skip


def main() -> int:
    """Fill the table, part by part."""
    torch.set_num_threads(1)
    experiment = Experiment("thin_logs", __doc__.splitlines()[0], 5)
    sizes = USERS[-1:] if experiment.tiny else USERS

    def parts(name: str, work: Any) -> list[list[dict[str, Any]]]:
        return [
            [
                experiment.part(f"{name}-{n}-{seed}", lambda n=n, s=seed: work(study(n, s)))
                for seed in experiment.seeds
            ]
            for n in sizes
        ]

    def study(n_users: int, seed: int) -> Study:
        return Study(n_users, seed, experiment)

    without = parts("without", Study.without)
    after = {who: parts(who, lambda s, w=who: s.after(w)) for who in DEMONSTRATORS}
    goals = TINY_AT if experiment.tiny else JUDGED_AT
    about = {"users": sizes, "episodes": EPISODES, "rarity": RARITY, "judged_at": goals}
    experiment.write(about | {"dials": DEMONSTRATORS, "without": without, "after": after})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"thin_logs: {error}")
