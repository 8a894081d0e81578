"""Adversarial IRL, ours beside the imitation library's: time, memory, return on the truth.

    .venv-peers/imitation/bin/python benchmarks/irl.py    # `make peers` makes that environment

AIRL and GAIL of both learn from the same 90 episodes of a demonstrator that knows the truth, in the
same environment, each paid by its discriminator alone. A round is 8 steps of 16 users, four steps
of the discriminator on 128 transitions of each side, and one step of the policy (A2C). The two
discriminators are the same network, and so are the policies. The library pays AIRL's learner f
without - log pi, so ours is judged in that form ("shaped") as well. Their policy can carry no
state and reads the last ten items anew for every step; a small network without a tracker shows
what that costs. Nobody there knows of action masks, so the rules are ``ilrec``'s, under which only
a repeat within the window is too near; the log is shown, or nobody could tell the users apart.

Times are the processor's, in one thread. They are taken in the environment as the library's
examples set it up, one ``RecEnv`` a user, and in ``BatchedRecEnv``, which shows what that alone is
worth; policies learn in the latter. Every learner gets the best of three learning rates for a seed
that is not used again, and all that was tried is stored. Returns are the truth's for users whom no
stage has seen, items drawn from the policy. The result is ``book/_results/irl.json``.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of, world_model
from main_results import peak
from reward_recovery import CONSTANT, PURE, TEMPERATURE, TRUTH, boltzmann, shown_by

from minirec._io import UserError, torch_generator
from minirec.evidence.metrics import episode_metrics, play
from minirec.irl import adversarial
from minirec.irl.rewards import RewardForm
from minirec.pipeline import Arm, make_learner
from minirec.problem import prepare
from minirec.rl.agent import PolicyAgent
from minirec.rl.imitation import Demonstrations
from minirec.rl.policy import RecPolicy
from minirec.runs import TINY
from minirec.world.controls import Policy, UniformRandom
from minirec.world.sources import TruthSource

FORMS = {"ours": ("airl", "gail", "shaped"), "imitation": ("airl", "gail")}
STEPS = (10_240, 20_480)  # of the environment, when a policy is judged
RATES = (1e-3, 3e-3, 1e-2)  # of the actor
TUNED_ON = 100  # a seed that is not used again
SIZES = {16: 4, 64: 2, 256: 1}  # users at once -> rounds between two looks at the clock
REPEATS, PROFILED = 5, 20
STILL = 0.0  # a rate: where times are taken all policies stay uniform, so all play alike
RULES = {"preset": "ilrec", "near_pairs": 0.0}
OURS, THEIRS, PAID = "ours", "imitation", "environment's reward"
OTHERS: dict[tuple[str, str], list[dict[str, Any]]] = {
    (THEIRS, "airl"): [
        {"rate": 3e-3, "normalised": False, "entropy": 1.0},
    ]
}
"""What else is tried: the library's AIRL pays f without - log pi, and the entropy that the learner
is paid can make up for it."""
Part = tuple[str, Any, str]
"""A part of a round, and whose method it is."""


class Contestant(NamedTuple):
    """Somebody who learns."""

    play: Callable[[int], None]  # so many rounds
    policy: Policy
    parts: list[Part]
    weights: int  # of policy and critic


class World:
    """One seed's world model, demonstrations and judge.

    Args:
        seed: The seed.
        tables: Settings that differ from the defaults.
        folder: Where the world model is kept.
    """

    def __init__(self, seed: int, tables: dict[str, Any], folder: Path) -> None:
        config = settings_of(SMALL, tables | {"demos": {}, "rules": RULES})
        self.setup = prepare(problem_of(SMALL), config, seed)
        self.model = world_model(self.setup, folder)
        self.env = self.setup.training_env(self.model)
        self.judged = self.setup.judge_env(TruthSource(self.setup.problem.truth))
        self.env.history = self.judged.history = "log"
        self.shown = shown_by(TRUTH, self.setup, self.env, self.model)
        self.users = self.setup.split.test_users[: config.evaluation.users]

    def judge(self, policy: Policy) -> dict[str, float]:
        """Return length and return of one episode with each unseen user."""
        episodes = play(policy, self.judged, self.users)
        return episode_metrics(episodes.returns, episodes.lengths)

    def ours(self, form: str, rate: float, *, users: int = 16, weigh: bool = False) -> Contestant:
        """Return our learner.

        Args:
            form: One of :data:`FORMS`, or who pays in place of a discriminator.
            rate: Of the actor.
            users: How many play at once.
            weigh: Whether the demonstrations get IL-Rec's weights after each round, as in a run.
        """
        infers = form in FORMS[OURS]
        paid: dict[str, Any] = {"form": form} if infers else {"task": 1.0, "bonus": 0.0}
        mine = {"actor_rate": rate, "users": users, "most_users": users}
        config = replace(self.setup.config.learner, **PURE | paid | mine)
        setup = replace(self.setup, config=replace(self.setup.config, learner=config))
        demos = Demonstrations.pack(self.shown, None) if infers else None
        learner = make_learner(Arm(form, setup, self.model, demos, None, "cpu"))
        env = learner.collector.env
        env.history = "log"
        learner.policy.sharpness.requires_grad_(False).zero_()

        def rounds(count: int) -> None:
            for _ in range(count):
                if weigh:
                    learner.adversarial()
                elif infers:
                    adversarial.adversarial_round(
                        learner.discriminator, learner.disc_optimiser, learner,
                        form=RewardForm(form), steps=config.disc_steps, batch=config.disc_batch,
                        generator=learner.generator,
                    )  # fmt: skip
                else:
                    learner.update()

        parts = [
            ("environment", env, "step"), ("environment", env, "restart"),
            ("discriminator", adversarial, "discriminator_step"),
            ("reading demonstrations", learner, "demonstrations"), ("policy", learner, "improve"),
        ]  # fmt: skip
        drawn = sampling(learner.policy, self.setup.seed)
        return Contestant(rounds, drawn, parts, weights(learner.policy))

    def theirs(
        self, form: str, rate: float, *, users: int = 16, batched: bool = True,
        network: str = OURS, normalised: bool = True, entropy: float | None = None,
    ) -> Contestant:  # fmt: skip
        """Return the library's learner; what is not explained here is in ``irl_peer``."""
        import irl_peer as peer  # late: our memory is taken without it
        from sb3_env import vectorised

        config, env = self.setup.config.learner, self.env
        venv = vectorised(env, self.setup.split.train_users, users, batched)
        vectors = torch.from_numpy(env.source.item_vectors())
        a2c = peer.agent(
            venv, vectors, env.K, config, rate, self.setup.seed, network=network, entropy=entropy
        )
        parts: list[Part] = [("environment", venv, "step_wait"), ("policy", a2c, "train")]
        size = users * config.segment
        if form in ("airl", "gail"):
            airl = normalised and form == "airl"
            trainer = peer.trainer(form, a2c, self.shown, vectors, env, config, normalised=airl)
            parts += [("discriminator", trainer, "train_disc")]
            parts += [("paying", trainer.venv_train, "reward_fn")]

        def rounds(count: int) -> None:
            if form in ("airl", "gail"):
                with redirect_stderr(io.StringIO()):  # it draws a bar
                    trainer.train(count * size)
            else:
                a2c.learn(count * size, reset_num_timesteps=False)

        drawn = peer.Sampling(a2c, env.rules.max_turns)
        return Contestant(rounds, drawn, parts, weights(a2c.policy))

    def contestant(self, who: str, form: str, rate: float, **how: Any) -> Contestant:
        """Return one of both."""
        return (self.ours if who == OURS else self.theirs)(form, rate, **how)

    def curve(self, learner: Contestant, goals: list[int]) -> list[dict[str, float]]:
        """Train for so many rounds in all; return what the policy earns at each goal."""
        points, done, config = [], 0, self.setup.config.learner
        for goal in goals:
            learner.play(goal - done)
            done = goal
            about = {"steps": goal * config.users * config.segment}
            points.append(about | self.judge(learner.policy))
        return points

    def untrained(self) -> dict[str, list[dict[str, float]]]:
        """Return what the demonstrator and chance earn."""
        shown = boltzmann(self.judged, self.setup, self.users)
        earned = [t.rews.sum() for t in shown], [len(t) for t in shown]
        random = UniformRandom(self.setup.rng("uniform random"))
        return {"demonstrator": [episode_metrics(*earned)], "uniform random": [self.judge(random)]}

    def stepping(self, users: int, batched: bool) -> Contestant:
        """Return an environment that is played at random, a round as long as the others'."""
        from sb3_env import vectorised

        venv = vectorised(self.env, self.setup.split.train_users, users, batched)
        rng, length = np.random.default_rng(0), self.setup.config.learner.segment
        venv.seed(0)
        venv.reset()

        def rounds(count: int) -> None:
            for _ in range(count * length):
                venv.step(rng.integers(self.env.n_items, size=users))

        return Contestant(rounds, UniformRandom(rng), [], 0)


