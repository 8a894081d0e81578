"""The five stages as plain functions: world, demonstrations, reward, policy, evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minirec._io import progress, save_tensors, torch_generator, write_json
from minirec.demonstrations import ask_chat, live_chat, simulated_chat
from minirec.demos.audit import audit
from minirec.demos.chat import ChatModel
from minirec.demos.transcript import Transcript
from minirec.evidence.evaluate import Judge, controls
from minirec.problem import Setup
from minirec.rl import arms
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import A2C, train
from minirec.rl.correction import corrected
from minirec.rl.imitation import Demonstrations
from minirec.rl.learner import ILRec
from minirec.rl.policy import load_policy
from minirec.rl.rollout import Collector
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.ensemble import CautiousSource
from minirec.world.judge import JudgeSource, fit_judge
from minirec.world.rules import rules_named
from minirec.world.sources import RewardSource, TruthSource
from minirec.world.trajectory import Trajectory, save_trajectories

ARMS = ("A2C without demonstrations", "constant reward", "shuffled demonstrations", "IL-Rec",
        "minirec without demonstrations", "minirec")  # fmt: skip
"""Everything that learns on the training environment, under equal budgets."""


@dataclass(frozen=True)
class Arm:
    """One of the learners to compare, and what it learns with.

    Attributes:
        name: One of :data:`minirec.rl.arms.ARMS`; any other takes the settings as they are.
        setup: The seed's setup.
        model: The world model.
        demos: What it is shown, if anything.
        judge: Scores it on users that no stage has seen, for its learning curve.
        device: Where tensors live.
    """

    name: str
    setup: Setup
    model: DeepFM
    demos: Demonstrations | None
    judge: Judge
    device: str

    def point(self, learner: A2C) -> dict[str, float]:
        """Return a point of the learning curve; the learner never learns of it."""
        row = self.judge.score(PolicyAgent(learner.policy, "learner"))
        earned = {"return": row["r_traj"], "share_oracle": row["share_oracle"]}
        return {"steps": learner.steps, **earned}

    def restore(self, learner: A2C, file: Path) -> dict[str, Any]:
        """Take ``learner`` back to when ``file`` was written; return all that the file holds."""
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location=self.device)
        learner.load_state_dict(state["learner"])
        return state


def fit_world(setup: Setup, kept: Path, target: Path) -> None:
    """Stage 1: fit the world model on the training users' log."""
    file, world = kept / "world.pt", setup.config.world
    fit_deepfm(
        setup.split.train, setup.problem.catalogue, seed=setup.seed, dim=world.dim,
        hidden=world.hidden, epochs=world.epochs, save=lambda state: save_tensors(file, state),
        resume=torch.load(file, weights_only=True) if file.is_file() else None,
    ).save(target)  # fmt: skip


def demonstrate(
    setup: Setup, model: DeepFM, kept: Path, target: Path, *memory: Path,
    chat: ChatModel | None = None,
) -> None:  # fmt: skip
    """Stage 2: let the chat model play the training environment, one training user an episode.

    Args:
        setup: The seed's setup.
        model: The world model.
        kept: Where to keep what has been reached.
        target: Gets the episodes.
        memory: Gets what was remembered and forgotten, where the roles remember anything.
        chat: The chat model; None takes the one that the settings name.
    """
    env, demos = setup.training_env(model), setup.config.demos
    env.rules = replace(env.rules, max_turns=min(demos.turns, env.rules.max_turns))
    users = setup.rng("demonstrations").permutation(setup.split.train_users)[: demos.episodes]
    if chat is None:
        chat = chat_model(setup, model, target.with_name("transcript.jsonl"))
    save_trajectories(target, ask_chat(setup, env, users, chat, kept / "demos.jsonl"))
    for path in memory:
        os.replace(kept / "memory.jsonl", path)


def chat_model(setup: Setup, model: DeepFM, transcript: Path) -> ChatModel:
    """Return the chat model that the settings name; a live one leaves a transcript."""
    chat = live_chat(setup.config.demos)
    if chat is None:
        return simulated_chat(setup, model)
    return chat if isinstance(chat, Transcript) else Transcript(transcript, chat, "record")


