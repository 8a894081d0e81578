"""How fast the environment is, beside the shortest NumPy loop for the same rules.

    python benchmarks/environment.py
    .venv-peers/sb3/bin/python benchmarks/environment.py    # with Stable-Baselines3's rows

Writes ``book/_results/environment.json``: live-user steps a second, in several repeats with the
same users and actions, and the memory that Steam's full size takes. The worlds are made up: speed
depends on their size only. A user who has quit is replaced at once by another, within the time
measured, so that every step counted is one of a user who is still there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from main_results import ROOT, commit, peak

from minirec._io import IntArray, append_jsonl, generator, read_jsonl, torch_generator, write_json
from minirec.data.interactions import Interactions
from minirec.data.smallworld import small_world
from minirec.runs import versions
from minirec.world.batched import BatchedRecEnv
from minirec.world.deepfm import DeepFM, DeepFMSource
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES, START, QuitRules
from minirec.world.sources import MatrixSource, RewardSource, TruthSource

ITEMS = (600, 6_012, 13_864)  # the small world; Steam's and Amazon's sizes in the IL-Rec paper
STEAM = (190_365, 6_012)  # users and items
NAMES = ("no_repeat", "ilrec")
ROWS, MEAN, SPREAD = 12, 3.3, 1.0  # of the made-up log for each user; its ratings
DIM, HIDDEN, FEATURES = 16, 64, 20  # of the DeepFM: the sizes that `minirec run` takes
MISSING = "not installed"
NEAR = 0.01  # of all pairs of items are nearer than min_distance under ilrec


class Settings(NamedTuple):
    """What the measurement takes; the result holds it."""

    users: dict[int, int]  # users at once -> steps of a repeat
    peers: dict[str, int]  # others' environments -> users at once, each of them a RecEnv
    repeats: int
    stored: int  # users in the stored matrix
    steam: int  # users of Steam
    steam_steps: int


FULL = Settings(
    users={1: 4_000, 64: 2_000, 4_096: 100},
    peers={"SyncVectorEnv": 64, "AsyncVectorEnv": 2, "DummyVecEnv": 64},
    repeats=5,
    stored=4_096,
    steam=STEAM[0],
    steam_steps=20,
)
TINY = FULL._replace(
    users={1: 20, 64: 4, 4_096: 3}, repeats=2, stored=256, steam=1_000, steam_steps=2
)


class World(NamedTuple):
    """Made-up users and items."""

    matrix: MatrixSource
    model: DeepFMSource
    histories: Histories


class Job(NamedTuple):
    """What one repeat plays; all that has to be drawn is drawn beforehand.

    Actions are uniformly random items. Under ``no_repeat`` one in some 30 of them at 600 items, and
    fewer in larger catalogues, was shown before: that ends the episode, as a low reward does in a
    tenth of the steps and a near item under ``ilrec`` in a few of a hundred. So an episode takes
    about as many steps as those of a random policy on real logs, eight to ten.
    """

    source: RewardSource
    rules: QuitRules
    histories: Histories
    start: dict[str, Any]  # history and K
    acts: IntArray  # (T, B)
    users: IntArray  # who comes next, at least (T + 1) * B


class Timing(NamedTuple):
    """One repeat."""

    seconds: float
    steps: int  # of live users
    ended: int  # episodes


def made_up_log(n_users: int, n_items: int) -> Interactions:
    """Return a log of ROWS different items for each user."""
    rng = generator(0, "log")
    first = rng.integers(n_items, size=(n_users, 1))
    items = (first + np.arange(ROWS) * (n_items // ROWS)) % n_items
    ratings = np.clip(MEAN + SPREAD * rng.standard_normal(items.size, np.float32), 1, 5)
    users, ids = np.repeat(np.arange(n_users), ROWS), tuple(map(str, range(n_users)))
    return Interactions(users, items.ravel(), ratings, None, ids, n_items)


def untrained(log: Interactions) -> DeepFMSource:
    """Return a DeepFM that pays: its predictions mean little, and take as long as any other's."""
    rng = torch_generator(0, "deepfm")
    model = DeepFM(torch.rand(log.n_items, FEATURES, generator=rng), DIM, HIDDEN, MEAN, rng)
    model.errors.fill_(SPREAD)  # a fit would leave its error here: the spread of what is paid
    return DeepFMSource(model.eval(), log, noise_seed=0)


def made_up_world(n_users: int, n_items: int) -> World:
    """Return a world whose rewards are below the quit threshold for a tenth of the pairs."""
    rng, log = generator(0, "world"), made_up_log(n_users, n_items)
    matrix = rng.standard_normal((n_users, n_items), np.float32)
    matrix = np.clip(MEAN + SPREAD * matrix, 1, 5, out=matrix)
    vectors = rng.standard_normal((n_items, DIM), np.float32)
    return World(MatrixSource(matrix, vectors), untrained(log), Histories.from_log(log))


