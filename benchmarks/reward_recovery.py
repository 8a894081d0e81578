"""What adversarial IRL recovers on the small world, and what mere survival buys.

    python benchmarks/reward_recovery.py          # needs no data

Three simulated chat models that know more or less, and for comparison a demonstrator that knows the
truth (Boltzmann in each user's true ratings), recommend to 90 training users. A policy that is paid
by the discriminator alone learns from each; its reward head is silent, so it sees no reward but the
learned one. The learned reward g then ranks all items for users whom no stage has seen.

Controls: demonstrations dealt to the steps at random; a twin world in which nobody quits, for
demonstrations and learner; a constant reward (what it ranks is chance, what it earns is shown).
The second part pays the same learner in each reward form as it is, neither centred nor scaled, and
shows how long sessions get with real demonstrations, with shuffled ones, and in the twin. The
result is ``book/_results/reward-recovery.json``.
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

from minirec._io import UserError, generator, progress, torch_generator
from minirec.demonstrations import ask_chat, simulated_chat
from minirec.evidence.metrics import play
from minirec.irl.compare import rank_correlations
from minirec.pipeline import Arm, judge_of, make_learner
from minirec.problem import Setup, prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.imitation import Demonstrations
from minirec.rl.learner import ILRec
from minirec.rl.settings import FORMS
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import UniformRandom
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.sources import TruthSource, all_rewards, reward_rows
from minirec.world.trajectory import Trajectory

KNOWS = {"knows much": 0.6, "as set": 1.2, "knows little": 2.4}
"""Name of a simulated chat model -> noise on what it knows, in standard deviations."""
TRUTH, TEMPERATURE = "knows the truth", 0.5  # rating points
ROUNDS = 60
PURE: dict[str, Any] = {
    "task": 0.0, "bonus": 1.0, "memory_steps": 0, "imitation": 0.0, "actor_rate": 3e-3,
    "even_start": True,
}  # fmt: skip
"""Settings of a learner that is paid by the discriminator alone."""
CONSTANT = "constant reward"


def without_quits(env: BatchedRecEnv) -> BatchedRecEnv:
    """Return the fixed-horizon twin: nobody quits, so every episode lasts to the turn limit."""
    rules = replace(env.rules, min_reward=-np.inf, min_distance=None)
    return BatchedRecEnv(env.source, rules, env.histories, K=env.K, history=env.history)


def boltzmann(
    env: BatchedRecEnv, setup: Setup, users: Any, temperature: float = TEMPERATURE
) -> list[Trajectory]:
    """Play one episode a user, items drawn in proportion to exp(true rating / temperature)."""
    truth = reward_rows(TruthSource(setup.problem.truth), users)
    rng, obs = generator(setup.seed, "boltzmann"), [env.reset(users)]
    acts, rewards, alive = [], [], [env.alive.copy()]
    while env.alive.any():
        wishes = truth / temperature + rng.gumbel(size=truth.shape)
        acts.append(np.where(env.action_mask, wishes, -np.inf).argmax(1))
        seen, paid, _, _ = env.step(acts[-1])
        obs.append(seen)
        rewards.append(paid)
        alive.append(env.alive.copy())
    lengths = np.sum(alive[:-1], 0)
    episodes = []
    for row, (user, length) in enumerate(zip(users, lengths, strict=True)):
        shown = {key: np.stack([o[key][row] for o in obs[: length + 1]]) for key in obs[0]}
        columns = (np.array([column[row] for column in part[:length]]) for part in (acts, rewards))
        reason = str(env.reasons[row])
        episodes.append(Trajectory(int(user), shown, *columns, (), reason != "max_turn", reason))
    return episodes


def shown_by(name: str, setup: Setup, env: BatchedRecEnv, model: DeepFM) -> list[Trajectory]:
    """Let one demonstrator play ``env`` with training users."""
    demos = setup.config.demos
    env = BatchedRecEnv(env.source, env.rules, env.histories, K=env.K, history=env.history)
    env.rules = replace(env.rules, max_turns=min(demos.turns, env.rules.max_turns))
    users = setup.rng("demonstrations").permutation(setup.split.train_users)[: demos.episodes]
    if name == TRUTH:
        return boltzmann(env, setup, users)
    chat = simulated_chat(setup, model, knowledge_noise=KNOWS[name])
    with TemporaryDirectory() as folder:
        return ask_chat(setup, env, users, chat, Path(folder) / "demos.jsonl")


class Study:
    """One seed's world, demonstrations and learners.

    Args:
        setup: The seed's setup.
        rounds: Adversarial rounds of every learner.
    """

    def __init__(self, setup: Setup, rounds: int) -> None:
        self.setup, self.rounds, split = setup, rounds, setup.split
        settings, catalogue = setup.config.world, setup.problem.catalogue
        self.model = fit_deepfm(
            split.train, catalogue, seed=setup.seed, dim=settings.dim, hidden=settings.hidden,
            epochs=settings.epochs,
        )  # fmt: skip
        self.truth = TruthSource(setup.problem.truth)
        self.judge = judge_of(setup, self.model, self.truth, setup.config.evaluation.curve_users)
        self.envs = {"quits": setup.training_env(self.model)}
        self.envs["twin"] = without_quits(self.envs["quits"])
        self.judges = {"quits": self.judge.env, "twin": without_quits(self.judge.env)}
        self.demos = cache(self._demos)

    def _demos(self, name: str, where: str) -> tuple[Demonstrations, dict[str, float]]:
        """Return a demonstrator's episodes in one of the two worlds, and what they earned."""
        shown = shown_by(name, self.setup, self.envs[where], self.model)
        earned = [float(self.truth.rewards(np.full(len(t), t.user), t.acts).mean()) for t in shown]
        lengths = float(np.mean([len(t) for t in shown]))
        packed = Demonstrations.pack(shown, self.setup.start)
        return packed, {"len": lengths, "true_reward": float(np.mean(earned))}

    def learner(self, name: str, where: str, shuffled: bool, **changed: Any) -> ILRec:
        """Train a learner that is paid by the discriminator alone."""
        config = replace(self.setup.config.learner, **PURE | changed)
        setup = replace(self.setup, config=replace(self.setup.config, learner=config))
        demos = self.demos(name, where)[0]
        if shuffled:
            demos = demos.shuffled(torch_generator(setup.seed, "shuffled demonstrations"))
        constant = not changed.get("bonus", 1)
        arm = Arm(CONSTANT if constant else name, setup, self.model, demos, self.judge, "cpu")
        learner = make_learner(arm)
        learner.collector.env.rules = self.envs[where].rules
        learner.policy.sharpness.requires_grad_(False).zero_()
        for _ in range(self.rounds):
            if constant:
                learner.update()
            else:
                learner.adversarial()
        return learner

    def recovered(self, learner: ILRec) -> dict[str, Any]:
        """Compare the learned reward g with the truth for unseen users."""
        users, histories = self.judge.users, self.setup.start
        windows = map(torch.from_numpy, histories.window(users, self.judge.env.K))
        items, rewards = (w.repeat_interleave(histories.n_items, 0) for w in windows)
        acts = torch.arange(histories.n_items).repeat(len(users))
        with torch.no_grad():
            g = learner.discriminator.net.reward(items, rewards, acts)
        learned, unseen = g.view(len(users), -1).numpy().astype(float), histories.unseen(users)
        truth = all_rewards(self.truth, users).astype(float)
        believed = all_rewards(DeepFMSource(self.model, self.setup.split.visible), users)
        found = {
            "learned": rank_correlations(learned, truth, unseen),
            "world model": rank_correlations(believed.astype(float), truth, unseen),
            "item means": rank_correlations(np.tile(truth.mean(0), (len(users), 1)), truth, unseen),
        }
        centred = [x - x.mean(1, keepdims=True) for x in (learned, truth)]
        taste = [x - x.mean(0) for x in centred]  # what is left when the items' means are out
        spread = np.sqrt((taste[0] ** 2).sum() * (taste[1] ** 2).sum())
        return {name: float(np.nanmean(values)) for name, values in found.items()} | {
            "taste": float((taste[0] * taste[1]).sum() / spread),
            "correlation": float(np.corrcoef(learned[unseen], truth[unseen])[0, 1]),
            "statistics": learner.statistics,
        }

    def score(self, policy: Any, where: str) -> dict[str, float]:
        """Judge a policy by the truth, in the world it learned for."""
        episodes = play(policy, self.judges[where], self.judge.users)
        steps = float(episodes.lengths.sum())
        return {
            "len": float(episodes.lengths.mean()), "r_each": float(episodes.rewards.sum()) / steps,
            "r_traj": float(episodes.returns.mean()),
        }  # fmt: skip

    def recovery(self, name: str, where: str, shuffled: bool) -> dict[str, Any]:
        """Return what is recovered from one demonstrator, and what the policy then earns."""
        learner = self.learner(name, where, shuffled)
        about = {"demonstrations": self.demos(name, where)[1]}
        policy = PolicyAgent(learner.policy, name)
        return self.recovered(learner) | about | {"policy": self.score(policy, where)}

    def survival(self, form: str, where: str, shuffled: bool) -> dict[str, Any]:
        """Return how long sessions get when a learner is paid in one form, as it is."""
        if form == CONSTANT:
            learner = self.learner("as set", where, shuffled, task=1.0, bonus=0.0)
        else:
            learner = self.learner("as set", where, shuffled, form=form, standardise=False)
        scored = self.score(PolicyAgent(learner.policy, form), where)
        return scored | {"statistics": learner.statistics}

    def chance(self) -> dict[str, float]:
        """Return what uniformly random recommendations earn."""
        return self.score(UniformRandom(self.setup.rng("uniform random")), "quits")