def deal(setup: Setup, shown: list[Trajectory], device: str) -> dict[str, Demonstrations]:
    """Pack the demonstrations by what arms ask for (``ArmSpec.shown``): as they are, shuffled."""
    masked = rules_named(setup.config.rules.preset).repeats == "masked"
    demos = Demonstrations.pack(shown, setup.start if masked else None, device)
    mixed = demos.shuffled(torch_generator(setup.seed, "shuffled demonstrations"))
    return {"demonstrations": demos, "shuffled": mixed}


def infer_reward(arm: Arm, kept: Path, target: Path) -> None:
    """Stage 3: clone the demonstrations, then learn their reward adversarially.

    Writes ``learner``, the state of the learner, whose discriminator holds the learned reward and
    whose policy has been trained along with it; ``cloned``, the policy's weights after cloning
    alone; ``cloned_score``, a point of the learning curve.
    """
    learner, file = make_learner(arm), kept / "learner.pt"
    config = learner.config
    if file.is_file():
        state = arm.restore(learner, file)
    else:
        learner.clone(config.clone_epochs)
        cloned = {name: value.clone() for name, value in learner.policy.state_dict().items()}
        state = {"done": 0, "cloned": cloned, "cloned_score": arm.point(learner)}
    with progress(config.rounds, f"reward: {arm.name}") as advance:
        advance(state["done"])
        while state["done"] < config.rounds:
            learner.adversarial()
            state["done"] += 1
            advance(1)
            if state["done"] % 5 == 0 or state["done"] == config.rounds:
                learner.collector.obs = None
                save_tensors(file, state | {"learner": learner.state_dict()})
    save_tensors(target, state | {"learner": learner.state_dict()})


def make_learner(arm: Arm) -> Any:
    """Return an untrained learner for one arm; equal arms of equal seeds start equal."""
    setup, spec = arm.setup, arms.ARMS.get(arm.name)
    spec = spec or arms.ArmSpec(A2C if arm.demos is None else ILRec)
    config, model = spec.config(setup.config.learner), arm.model
    if config.correct and arm.demos is not None:
        model, *_ = corrected(model, arm.demos, setup.split.train, setup.seed)
    env = setup.training_env(model)
    counts = np.bincount(setup.split.train.items, minlength=setup.problem.catalogue.n_items)
    caution = CautiousSource(env.source, counts, config.caution)
    env.source = caution if config.caution else env.source
    draw = setup.rng(f"users of {arm.name}")
    noise = torch_generator(setup.seed, f"actions of {arm.name}")
    features = torch.from_numpy(env.source.item_vectors()).to(arm.device)
    collector = Collector(env, setup.split.train_users, config.users, draw, noise)
    chance: dict[str, Any] = {
        "seed": int(setup.rng("initial weights").integers(2**31)),
        "generator": torch_generator(setup.seed, f"batches of {arm.name}"),
    }
    if config.prior:  # what an item is worth to anybody is the prior's business, not a feature
        prior = model.catalogue().baseline.detach().numpy() - caution.penalty
        chance["prior"] = torch.from_numpy(prior).to(arm.device)
        features = features[:, :-1].contiguous()
    if issubclass(spec.learner, ILRec):
        assert arm.demos is not None, f"{arm.name} needs demonstrations"
        return spec.learner(features, collector, arm.demos, config, **chance)
    return spec.learner(features, collector, config, constant_reward=spec.constant, **chance)