def weights(network: torch.nn.Module) -> int:
    """Return how many numbers a network trains."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def sampling(policy: RecPolicy, seed: int) -> PolicyAgent:
    """Return an agent whose likeliest item is a draw from the policy (Gumbel noise)."""
    noise, drawn = torch_generator(seed, "judged actions"), copy.copy(policy)

    def act(*arguments: Any) -> Any:
        logits, *rest = policy.act(*arguments)
        return logits - torch.empty_like(logits).exponential_(generator=noise).log(), *rest

    drawn.act = act
    return PolicyAgent(drawn, OURS)


def timings(world: World, tiny: bool) -> list[dict[str, Any]]:
    """Return the seconds of a round of everybody, who take turns in each repeat.

    They are the processor's, in one thread: what else the machine does counts for nobody.
    """
    rows = []
    for users, rounds in {16: 1}.items() if tiny else SIZES.items():
        size = {"users": users}
        small = {"batched": False, "network": "small"}
        racing = {
            ("AIRL", OURS): world.ours("airl", STILL, **size),
            ("AIRL, with IL-Rec's weights", OURS): world.ours("airl", STILL, weigh=True, **size),
            ("AIRL", THEIRS): world.theirs("airl", STILL, batched=False, **size),
            ("AIRL, small network", THEIRS): world.theirs("airl", STILL, **small, **size),
            ("AIRL, BatchedRecEnv", THEIRS): world.theirs("airl", STILL, **size),
            ("GAIL", OURS): world.ours("gail", STILL, **size),
            ("GAIL", THEIRS): world.theirs("gail", STILL, batched=False, **size),
            ("environment alone", OURS): world.stepping(users, True),
            ("environment alone", THEIRS): world.stepping(users, False),
        }
        seconds: dict[tuple[str, str], list[float]] = {key: [] for key in racing}
        for repeat in range(2 if tiny else REPEATS + 1):
            for key, contestant in racing.items():
                start = time.process_time()
                contestant.play(rounds)
                if repeat:  # the first one warms up
                    seconds[key].append((time.process_time() - start) / rounds)
        for (what, who), found in seconds.items():
            base = seconds[what.split(",")[0], OURS]
            ratios = (np.array(found) / base).tolist()
            about = {"users": users, "what": what, "who": who, "weights": racing[what, who].weights}
            rows.append(about | {"seconds": found, "of_ours": ratios})
    return rows


def shares(contestant: Contestant, rounds: int) -> dict[str, float]:
    """Return which share of a round each part takes."""
    spent = {part: 0.0 for part, _, _ in contestant.parts}

    def timed(part: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            found = inner(*args, **kwargs)
            spent[part] += time.process_time() - start
            return found

        return outer

    contestant.play(1)
    with ExitStack() as stack:
        for part, owner, name in contestant.parts:
            stack.enter_context(patch.object(owner, name, timed(part, getattr(owner, name))))
        start = time.process_time()
        contestant.play(rounds)
        whole = time.process_time() - start
    found = {part: seconds / whole for part, seconds in spent.items()}
    return found | {"acting and the rest": 1 - sum(found.values())}


def memory(who: str, folder: str, rounds: str) -> None:
    """Print this process's peak in MB before and after some rounds; of nobody, fit the world."""
    world = World(0, TINY if rounds == "1" else {}, Path(folder))
    if who in (OURS, THEIRS):
        how = {} if who == OURS else {"batched": False}
        contestant = world.contestant(who, "airl", STILL, **how)
        before = peak()
        contestant.play(int(rounds))
        print(json.dumps({"before": before, "peak": peak()}))


