"""Can demonstration weights tell good demonstrations from poor ones, and does a policy gain by it?

    python benchmarks/weights.py          # needs no data

Two demonstrators of known quality recommend to 90 training users of the small world, and a learner
is shown all of it as one set. After 0, 10 and 60 adversarial rounds every demonstrated step is
weighed: by w_env, by w_irl, and by fusions of the two. The area under the curve (AUC) is the
chance that a step of the good demonstrator weighs more than one of the poor; it is taken for
steps and for whole episodes (mean log weight). Beside them stand the two halves of w_irl's logits,
f and -log pi; rewards alone, paid, predicted and true; shuffled weights; and the weights that the
released code of IL-Rec leaves, which looks at 160 steps and compares each with seven others.

Then fresh policies do nothing but imitate the same set, equally long under each weighting: once as
they are, with a reward head that learns from the demonstrated rewards, and once with that head
silent. The weights are those of IL-Rec after 10 rounds and stay as they are; for comparison the
silent head also has w_irl of its own, weighed anew after every pass. The truth judges on unseen
users. The result is ``book/_results/weights.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of
from reward_recovery import PURE, TEMPERATURE, Study, boltzmann
from scipy.stats import rankdata

from minirec._io import UserError, progress
from minirec.demonstrations import ask_chat, simulated_chat
from minirec.evidence.statistics import Interval, t_interval
from minirec.irl.rewards import Transitions
from minirec.irl.weights import fuse, log_w_env
from minirec.pipeline import Arm, make_learner
from minirec.problem import prepare
from minirec.rl.a2c import gae
from minirec.rl.agent import PolicyAgent
from minirec.rl.imitation import Demonstrations
from minirec.rl.learner import ILRec, as_transitions
from minirec.world.deepfm import DeepFMSource
from minirec.world.trajectory import Trajectory

CHATS = {"knows most": 0.3, "knows nothing": 5.0}
"""Name of a simulated chat model -> noise on what it knows, in standard deviations."""
BOLTZMANN = {"knows the truth": TEMPERATURE, "uniform random": np.inf}
"""Name of a demonstrator that draws items by their true ratings -> its temperature in points."""
MIXES = {
    "half and half": ("knows most", "knows nothing", 0.5),
    "good are few": ("knows most", "knows nothing", 1 / 6),
    "poor are random": ("knows most", "uniform random", 0.5),
    "truth and random": ("knows the truth", "uniform random", 0.5),
}
"""Name of a set -> who is good, who is poor, and the share of episodes by the good one."""
MAIN = "half and half"
LEARNERS: dict[str, dict[str, Any]] = {
    "IL-Rec": {}, "even start": {"even_start": True}, "classifier": {"form": "gail"},
    "learned reward alone": PURE,
}  # fmt: skip
"""Name of a learner -> what differs from the default settings; without fits, its head is silent."""
CASES = [(mix, "IL-Rec") for mix in MIXES] + [(MAIN, name) for name in LEARNERS if LEARNERS[name]]
CHECKED = (0, 10, 60)  # rounds; IL-Rec runs 10 by default
EXPONENTS = {"w_env": 1.0, "fusion 0.75": 0.75, "fusion": 0.5, "fusion 0.25": 0.25, "w_irl": 0.0}
"""Name of a weight -> alpha, the exponent of w_env in it."""
CLIP = 10.0  # of minirec.irl.weights.fuse
PUPILS: dict[str, dict[str, Any]] = {
    "as it is": {}, "silent head": {"memory_steps": 0, "clone_rate": 3e-3},
}  # fmt: skip
EPOCHS = {"as it is": 8, "silent head": 30}  # the default, and about where imitation is best


def auc(scores: Any, good: Any) -> float:
    """Return the chance that a good one scores above a poor one, ties counted half.

    Source:
        Mann and Whitney (1947), by the ranks of the good.
    """
    n, m = good.sum(), (~good).sum()
    return float((rankdata(scores)[good].sum() - n * (n + 1) / 2) / (n * m))


def as_released(weights: Any) -> Any:
    """Return what the released code of IL-Rec would leave of ``weights`` (M,).

    Every 5,000 episodes, 20 times in all, it divides the weights of the 8 demonstrated steps whose
    turn it is by their mean; all other steps keep a weight of 1.
    """
    left = np.ones_like(weights)
    for refresh in range(20):
        group = (5_000 * 8 * refresh + np.arange(8)) % len(weights)
        left[group] = weights[group] / weights[group].mean()
    return left


class Mix:
    """One seed's set of demonstrations: some by a good demonstrator, the others by a poor one.

    Args:
        study: The seed's world model and judge.
        name: One of :data:`MIXES`.
    """

    def __init__(self, study: Study, name: str) -> None:
        self.study, self.setup, (best, worst, share) = study, study.setup, MIXES[name]
        setup, episodes = self.setup, self.setup.config.demos.episodes
        users = setup.rng("demonstrations").permutation(setup.split.train_users)[:episodes]
        few = round(share * episodes)
        shown = [(True, t) for t in self._play(best, users[:few])]
        shown += [(False, t) for t in self._play(worst, users[few:])]
        order = setup.rng("order of the demonstrations").permutation(len(shown))
        shown = [shown[i] for i in order if len(shown[i][1])]  # who never began shows nothing
        self.demos = Demonstrations.pack([t for _, t in shown], setup.start)
        self.valid, steps = self.demos.valid, [len(t) for _, t in shown]
        self.good_episode = np.array([good for good, _ in shown])
        self.episode = np.repeat(np.arange(len(shown)), steps)
        self.good = self.good_episode[self.episode]
        users, acts = np.repeat([t.user for _, t in shown], steps), self.demos.acts[self.valid]
        model = DeepFMSource(study.model, setup.split.train)
        self.true_reward = study.truth.rewards(users, acts.numpy())
        self.predicted = model.rewards(users, acts.numpy())

    def _play(self, name: str, users: Any) -> list[Trajectory]:
        """Let one demonstrator play the training environment, one episode with each user."""
        setup, env = self.setup, self.setup.training_env(self.study.model)
        env.rules = replace(env.rules, max_turns=min(setup.config.demos.turns, env.rules.max_turns))
        if name in BOLTZMANN:
            return boltzmann(env, setup, users, BOLTZMANN[name])
        chat = simulated_chat(setup, self.study.model, knowledge_noise=CHATS[name])
        with TemporaryDirectory() as folder:
            return ask_chat(setup, env, users, chat, Path(folder) / "demos.jsonl")

    def learner(self, **changed: Any) -> ILRec:
        """Return an untrained learner that is shown this set; without fits its head is silent."""
        config = replace(self.setup.config.learner, **changed)
        setup = replace(self.setup, config=replace(self.setup.config, learner=config))
        study = self.study
        learner = make_learner(Arm("IL-Rec", setup, study.model, self.demos, study.judge, "cpu"))
        if not config.memory_steps:
            learner.policy.sharpness.requires_grad_(False).zero_()
        return learner

    def separation(self, scores: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Return the AUC of each of the ``scores`` (M,) for steps, and for episodes by means."""
        per_episode = np.bincount(self.episode)
        means = {k: np.bincount(self.episode, x) / per_episode for k, x in scores.items()}
        return {
            "step": {name: auc(values, self.good) for name, values in scores.items()},
            "episode": {name: auc(values, self.good_episode) for name, values in means.items()},
        }

    def rivals(self) -> dict[str, Any]:
        """Return what can be told without a learner, and what the demonstrators are like."""
        demos, nothing = self.demos, torch.zeros_like(self.demos.rewards.T)
        to_go = gae(
            demos.rewards.T, nothing, nothing, demos.terminated.T, nothing.bool(),
            discount=self.setup.config.learner.discount, trace=1.0,
        ).T  # fmt: skip
        scores = {
            "paid reward": demos.rewards[self.valid].numpy(), "predicted reward": self.predicted,
            "paid reward to go": to_go[self.valid].numpy(), "true reward": self.true_reward,
        }  # fmt: skip
        sides = {"good": self.good, "poor": ~self.good}
        return self.separation(scores) | {
            side: {
                "true_reward": float(self.true_reward[mine].mean()),
                "steps": int(mine.sum()), "episodes": len(np.unique(self.episode[mine])),
                "items": len(demos.acts[self.valid][mine].unique()),
            } for side, mine in sides.items()
        }  # fmt: skip

    def weights(self, learner: ILRec) -> dict[str, Any]:
        """Weigh every step by the learner's present critic and discriminator; leave it as it was.

        Returns:
            Name -> weights, clipped and of mean 1, shape (M,).
        """
        learner.demonstrations()  # as the policy is now
        config, before, found = learner.config, learner.weights.clone(), {}
        for name, exponent in EXPONENTS.items():
            learner.config = replace(config, weight_mix=exponent)
            learner.refresh_weights()
            found[name] = learner.weights[self.valid].numpy()
        learner.config, learner.weights = config, before
        return found

    def judged(self, learner: ILRec) -> dict[str, Any]:
        """Return how well a learner's weights separate, and which part of them does it."""
        weights, shown = self.weights(learner), told(learner, learner.demonstrations())
        logs = {name: np.log(values) for name, values in weights.items()}
        mixed = self.setup.rng("shuffled weights").permutation(len(self.good))
        logs["fusion, shuffled"] = logs["fusion"][mixed]
        logs["fusion, as released"] = np.log(as_released(weights["fusion"]))
        edge = np.log(CLIP) - 1e-3
        sides = {"good": self.good, "poor": ~self.good}
        found = {side: means(shown, mine) for side, mine in sides.items()}
        if learner.segment is not None:
            found["policy"] = means(told(learner, as_transitions(learner.segment)))
        return self.separation(logs | shown) | {
            "mean": found,
            "correlation with logits": {
                part: float(np.corrcoef(shown["logits"], shown[part])[0, 1])
                for part in ("f", "-log pi")
            },
            "clipped": {
                name: float((abs(logs[name] - np.median(logs[name])) > edge).mean())
                for name in EXPONENTS
            },
            "share of weight on good": {
                name: float(values[self.good].sum() / values.sum())
                for name, values in ({"equal": np.ones(len(self.good))} | weights).items()
            },
        }  # fmt: skip

    def separations(self, changed: dict[str, Any], checked: tuple[int, ...]) -> dict[int, Any]:
        """Clone, run adversarial rounds, and judge the weights at the rounds ``checked``."""
        learner, found = self.learner(**changed), {}
        learner.clone(self.setup.config.learner.clone_epochs)
        for done in range(checked[-1] + 1):
            if done:
                learner.adversarial()
            if done in checked:
                found[done] = self.judged(learner)
        return found

    def weightings(self, rounds: int) -> dict[str, Any]:
        """Return the weights (M,), of mean 1, under which policies are to imitate the set."""
        learner = self.learner()
        learner.clone(self.setup.config.learner.clone_epochs)
        for _ in range(rounds):
            learner.adversarial()
        weights = self.weights(learner)
        found = {"equal": np.ones(len(self.good))}
        found |= {name: weights[name] for name in ("w_env", "w_irl", "fusion")}
        mixed = self.setup.rng("shuffled weights").permutation(len(self.good))
        found["fusion, shuffled"] = found["fusion"][mixed]
        paid = self.demos.rewards[self.valid]
        for name, reward in (("paid", paid), ("true", torch.from_numpy(self.true_reward))):
            by_reward = fuse(log_w_env(reward), torch.zeros_like(reward), mix=1.0, clip=CLIP)
            found[f"{name} reward"] = by_reward.numpy()
        for name, mine in (("good only", self.good), ("poor only", ~self.good)):
            found[name] = mine / mine.mean()
        return found

    def imitation(self, pupil: str, weights: Any, epochs: int) -> dict[str, float]:
        """Clone the set into a fresh policy under some weights; judge it by the truth."""
        learner = self.learner(**PUPILS[pupil])
        assert learner.weights is not None
        learner.weights[self.valid] = torch.from_numpy(weights).float()
        learner.clone(epochs)
        return self.study.score(PolicyAgent(learner.policy, pupil), "quits")

    def imitations(self, rounds: int, epochs: dict[str, int]) -> dict[str, Any]:
        """Return what each pupil earns under each weighting."""
        weightings = self.weightings(rounds)
        return {
            pupil: {name: self.imitation(pupil, w, epochs[pupil]) for name, w in weightings.items()}
            for pupil in PUPILS
        }

    def refreshed(self, epochs: int) -> dict[str, Any]:
        """Return what the silent head earns by w_irl that is weighed anew after every pass."""
        found = {}
        for name, even in (("w_irl, refreshed", False), ("w_irl, refreshed, even start", True)):
            learner = self.learner(**PUPILS["silent head"], weight_mix=0.0, even_start=even)
            learner.improve = lambda reward: None  # the policy does nothing but imitate
            for _ in range(epochs):
                learner.clone(1)
                learner.adversarial()
            assert learner.weights is not None
            earned = self.study.score(PolicyAgent(learner.policy, name), "quits")
            found[name] = earned | {"auc": auc(learner.weights[self.valid].numpy(), self.good)}
        return found