def train_policy(arm: Arm, inferred: Path | None, kept: Path, target: Path, serve: Path) -> None:
    """Stage 4: train one arm to the end of its budget; write its policy and its learning curve.

    Args:
        arm: Who learns.
        inferred: What stage 3 left; None for the arms without demonstrations.
        kept: Where to keep what has been reached.
        target: Gets ``policy`` and ``curve``.
        serve: Gets the policy alone.
    """
    learner, file, budget = make_learner(arm), kept / "policy.pt", arm.setup.config.learner.steps
    judged_at = arm.setup.config.evaluation.judged_at
    if file.is_file():
        curve = arm.restore(learner, file)["curve"]
    else:
        curve = [] if inferred is None else [arm.restore(learner, inferred)["cloned_score"]]
        curve.append(arm.point(learner))
    with progress(budget, f"policy: {arm.name}") as advance:
        advance(min(learner.steps, budget))
        for goal in sorted({*(goal for goal in judged_at if goal < budget), budget}):
            if learner.steps < goal:
                train(learner, goal, advance)
                curve.append(arm.point(learner))
                save_tensors(file, {"learner": learner.state_dict(), "curve": curve})
    save_tensors(target, {"policy": learner.policy.state_dict(), "curve": curve})
    save_tensors(serve, learner.policy.state_dict())


def fit_payer(setup: Setup) -> RewardSource:
    """Return who pays the scores: the truth, or a judge fitted on the rows nothing trained on."""
    if setup.problem.truth is not None:
        return TruthSource(setup.problem.truth)
    return fit_judge(setup.split.hidden, setup.problem.catalogue, seed=setup.seed)


def judge_of(setup: Setup, model: DeepFM, payer: RewardSource, most: int) -> Judge:
    """Return the judge of at most ``most`` unseen users."""
    users = setup.split.test_users[:most]
    beliefs = setup.model_env(model, setup.split.visible, setup.split.test_users)
    return Judge.of(setup.judge_env(payer), beliefs, users)


def evaluate(
    setup: Setup, model: DeepFM, judge: Judge, shown: list[Trajectory], trained: dict[str, Path],
    inferred: Path, kept: Path, target: Path,
) -> None:  # fmt: skip
    """Stage 5: judge every method on users that no stage has seen.

    Writes ``rows``, (name, kind, numbers) of each method; ``curves`` of the arms;
    ``demonstrations``, the audit of what was learned from and of what the demonstrator does for
    unseen users; ``judge``, the error of a fitted judge.

    Args:
        setup: The seed's setup.
        model: The world model.
        judge: Pays the scores.
        shown: The demonstrations that were learned from.
        trained: What stage 4 left for each arm.
        inferred: What stage 3 left.
        kept: Where to keep the demonstrator's own episodes.
        target: What to write, as JSON.
    """
    split, training = setup.split, setup.training_env(model)
    visible = DeepFMSource(model, split.visible)
    untrained = controls(judge, split.train, visible, training, split.train_users, setup.seed)
    states = {arm: torch.load(path, weights_only=True) for arm, path in trained.items()}
    curves = {arm: state["curve"] for arm, state in states.items()}
    cloned = torch.load(inferred, weights_only=True)["cloned"]
    states["behaviour cloning"] = {"policy": cloned, "curve": curves["IL-Rec"][:1]}
    rows: list[tuple[str, str, dict[str, Any]]] = []
    with progress(len(states) + 7 - (setup.problem.truth is None), "evaluation") as advance:
        for scored in untrained:
            rows.append(scored)
            advance(1)
        for name, state in states.items():
            agent = PolicyAgent(load_policy(state["policy"]), name)
            kind = "learned" if name in ("IL-Rec", "behaviour cloning", "minirec") else "control"
            steps = {"env_steps": state["curve"][-1]["steps"]}
            rows.append((name, kind, judge.score(agent, gap=True) | steps))
            advance(1)
    users = judge.users[: setup.config.demos.judged]
    chat = chat_model(setup, model, target.with_name("transcript.jsonl"))
    played = ask_chat(setup, judge.env, users, chat, kept / "demonstrator.jsonl")
    returns = np.array([trajectory.rews.sum() for trajectory in played])
    row = judge.row(returns, np.array([len(trajectory) for trajectory in played]))
    rows.append(("demonstrator", "demonstrator", row))
    audits = {"learned from": audit(shown), "for unseen users": audit(played)}
    by = judge.env.source
    error = {"rmse": by.rmse, "rmse_mean": by.rmse_mean} if isinstance(by, JudgeSource) else None
    found = {"rows": rows, "curves": curves, "demonstrations": audits, "judge": error}
    write_json(target, found)