def memories(experiment: Experiment) -> dict[str, Any]:
    """Return what :func:`memory` says of both, each in a process of its own."""
    experiment.folder.mkdir(parents=True, exist_ok=True)
    end = [str(experiment.folder), "1" if experiment.tiny else "40"]

    def said(who: str) -> str:
        call = [sys.executable, __file__, "--memory", who, *end]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout

    if experiment.tiny:  # half of the time goes into loading the libraries
        return {THEIRS: json.loads(said(THEIRS))}
    said("nobody")
    return {who: json.loads(said(who)) for who in (OURS, THEIRS)}


def main() -> int:
    """Run everything and store it."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--memory"]:
        memory(*sys.argv[2:])
        return 0
    experiment = Experiment("irl", __doc__.splitlines()[0], seeds=5)
    if importlib.util.find_spec("imitation") is None:
        raise UserError("imitation is not installed here; see the first lines of this file")
    tiny, part = experiment.tiny, experiment.part
    # First, while this process is small: a child's peak counts from that of its parent.
    found: dict[str, Any] = {"memory": part("memory", lambda: memories(experiment))}
    world = cache(lambda seed: World(seed, experiment.tables, experiment.folder))
    found["timings"] = part("timings", lambda: timings(world(0), tiny))
    profiled = 1 if tiny else PROFILED
    found["shares"] = part("shares", lambda: {
        who: shares(world(0).contestant(who, "airl", STILL, **how), profiled)
        for who, how in ((OURS, {}), (THEIRS, {"batched": False}))
    })  # fmt: skip
    size = 16 * world(0).setup.config.learner.segment
    goals = [1] if tiny else [steps // size for steps in STEPS]

    def trained(seed: int, who: str, form: str, how: dict[str, Any]) -> list[dict[str, float]]:
        name = f"{seed} {who} {form} {' '.join(map(str, how.values()))}"
        started = time.perf_counter()

        def work() -> list[dict[str, float]]:
            return world(seed).curve(world(seed).contestant(who, form, **how), goals)

        points = part(name, work)
        print(name, [round(point["r_traj"], 1) for point in points],
              f"{time.perf_counter() - started:.0f} s", flush=True)  # fmt: skip
        return points

    found["tried"], best = [], {}
    for who in (OURS, THEIRS):
        for form in FORMS[who]:
            ways = [{"rate": rate} for rate in RATES] + OTHERS.get((who, form), [])
            ways = ways[:1] if tiny else ways
            results = [trained(TUNED_ON, who, form, how)[-1]["r_traj"] for how in ways]
            best[who, form] = ways[int(np.argmax(results))]
            for how, earned in zip(ways, results, strict=True):
                found["tried"].append({"who": who, "form": form} | how | {"r_traj": earned})
    tried = sorted(found["tried"], key=lambda way: way["r_traj"])
    rates = {way["who"]: way["rate"] for way in tried}  # of the best of each, which comes last
    found["rows"] = []
    for seed in experiment.seeds:
        for form in (*FORMS[OURS], CONSTANT, PAID):
            for who in (OURS, THEIRS) if form in (*FORMS[THEIRS], PAID) else (OURS,):
                how = best.get((who, form), {"rate": rates[who]})
                row = {"seed": seed, "who": who, "form": form, **how}
                found["rows"].append(row | {"points": trained(seed, who, form, how)})
        for who, points in part(f"{seed} untrained", world(seed).untrained).items():
            found["rows"].append({"seed": seed, "who": who, "form": None, "points": points})
    peers = "imitation", "stable_baselines3", "gymnasium"
    about = {"peer": {name: importlib.metadata.version(name) for name in peers}, "rules": RULES}
    about |= {"tuned_on": TUNED_ON, "rates": RATES, "temperature": TEMPERATURE}
    about |= {"learner": PURE, "data": problem_of(SMALL).digest()}
    experiment.write(about | found)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"irl: {error}")