def told(learner: ILRec, batch: Transitions) -> dict[str, Any]:
    """Return the discriminator's logits of M transitions, and the two halves of them, each (M,).

    A classifier's logits have one half only: they are f.
    """
    with torch.no_grad():
        logits = learner.discriminator(batch)
    f = logits + batch.log_probs if learner.discriminator.structured else logits
    return {"logits": logits.numpy(), "f": f.numpy(), "-log pi": -batch.log_probs.numpy()}


def means(parts: dict[str, Any], mine: Any = slice(None)) -> dict[str, float]:
    """Return the mean of each part (M,) over some of the steps."""
    return {name: float(values[mine].mean()) for name, values in parts.items()}


def over_seeds(found: list[Any]) -> Any:
    """Return equal structures of numbers, one a seed, as one of means with their intervals."""
    if isinstance(found[0], dict):
        return {key: over_seeds([one[key] for one in found]) for key in found[0]}
    return interval(t_interval(found))


def interval(found: Interval) -> dict[str, float]:
    """Return a mean and its 95 % interval as they are stored."""
    return {name: round(getattr(found, name), 4) for name in ("estimate", "low", "high")}


def ahead(judged: list[Any], rivals: list[Any]) -> Any:
    """Return by how much each AUC of steps exceeds that of what the steps were paid."""
    paid = [rival["step"]["paid reward"] for rival in rivals]
    pairs = zip((one["step"] for one in judged), paid, strict=True)
    return over_seeds([{name: x - less for name, x in one.items()} for one, less in pairs])


