"""What the released code of IL-Rec does, watched while it learns on the small world.

    python benchmarks/official.py          # needs no data

Its settings for Steam and for Amazon, and those for Steam under three other bounds on the logits
(1, 5 and none), learn for 20,000 episodes under the rules ``ilrec`` from the simulated
demonstrator. While they learn: the share of demonstrated steps in the batches beside the share that
the priorities predict, the policy's entropy, and what an episode earns. At the end: how many steps
the discriminator took, how many demonstrated steps were ever given a weight, and what the truth
pays on users that no stage has seen, five times over, for each item drawn from the policy as it is
and with a block list; how many different items are recommended, beside the number that as many
uniform draws would give. Untrained controls stand beside them.

Last, the order in which the release goes through the users, with as many episodes for each user as
it had on Steam, where the users to be judged are among those to be played with: how many of them
are never rolled out, and whose embedding is still the random one. The result is
``book/_results/official.json``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of

from minirec import pipeline
from minirec._io import BoolArray, IntArray, UserError, progress, torch_generator
from minirec.evidence.evaluate import Judge, controls
from minirec.evidence.metrics import episode_metrics, play, share
from minirec.problem import Setup, prepare
from minirec.rl.official import Official
from minirec.rl.official_net import OfficialAgent, recent
from minirec.rl.settings import OFFICIAL, OfficialConfig
from minirec.world.batched import BatchedRecEnv, Obs
from minirec.world.controls import Near, without_recent
from minirec.world.deepfm import DeepFM, DeepFMSource
from minirec.world.sources import MatrixSource, TruthSource, all_rewards
from minirec.world.trajectory import Trajectory, load_trajectories

EPISODES, WINDOWS, SAMPLINGS = 20_000, 20, 5
STEAM_EPISODES, STEAM_USERS = 100_000, 190_365  # of the release: about half an episode a user
BOUNDS: dict[str, OfficialConfig] = {
    f"steam, bound {bound:g}" if bound else "steam, no bound": replace(
        OFFICIAL["steam"], logit_bound=bound
    )
    for bound in (5.0, 1.0, None)
}
ARMS = OFFICIAL | BOUNDS
"""Name of an arm -> its settings."""
MEANS = "demo_share", "demo_share_due", "entropy", "length", "return"
"""Statistics of which the curves show the mean over some episodes."""


REASONS = "low_reward", "distance", "max_turn"


class BlockList(OfficialAgent):
    """The same policy, kept from what the quit window would punish.

    Args:
        agent: Draws from what is left.
        env: Whose quit window and distances it respects.
    """

    def __init__(self, agent: OfficialAgent, env: BatchedRecEnv) -> None:
        super().__init__(agent.net, agent.name, agent.noise)
        self.window, self.near = env.rules.window, Near.of(env)

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Return one item a row, (B,)."""
        return super().act(obs, without_recent(mask, obs, self.window, self.near))


class World:
    """One seed's world model, demonstrations and judge.

    Args:
        setup: The seed's setup.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        with TemporaryDirectory() as folder:
            kept = Path(folder)
            pipeline.fit_world(setup, kept, kept / "model.pt")
            self.model = DeepFM.load(kept / "model.pt")
            pipeline.demonstrate(setup, self.model, kept, kept / "shown.jsonl")
            self.shown: list[Trajectory] = load_trajectories(kept / "shown.jsonl")
        played = setup.training_env(self.model)
        everybody = np.arange(played.source.n_users)
        # a lookup table, as in the release: the same rewards, computed once
        table = MatrixSource(all_rewards(played.source, everybody), played.source.item_vectors())
        self.env = BatchedRecEnv(
            table, played.rules, setup.start, K=played.K, history=played.history
        )
        truth, most = TruthSource(setup.problem.truth), setup.config.evaluation.users
        self.judge: Judge = pipeline.judge_of(setup, self.model, truth, most)

    def learner(self, name: str, users: IntArray) -> Official:
        """Return the untrained learner of one arm; equal seeds start equal."""
        setup = self.setup
        return Official(
            self.env, users, self.shown, ARMS[name],
            seed=int(setup.rng("initial weights").integers(2**31)),
            generator=setup.rng(f"batches of {name}"),
            noise=torch_generator(setup.seed, f"actions of {name}"),
        )  # fmt: skip


@cache
def world_of(seed: int, experiment: Experiment) -> World:
    """Prepare one seed."""
    config = settings_of(SMALL, experiment.tables | {"rules": {"preset": "ilrec"}})
    return World(prepare(problem_of(SMALL), config, seed))


def judged(agent: OfficialAgent, judge: Judge, n_items: int) -> dict[str, list[float]]:
    """Draw from a policy ``SAMPLINGS`` times over; return the numbers of each time."""
    rows = []
    for _ in range(SAMPLINGS):
        episodes = play(agent, judge.env, judge.users)
        drawn = int(episodes.lengths.sum())
        rows.append({
            **episode_metrics(episodes.returns, episodes.lengths), "distinct": episodes.distinct,
            "distinct_uniform": n_items * (1 - (1 - 1 / n_items) ** drawn),
            "share_oracle": share(episodes.returns, judge.oracle),
            **{str(why): float((episodes.reasons == why).mean()) for why in REASONS},
        })  # fmt: skip
    return {key: [row[key] for row in rows] for key in rows[0]}


def first_entropy(learner: Official, judge: Judge) -> float:
    """Return the policy's mean entropy at the first turn of the judged users, in nats."""
    net, obs = learner.net.eval(), judge.env.reset(judge.users)
    with torch.no_grad():
        state = net.state(torch.from_numpy(judge.users), *recent(obs, net.config.window))
        log_policy = net.logits(state).log_softmax(1)
    return float(-(log_policy.exp() * log_policy).sum(1).mean())


