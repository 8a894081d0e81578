"""The five stages as plain functions: world, demonstrations, reward, policy, evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minirec._io import (
    IntArray,
    append_jsonl,
    atomic,
    progress,
    read_jsonl,
    torch_generator,
    write_jsonl,
)  # fmt: skip
from minirec.demos.actor import audit
from minirec.demos.actor import demonstrate as play_chat
from minirec.demos.chat import ChatModel
from minirec.demos.grounding import Grounder
from minirec.demos.simulated import SimulatedChat, SimulatedDials
from minirec.evidence.evaluate import Judge, controls
from minirec.problem import Setup
from minirec.rl.agent import PolicyAgent
from minirec.rl.imitation import Demonstrations
from minirec.rl.learner import ILRec, train
from minirec.rl.policy import load_policy
from minirec.rl.rollout import Collector
from minirec.world.batched import BatchedRecEnv
from minirec.world.deepfm import DeepFM, DeepFMSource, fit_deepfm
from minirec.world.judge import JudgeSource, fit_judge
from minirec.world.sources import RewardSource, TruthSource
from minirec.world.trajectory import Trajectory

ARMS = ("A2C without demonstrations", "constant reward", "shuffled demonstrations", "IL-Rec")
"""Everything that learns on the training environment, under equal budgets."""


Score = Callable[[ILRec], dict[str, float]]


def fit_world(setup: Setup, partial: Path) -> DeepFM:
    """Stage 1: fit the world model on the training users' log."""
    kept = partial / "world.pt"
    resume = torch.load(kept, weights_only=True) if kept.is_file() else None
    world = setup.config.world
    return fit_deepfm(
        setup.split.train, setup.problem.catalogue, seed=setup.seed, dim=world.dim,
        hidden=world.hidden, epochs=world.epochs, resume=resume,
        save=lambda state: save_tensors(kept, state),
    )  # fmt: skip


def chat_model(setup: Setup, model: DeepFM) -> ChatModel:
    """Return the chat model that the settings name.

    The simulated one knows the items' truth in the small world, and on real data item vectors
    fitted on the training half, in both cases through noise; never a user's truth.
    """
    demos, catalogue = setup.config.demos, setup.problem.catalogue
    if demos.chat.startswith("ollama:"):
        from minirec.demos.ollama import OllamaChat

        return OllamaChat(demos.chat.removeprefix("ollama:"))
    truth = setup.problem.truth
    if truth is not None:
        vectors, quality = truth.item_factors, truth.quality
    else:
        known = DeepFMSource(model, setup.split.train).item_vectors()
        vectors, quality = known[:, :-1], known[:, -1]
    dials = SimulatedDials(
        knowledge_noise=demos.knowledge_noise, hallucination=demos.hallucination,
        popularity_bias=demos.popularity_bias, format_error=demos.format_error,
    )  # fmt: skip
    return SimulatedChat(
        catalogue.titles, catalogue.genres, vectors, quality, dials, seed=setup.seed
    )


def demonstrate(setup: Setup, model: DeepFM, partial: Path) -> list[Trajectory]:
    """Stage 2: let the chat model play the training environment, one training user an episode."""
    env = setup.training_env(model)
    turns = min(setup.config.demos.turns, env.rules.max_turns)
    env.rules = dataclasses.replace(env.rules, max_turns=turns)
    users = setup.rng("demonstrations").permutation(setup.split.train_users)
    users = users[: setup.config.demos.episodes]
    return ask_chat(setup, model, env, users, partial / "demos.jsonl")