def compared(imitated: list[Any], pupil: str, weighting: str) -> dict[str, Any]:
    """Return what a pupil earns under a weighting, and how much more than under equal weights."""
    earned, equal = ([seed[pupil][name] for seed in imitated] for name in (weighting, "equal"))
    pairs = zip(earned, equal, strict=True)
    more = t_interval(one["r_traj"] - other["r_traj"] for one, other in pairs)
    per_seed = [round(one["r_traj"], 4) for one in earned]
    return over_seeds(earned) | {"difference": interval(more), "per_seed": per_seed}


def main() -> int:
    """Run everything and store it."""
    torch.set_num_threads(1)
    experiment = Experiment("weights", __doc__.splitlines()[0], seeds=8)
    config = settings_of(SMALL, experiment.tables)
    checked, epochs = CHECKED, EPOCHS
    if experiment.tiny:
        checked, epochs = (0, 1), dict.fromkeys(PUPILS, 1)
    study = cache(lambda seed: Study(prepare(problem_of(SMALL), config, seed), rounds=0))
    mix_of = cache(lambda seed, name: Mix(study(seed), name))

    def later(seed: int, mix: str, method: str, *arguments: Any) -> Callable[[], Any]:
        return lambda: getattr(mix_of(seed, mix), method)(*arguments)

    rivals: dict[str, list[Any]] = {mix: [] for mix in MIXES}
    judged: dict[tuple[str, str], list[Any]] = {case: [] for case in CASES}
    imitated: list[Any] = []
    with progress(len(experiment.seeds) * (len(MIXES) + len(CASES) + 1), "weights") as advance:
        for seed in experiment.seeds:
            for mix, seeds in rivals.items():
                work = later(seed, mix, "rivals")
                seeds.append(experiment.part(f"rivals {mix} {seed}", work))
                advance(1)
            for (mix, name), seeds in judged.items():
                work = later(seed, mix, "separations", LEARNERS[name], checked)
                seeds.append(experiment.part(f"separations {mix} {name} {seed}", work))
                advance(1)
            work = later(seed, MAIN, "imitations", checked[1], epochs)
            earned = experiment.part(f"imitations {seed}", work)
            work = later(seed, MAIN, "refreshed", epochs["silent head"])
            earned["silent head"] |= experiment.part(f"refreshed {seed}", work)
            imitated.append(earned)
            advance(1)
    separation = []
    for (mix, name), seeds in judged.items():
        for rounds in checked:
            at = [one[str(rounds)] for one in seeds]
            about = {"mix": mix, "learner": name, "rounds": rounds}
            separation.append(about | over_seeds(at) | {"ahead of paid": ahead(at, rivals[mix])})
    imitation = [
        {"pupil": pupil, "weighting": weighting} | compared(imitated, pupil, weighting)
        for pupil, earned in imitated[0].items() for weighting in earned
    ]  # fmt: skip
    settings: dict[str, Any] = {
        "mixes": MIXES, "chats": CHATS, "temperature": TEMPERATURE, "learners": LEARNERS,
        "pupils": PUPILS, "epochs": epochs, "data": problem_of(SMALL).digest(),
    }  # fmt: skip
    told_apart = {mix: over_seeds(seeds) for mix, seeds in rivals.items()}
    found = {"rivals": told_apart, "separation": separation, "imitation": imitation}
    experiment.write(settings | found)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"weights: {error}")