def study(name: str, seed: int, experiment: Experiment) -> dict[str, Any]:
    """Train one arm with the training users and judge it on users that no stage has seen."""
    world, episodes = world_of(seed, experiment), 40 if experiment.tiny else EPISODES
    setup, judge = world.setup, world.judge
    learner, curve = world.learner(name, setup.split.train_users), []
    before, seconds = learner.net.users.weight.detach().clone(), 0.0
    with progress(episodes, f"{name} {seed}") as advance:
        for _ in range(WINDOWS):
            rows, started = [], time.perf_counter()
            for _ in range(episodes // WINDOWS):
                learner.update()
                rows.append(learner.statistics)
            seconds += time.perf_counter() - started
            means = {key: float(np.mean([row[key] for row in rows])) for key in MEANS}
            curve.append({"episodes": learner.episode, "steps": learner.steps} | means)
            advance(len(rows))
    agent = OfficialAgent(learner.net, name, torch_generator(seed, f"judging {name}"))
    touched = (learner.net.users.weight != before).any(1).numpy()
    demos = learner.replay.n_demos
    return {
        "curve": curve, "judged": judged(agent, judge, learner.net.n_items),
        "judged, block list": judged(BlockList(agent, world.env), judge, learner.net.n_items),
        "entropy, unseen users": first_entropy(learner, judge), "demo_steps": demos,
        "mean_weight": float(learner.replay.weights.mean()), "disc_steps": learner.disc_steps,
        "reweighted": int(learner.reweighted.sum()), "played_steps": learner.replay.n_played,
        "judged users touched": float(touched[judge.users].mean()),
        "episodes_a_second": episodes / seconds,
        "steps_a_second": learner.replay.n_played / seconds,
    }  # fmt: skip


def untouched(seed: int, experiment: Experiment) -> dict[str, Any]:
    """Go through all users in order, as few episodes for each as the release had on Steam."""
    world = world_of(seed, experiment)
    everybody = np.arange(world.env.source.n_users)
    episodes = round(len(everybody) * STEAM_EPISODES / STEAM_USERS)
    episodes = 40 if experiment.tiny else episodes
    learner = world.learner("steam", everybody)
    before = learner.net.users.weight.detach().clone()
    for _ in range(episodes):
        learner.update()
    same = (learner.net.users.weight == before).all(1).numpy()
    test, shown = world.setup.split.test_users, {trajectory.user for trajectory in world.shown}
    never = np.array([user >= episodes and user not in shown for user in everybody])
    assert same[never].all()  # bit by bit
    return {
        "episodes": episodes, "users": len(everybody), "test_users": len(test),
        "test users never rolled out": float((test >= episodes).mean()),
        "test users as initialised": float(same[test].mean()),
        "all users as initialised": float(same.mean()),
    }  # fmt: skip


def beside(seed: int, experiment: Experiment) -> dict[str, Any]:
    """Return the rows of all that needs no training."""
    world = world_of(seed, experiment)
    setup, model = world.setup, DeepFMSource(world.model, world.setup.split.visible)
    rest = setup.split.train, model, world.env, setup.split.train_users, seed
    return {name: row for name, _, row in controls(world.judge, *rest)}


def main() -> int:
    """Watch every arm of every seed."""
    torch.set_num_threads(1)
    experiment, arms = Experiment("official", __doc__.splitlines()[0], seeds=3), {}
    for name in ARMS:
        arms[name] = {
            "settings": asdict(ARMS[name]),
            "per_seed": [
                experiment.part(f"{name} {seed}", lambda n=name, s=seed: study(n, s, experiment))
                for seed in experiment.seeds
            ],
        }
    rest = {
        part: [
            experiment.part(f"{part} {seed}", lambda f=work, s=seed: f(s, experiment))
            for seed in experiment.seeds
        ]
        for part, work in (("controls", beside), ("untouched", untouched))
    }
    n_items = problem_of(SMALL).log.n_items
    data = {"items": n_items, "uniform_entropy": float(np.log(n_items))}
    experiment.write({"episodes": EPISODES, "samplings": SAMPLINGS, **data, "arms": arms, **rest})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"official: {error}")