def infer_reward(
    setup: Setup,
    model: DeepFM,
    demos: Demonstrations,
    score: Score,
    partial: Path,
    arm: str,
    device: str,
) -> dict[str, Any]:
    """Stage 3: clone the demonstrations, then learn their reward adversarially.

    Returns:
        ``learner``, the state of the learner, whose discriminator holds the learned reward and
        whose policy has been trained along with it; ``cloned``, the policy's weights after
        cloning alone; ``cloned_score``, what ``score`` said of it and after how many steps.
    """
    learner = make_learner(setup, model, demos, arm, device)
    kept, config = partial / "learner.pt", setup.config.learner
    state: dict[str, Any] = {"done": 0}
    if kept.is_file():
        state = torch.load(kept, weights_only=True, map_location=device)
        learner.load_state_dict(state["learner"])
    else:
        learner.clone(config.clone_epochs)
        state["cloned"] = {k: v.clone() for k, v in learner.policy.state_dict().items()}
        state["cloned_score"] = {"steps": learner.steps, **score(learner)}
    with progress(config.rounds, f"reward: {arm}") as advance:
        advance(state["done"])
        while state["done"] < config.rounds:
            learner.adversarial()
            state["done"] += 1
            advance(1)
            if state["done"] % 5 == 0 or state["done"] == config.rounds:
                learner.collector.obs = None
                save_tensors(kept, state | {"learner": learner.state_dict()})
    return state | {"learner": learner.state_dict()}


def make_learner(
    setup: Setup, model: DeepFM, demos: Demonstrations | None, arm: str, device: str
) -> ILRec:
    """Return an untrained learner for one arm; equal arms of equal seeds start equal."""
    config = setup.config.learner
    env = setup.training_env(model)
    draw, noise = setup.rng(f"users of {arm}"), torch_generator(setup.seed, f"actions of {arm}")
    collector = Collector(env, setup.split.train_users, config.users, draw, noise)
    return ILRec(
        torch.from_numpy(env.source.item_vectors()).to(device), collector, demos, config,
        seed=int(setup.rng("initial weights").integers(2**31)),
        generator=torch_generator(setup.seed, f"batches of {arm}"),
        constant_reward=arm == "constant reward",
    )  # fmt: skip


def train_policy(
    setup: Setup,
    learner: ILRec,
    score: Score,
    partial: Path,
    arm: str,
    device: str,
) -> list[dict[str, float]]:
    """Stage 4: train one arm to the end of its budget; return its learning curve.

    Args:
        setup: The seed's setup.
        learner: From :func:`infer_reward`, or fresh for the arms without demonstrations.
        score: Judges the policy on users that no stage has seen; the learner never learns of it.
        partial: Where to keep what has been reached.
        arm: Its name, for the progress bar.
        device: Where tensors live.
    """
    kept, budget = partial / "learner.pt", setup.config.learner.steps
    goals = sorted({*(g for g in setup.config.evaluation.judged_at if g < budget), budget})
    if kept.is_file():
        state = torch.load(kept, weights_only=True, map_location=device)
        learner.load_state_dict(state["learner"])
        curve: list[dict[str, float]] = state["curve"]
    else:
        curve = [{"steps": learner.steps, **score(learner)}]
    with progress(budget, f"policy: {arm}") as advance:
        advance(min(learner.steps, budget))
        for goal in goals:
            if learner.steps < goal:
                train(learner, goal, advance)
                curve.append({"steps": learner.steps, **score(learner)})
                save_tensors(kept, {"learner": learner.state_dict(), "curve": curve})
    return curve


def fit_payer(setup: Setup) -> RewardSource:
    """Return who pays the scores: the truth, or a judge fitted on the rows nothing trained on."""
    if setup.problem.truth is not None:
        return TruthSource(setup.problem.truth)
    return fit_judge(setup.split.hidden, setup.problem.catalogue, seed=setup.seed)


def judge_error(payer: RewardSource) -> dict[str, float] | None:
    """Return the error of a fitted judge on rows held out from it; None for the truth."""
    if not isinstance(payer, JudgeSource):
        return None
    return {"rmse": float(payer.rmse), "rmse_mean": float(payer.rmse_mean)}