def main() -> int:
    """Run everything and store it."""
    torch.set_num_threads(1)
    experiment = Experiment("reward_recovery", __doc__.splitlines()[0], seeds=5)
    config = settings_of(SMALL, experiment.tables)
    rounds = 1 if experiment.tiny else ROUNDS
    study = cache(lambda seed: Study(prepare(problem_of(SMALL), config, seed), rounds))

    def later(seed: int, name: str, *arguments: Any) -> Callable[[], dict[str, Any]]:
        return lambda: getattr(study(seed), name)(*arguments)

    cases = [("quits", False), ("quits", True), ("twin", False)]
    forms = [*FORMS, CONSTANT]
    recovered: list[dict[str, Any]] = []
    survived: list[dict[str, Any]] = []
    with progress(len(experiment.seeds) * 3 * (len(KNOWS) + 1 + len(forms)), "recovery") as advance:
        for seed in experiment.seeds:
            for where, shuffled in cases:
                about = {"seed": seed, "world": where, "shuffled": shuffled}
                label = f"{seed} {where}{' shuffled' if shuffled else ''}"
                for name in (*KNOWS, TRUTH):
                    work = later(seed, "recovery", name, where, shuffled)
                    found = experiment.part(f"recovery {name} {label}", work)
                    recovered.append(about | {"demonstrator": name} | found)
                    advance(1)
                for form in forms:
                    work = later(seed, "survival", form, where, shuffled)
                    found = experiment.part(f"survival {form} {label}", work)
                    survived.append(about | {"form": form} | found)
                    advance(1)
            by_chance = experiment.part(f"chance {seed}", later(seed, "chance"))
            random = {"seed": seed, "world": "quits", "shuffled": False, "form": "uniform random"}
            survived.append(random | by_chance)
    about = {"rounds": rounds, "learner": PURE, "knows": KNOWS, "temperature": TEMPERATURE}
    data = problem_of(SMALL).digest()
    experiment.write(about | {"data": data, "recovered": recovered, "survived": survived})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"reward_recovery: {error}")