def draw(histories: Histories, source: RewardSource, name: str, users: int, steps: int) -> Job:
    """Draw the actions and the users of one repeat, and set the distance that the rules need."""
    rng, rules = generator(0, "plays"), RULES[name]
    if rules.min_distance is not None:
        left, right = source.item_vectors()[rng.integers(source.n_items, size=(2, 10_000))]
        nearest = np.quantile(np.linalg.norm(left - right, axis=1), NEAR)
        rules = replace(rules, min_distance=float(nearest))
    acts = rng.integers(source.n_items, size=(steps, users))
    who = rng.integers(source.n_users, size=(steps + 1) * users)
    start = dict(zip(("history", "K"), START[name], strict=True))
    return Job(source, rules, histories, start, acts, who)


def plain_loop(job: Job) -> Timing:
    """Apply the rules in NumPy and do nothing else: no observation, no reason, no check."""
    assert isinstance(job.source, MatrixSource)
    matrix, rules = job.source.matrix, job.rules
    masked, (_, size) = rules.repeats == "masked", job.acts.shape
    rows, users, used = np.arange(size), job.users[:size].copy(), size
    turn = np.zeros(size, int)
    unseen = job.histories.unseen(np.arange(len(matrix))) if masked else np.zeros(0, bool)
    free = unseen[users] if masked else unseen
    far = np.vstack([job.source.vectors, np.full(DIM, np.inf, np.float32)])  # no item is item -1
    last = np.full((size, rules.window), -1)  # a ring
    start = time.perf_counter()
    for step, items in enumerate(job.acts):
        turn += 1
        ended = (matrix[users, items] < rules.min_reward) | (turn == rules.max_turns)
        if masked:
            ended |= ~free[rows, items]
            free[rows, items] = False
        else:
            apart = np.linalg.norm(far[items][:, None] - far[last], axis=-1)
            ended |= (apart < rules.min_distance).any(1)
            last[:, step % rules.window] = items
        if count := np.count_nonzero(ended):
            users[ended] = new = job.users[used : used + count]
            turn[ended], used = 0, used + count
            if masked:
                free[ended] = unseen[new]
            else:
                last[ended] = -1
    return Timing(time.perf_counter() - start, job.acts.size, used - size)


def batched(job: Job) -> Timing:
    """Step ``BatchedRecEnv``; restart the rows that have ended."""
    used = job.acts.shape[1]
    env = BatchedRecEnv(job.source, job.rules, job.histories, **job.start)
    env.reset(job.users[:used])
    start = time.perf_counter()
    for acts in job.acts:
        _, _, terminated, truncated = env.step(acts)
        ended = terminated | truncated
        if count := np.count_nonzero(ended):
            env.restart(ended, job.users[used : used + count])
            used += count
    return Timing(time.perf_counter() - start, job.acts.size, used - job.acts.shape[1])


def single(job: Job) -> Timing:
    """Step ``RecEnv``."""
    env, users = make(job)(), iter(job.users.tolist())
    acts, ended = job.acts[:, 0].tolist(), 0
    env.reset(options={"user": next(users)})
    start = time.perf_counter()
    for act in acts:
        _, _, terminated, truncated, _ = env.step(act)
        if terminated or truncated:
            env.reset(options={"user": next(users)})
            ended += 1
    return Timing(time.perf_counter() - start, len(acts), ended)


def vectorised(kind: str, job: Job) -> Timing:
    """Step gymnasium's ``SyncVectorEnv`` or ``AsyncVectorEnv``; both restart by themselves."""
    env = getattr(gymnasium.vector, kind)([make(job)] * job.acts.shape[1])
    env.reset(seed=0)
    idle, before = 0, np.zeros(job.acts.shape[1], bool)
    start = time.perf_counter()
    for acts in job.acts:
        idle += np.count_nonzero(before)  # the step after the last one only resets
        _, _, terminated, truncated, _ = env.step(acts)
        before = terminated | truncated
    seconds = time.perf_counter() - start
    env.close()
    return Timing(seconds, job.acts.size - idle, idle + np.count_nonzero(before))


def dummy(job: Job) -> Timing:
    """Step Stable-Baselines3's ``DummyVecEnv``, which restarts within the same step."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    env, ended = DummyVecEnv([make(job)] * job.acts.shape[1]), 0
    env.seed(0)
    env.reset()
    start = time.perf_counter()
    for acts in job.acts:
        _, _, dones, _ = env.step(acts)
        ended += np.count_nonzero(dones)
    return Timing(time.perf_counter() - start, job.acts.size, ended)


def make(job: Job) -> Callable[[], RecEnv]:
    """Return what makes the ``RecEnv`` of a job."""
    return partial(RecEnv, job.source, job.rules, job.histories, **job.start)


def peer_version() -> str:
    """Return Stable-Baselines3's version, or that it is not there."""
    try:
        return importlib.metadata.version("stable_baselines3")
    except importlib.metadata.PackageNotFoundError:
        return MISSING