def judge_of(setup: Setup, model: DeepFM, payer: RewardSource, most: int) -> Judge:
    """Return the judge of at most ``most`` unseen users."""
    users = setup.split.test_users[:most]
    beliefs = setup.model_env(model, setup.split.visible, setup.split.test_users)
    return Judge.of(setup.judge_env(payer), beliefs, users)


def evaluate(
    setup: Setup,
    model: DeepFM,
    judge: Judge,
    trained: dict[str, Path],
    inferred: Path,
    shown: list[Trajectory],
    partial: Path,
) -> dict[str, Any]:
    """Stage 5: judge every method on users that no stage has seen.

    Args:
        setup: The seed's setup.
        model: The world model.
        judge: Pays the scores.
        trained: What stage 4 left for each arm.
        inferred: What stage 3 left.
        shown: The demonstrations that were learned from.
        partial: Where to keep the demonstrator's own episodes.

    Returns:
        ``rows``, (name, kind, numbers) of each method; ``curves`` of the arms; ``demonstrations``,
        the audit of what was learned from and of what the demonstrator does for unseen users.
    """
    visible = DeepFMSource(model, setup.split.visible)
    training = setup.training_env(model)
    untrained = controls(
        judge, setup.split.train, visible, setup.problem.truth, training,
        setup.split.train_users, setup.seed,
    )  # fmt: skip
    states = {arm: torch.load(path, weights_only=True) for arm, path in trained.items()}
    weights = {arm: state["policy"] for arm, state in states.items()}
    weights["behaviour cloning"] = torch.load(inferred, weights_only=True)["cloned"]
    steps = {arm: state["curve"][-1]["steps"] for arm, state in states.items()}
    steps["behaviour cloning"] = states["IL-Rec"]["curve"][0]["steps"]
    rows: list[tuple[str, str, dict[str, Any]]] = []
    with progress(len(weights) + 7 - (setup.problem.truth is None), "evaluation") as advance:
        for scored in untrained:
            rows.append(scored)
            advance(1)
        for arm, state in weights.items():
            agent = PolicyAgent(load_policy(state), arm)
            kind = "learned" if arm in ("IL-Rec", "behaviour cloning") else "control"
            rows.append((arm, kind, judge.score(agent, gap=True) | {"env_steps": steps[arm]}))
            advance(1)
    users = judge.users[: setup.config.demos.judged]
    played = ask_chat(setup, model, judge.env, users, partial / "demonstrator.jsonl")
    returns = np.array([trajectory.rews.sum() for trajectory in played])
    few = dataclasses.replace(judge, **{
        name: getattr(judge, name)[: len(users)] for name in ("oracle", "lengths", "upper", "users")
    })  # fmt: skip
    row = few.row(returns, np.array([len(trajectory) for trajectory in played]))
    rows.append(("demonstrator", "demonstrator", row))
    return {
        "rows": rows,
        "curves": {arm: state["curve"] for arm, state in states.items()},
        "demonstrations": {"learned from": audit(shown), "for unseen users": audit(played)},
    }


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values so that ``torch.load(weights_only=True)`` reads them."""
    with atomic(path) as temporary:
        torch.save(state, temporary)


def ask_chat(
    setup: Setup, model: DeepFM, env: BatchedRecEnv, users: IntArray, kept: Path
) -> list[Trajectory]:
    """Play one episode a user with the chat model, keeping each in ``kept`` as it is finished."""
    catalogue = setup.problem.catalogue
    rows = read_jsonl(kept) if kept.is_file() else []
    write_jsonl(kept, rows)  # a line that was cut off is gone for good
    done = [Trajectory.from_json(row) for row in rows]
    with progress(len(users), "demonstrations") as advance:
        advance(len(done))
        for trajectory in play_chat(
            env.source, env.rules, setup.start, users, chat_model(setup, model),
            Grounder(catalogue.titles), seed=setup.seed, K=env.K, history=env.history, done=done,
        ):  # fmt: skip
            append_jsonl(kept, trajectory.to_json())
            done.append(trajectory)
            advance(1)
    return done