def measure(world: World, name: str, users: int, settings: Settings) -> list[dict[str, Any]]:
    """Return one row for each environment of this size; their repeats take turns.

    What else the machine does in the meantime is then spread over all of them.
    """
    size = min(size for size in settings.users if size >= users)
    plan = name, users, settings.users[size]
    on_matrix = draw(world.histories, world.matrix, *plan)
    plays = {("plain NumPy loop", "matrix"): partial(plain_loop, on_matrix)}
    if users in settings.users:
        plays["BatchedRecEnv", "matrix"] = partial(batched, on_matrix)
        on_model = draw(world.histories, world.model, *plan)
        plays["BatchedRecEnv", "DeepFM"] = partial(batched, on_model)
    small = world.matrix.n_items == ITEMS[0]
    if small and users == 1:
        plays["RecEnv", "matrix"] = partial(single, on_matrix)
        truth = small_world()
        on_truth = draw(Histories.from_log(truth.log), TruthSource(truth), *plan)
        plays["RecEnv", "truth"] = partial(single, on_truth)
    few = on_matrix._replace(acts=on_matrix.acts[: max(2, plan[-1] // 10)])  # they are slow
    peers = [kind for kind, size in settings.peers.items() if small and size == users]
    for kind in peers:
        if kind != "DummyVecEnv":
            plays[kind, "matrix"] = partial(vectorised, kind, few)
        elif peer_version() != MISSING:
            plays[kind, "matrix"] = partial(dummy, few)
    timings: dict[tuple[str, str], list[Timing]] = {key: [] for key in plays}
    for _ in range(settings.repeats):
        for key, play in plays.items():
            timings[key].append(play())
    rates = {key: [t.steps / t.seconds for t in repeats] for key, repeats in timings.items()}
    base = median(rates["plain NumPy loop", "matrix"])
    of = {"rules": name, "users": users, "items": world.matrix.n_items}
    rows = [
        {
            "environment": kind, "reward": reward, **of, "rate": median(found),
            "lowest": min(found), "highest": max(found), "of_plain": median(found) / base,
            "steps": timings[kind, reward][0].steps, "ended": timings[kind, reward][0].ended,
        }
        for (kind, reward), found in rates.items()
    ]  # fmt: skip
    absent = [kind for kind in peers if (kind, "matrix") not in plays]
    return rows + [{"environment": kind, "reward": "matrix", **of, "rate": None} for kind in absent]


def memory(users: int, steps: int) -> dict[str, float]:
    """Return what a world of ``users`` takes at most, in GB, if nothing holds all its rewards."""
    libraries, log = peak() / 1e3, made_up_log(users, STEAM[1])
    source, histories = untrained(log), Histories.from_log(log)
    timing = batched(draw(histories, source, "no_repeat", max(FULL.users), steps))
    rate = timing.steps / timing.seconds
    size = {"users": users, "items": STEAM[1]}
    return size | {"peak": peak() / 1e3, "libraries": libraries, "rate": rate}


def main() -> int:
    """Measure everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the same in seconds, for tests")
    parser.add_argument("--out", type=Path, help="where the result goes (default: book/_results)")
    parser.add_argument("--memory", action="store_true", help="print the memory taken, no more")
    arguments = parser.parse_args()
    settings = TINY if arguments.tiny else FULL
    torch.set_num_threads(os.cpu_count() or 1)
    if arguments.memory:
        print(json.dumps(memory(settings.steam, settings.steam_steps)))
        return 0
    if arguments.tiny and arguments.out is None:
        parser.error("--tiny needs --out: tiny results do not belong into the book")
    where = arguments.out or ROOT / "book" / "_results"
    folder = (arguments.out or ROOT / "runs") / "environment-run"
    kept = folder / f"{commit()}.jsonl"  # other code has other timings
    lines = read_jsonl(kept) if kept.exists() else []
    done = {tuple(line["key"]): line["found"] for line in lines}
    folder.mkdir(parents=True, exist_ok=True)

    def part(*key: Any, work: Callable[[], Any]) -> Any:
        if key not in done:
            done[key] = work()
            append_jsonl(kept, {"key": key, "found": done[key]})
            print(*key, flush=True)
        return done[key]

    def steam() -> Any:
        call = [sys.executable, __file__, "--memory", *(["--tiny"] if arguments.tiny else [])]
        return json.loads(subprocess.run(call, capture_output=True, check=True).stdout)

    # First, while this process is small: a child's peak counts from that of its parent.
    found = {"memory": part("memory", work=steam), "rows": []}
    for items in ITEMS:
        world = made_up_world(settings.stored, items)
        sizes = [*settings.users, *(settings.peers.values() if items == ITEMS[0] else ())]
        for name in NAMES:
            for users in sorted(set(sizes)):
                work = partial(measure, world, name, users, settings)
                found["rows"] += part(items, name, users, work=work)
    results = {
        "command": "python benchmarks/environment.py", "settings": settings._asdict(),
        "seeds": [0], **found, "processors": os.cpu_count(), "threads": torch.get_num_threads(),
        "versions": versions() | {"stable_baselines3": peer_version()}, "commit": commit(),
    }  # fmt: skip
    write_json(where / "environment.json", results)
    shutil.rmtree(folder)  # the next time everything is measured anew
    return 0


if __name__ == "__main__":
    sys.exit(main())
