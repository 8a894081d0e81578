"""How fast a policy serves without torch, and how near its probabilities are to torch's.

    python benchmarks/serving.py          # needs no data; a minute

Two policies answer users who have rated ten items: the one that comes with the package, and an
untrained one of the default size on 13,864 items with random features, for speed depends on sizes
only. One call reads a history, forbids what was seen, finds the ten likeliest items and their
probabilities, and looks up their titles. NumPy and torch do so in turns for the same histories, on
one thread. The result is ``book/_results/serving.json``: milliseconds that passed (``median`` and
``p99``) and that the processor worked (``cpu``, a median), which depends less on what else it does;
lists of ten a second (``rate``); torch's median over NumPy's (``ratio``); sizes of files in bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from domains import Experiment

from minirec._io import FloatArray, IntArray, generator
from minirec.config import Config, config_from
from minirec.export import ABOUT, ARRAYS, export, load_run
from minirec.forward import chances
from minirec.rl.policy import RecPolicy, build_policy
from minirec.serve import Recommender

ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LENGTH, K = 10, 10
Play = Callable[[list[list[int]], list[list[float]]], list[Any]]


class Settings(NamedTuple):
    """What the measurement takes; the result holds it."""

    items: int = 13_864  # Amazon's number of books in the IL-Rec paper
    calls: int = 2_000  # of one user
    users: int = 256  # in a batch
    batches: int = 40
    compared: int = 1_000  # users whose probabilities are compared


class Users(NamedTuple):
    """Histories of some users: items and ratings, (B, 10), and the same as lists."""

    items: IntArray
    ratings: FloatArray

    def lists(self) -> tuple[list[list[int]], list[list[float]]]:
        """Return them as a program would hold them."""
        return self.items.tolist(), self.ratings.tolist()


def untrained(n_items: int, seed: int) -> tuple[RecPolicy, list[str]]:
    """Return a policy of the default size that has learned nothing, and made-up titles."""
    config: Config = config_from({})
    rng = generator(seed, "features")
    features = rng.standard_normal((n_items, config.world.dim), np.float32)
    learner = config.learner
    policy = build_policy(torch.from_numpy(features), seed, dim=learner.dim, hidden=learner.hidden)
    return policy.eval(), [f"Title {item}" for item in range(n_items)]


def draw(users: int, n_items: int, rng: np.random.Generator) -> Users:
    """Draw histories of ten different items with half and whole points."""
    items = np.array([rng.choice(n_items, LENGTH, replace=False) for _ in range(users)])
    return Users(items, rng.integers(2, 11, items.shape).astype(np.float32) / 2)


class Torch:
    """Serves with torch, as the package did before: the table is computed once."""

    def __init__(self, policy: RecPolicy, titles: list[str]) -> None:
        self.policy, self.titles = policy, titles
        with torch.no_grad():
            self.table = policy.table()

    @torch.no_grad()
    def probabilities(self, items: list[list[int]], ratings: list[list[float]]) -> torch.Tensor:
        """Return the probabilities of all items, (B, N); what was seen has 0."""
        past = torch.tensor(items)
        state = self.policy.start(self.table, past, torch.tensor(ratings))
        mask = torch.ones(len(items), len(self.titles), dtype=torch.bool)
        mask.scatter_(1, past, False)
        return self.policy.act(self.table, state, mask)[0].softmax(1)

    def recommend(self, items: list[list[int]], ratings: list[list[float]]) -> list[Any]:
        """Return ten titles and probabilities for each."""
        found = self.probabilities(items, ratings).topk(K)
        rows = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [[(self.titles[i], p) for i, p in zip(*row, strict=True)] for row in rows]


def without_torch(
    served: Recommender, items: list[list[int]], ratings: list[list[float]]
) -> list[Any]:
    """Return what :meth:`Torch.recommend` returns."""
    found = (array.tolist() for array in served.recommend_items(items, ratings, K))
    rows = zip(*found, strict=True)
    return [[(served.titles[i], p) for i, p in zip(*row, strict=True)] for row in rows]


def take_turns(plays: dict[str, Play], users: Users, size: int) -> dict[str, FloatArray]:
    """Time each way to serve ``size`` users at a time: (calls, 2), milliseconds.

    The first column is the time that passed, the second what the processor worked for it.

    Each way serves a twentieth of them, then the next way the same: what else the machine does in
    the meantime is spread over all, and no way finds its tables out of the cache at each call. The
    first twentieth is not counted.
    """
    starts = np.arange(0, len(users.items), size)
    found: dict[str, list[list[list[float]]]] = {name: [] for name in plays}
    for block in np.array_split(starts, min(20, len(starts))):
        some = [Users(*(array[i : i + size] for array in users)).lists() for i in block]
        for name, play in plays.items():
            times = []
            for one in some:
                start = time.perf_counter(), time.thread_time()
                play(*one)
                end = time.perf_counter(), time.thread_time()
                times.append([1000 * (b - a) for a, b in zip(start, end, strict=True)])
            found[name].append(times)
    return {name: np.concatenate(blocks[1:]) for name, blocks in found.items()}


def speed(served: Recommender, torchs: Torch, settings: Settings, seed: int) -> dict[str, Any]:
    """Time single calls, with item numbers and with titles, and batches."""
    rng, n_items = generator(seed, "histories"), len(served.titles)
    numbers: dict[str, Play] = {
        "numpy": partial(without_torch, served), "torch": torchs.recommend
    }  # fmt: skip

    def titled(items: list[list[int]], ratings: list[list[float]]) -> list[Any]:
        named = [served.titles[item] for item in items[0]]
        return served.recommend(list(zip(named, ratings[0], strict=True)), K)

    calls = draw(settings.calls, n_items, rng)
    one = take_turns(numbers | {"numpy, titles given": titled}, calls, 1)
    many = draw(settings.users * settings.batches, n_items, rng)
    batch = take_turns(numbers, many, settings.users)
    row: dict[str, Any] = {}
    for part, size, timed in (("call", 1, one), ("batch", settings.users, batch)):
        row[part] = {}
        for name, times in timed.items():
            (median, worked), p99 = np.median(times, 0), np.quantile(times[:, 0], 0.99)
            rate = 1000 * size / median
            row[part][name] = {"median": median, "p99": p99, "cpu": worked, "rate": rate}
        row[part]["ratio"] = row[part]["torch"]["median"] / row[part]["numpy"]["median"]
    return row


def difference(served: Recommender, torchs: Torch, users: int, seed: int) -> dict[str, Any]:
    """Compare all probabilities and the lists of ten."""
    some = draw(users, len(served.titles), generator(seed, "compared"))
    most, likeliest, equal, spread = 0.0, 0.0, 0, 0.0
    everything = np.arange(len(served.titles))
    for first in range(0, users, 100):
        part = Users(*(array[first : first + 100] for array in some))
        expected = torchs.probabilities(*part.lists()).numpy()
        forward = served.forward
        state = forward.read(forward.start(len(part.items)), *part)
        logits = forward.logits(state)
        np.put_along_axis(logits, part.items, -np.inf, 1)
        found = chances(logits, np.tile(everything, (len(logits), 1)))
        apart = np.abs(found - expected)
        most, likeliest = max(most, apart.max()), max(likeliest, expected.max())
        spread = max(spread, (apart / np.maximum(expected, 1e-6)).max())
        ways = without_torch(served, *part.lists()), torchs.recommend(*part.lists())
        pairs = zip(*ways, strict=True)
        equal += sum([t for t, _ in a] == [t for t, _ in b] for a, b in pairs)
    return {
        "users": users, "largest": most, "largest relative": spread, "likeliest": likeliest,
        "equal lists": equal,
    }  # fmt: skip


def measure(policy: RecPolicy, titles: Any, settings: Settings, seed: int) -> dict[str, Any]:
    """Export a policy, load it, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        where = export(policy, titles, folder)
        size = {name: (where / name).stat().st_size for name in (ARRAYS, ABOUT)}
        start = time.perf_counter()
        served = Recommender.load(where)
        load = 1000 * (time.perf_counter() - start)
    torchs = Torch(policy, list(titles))
    return {
        "items": len(titles), "features": policy.width - 1, "dim": policy.dim,
        "hidden": policy.tracker.width, "bytes": size, "load": load,
        **speed(served, torchs, settings, seed),
        "difference": difference(served, torchs, settings.compared, seed),
    }  # fmt: skip


def main() -> int:
    """Measure both policies and write the result."""
    experiment = Experiment("serving", __doc__.splitlines()[0], 1)
    if any(os.environ.get(name) != value for name, value in ONE.items()):
        return subprocess.call([sys.executable, *sys.argv], env=os.environ | ONE)
    torch.set_num_threads(1)
    settings = Settings(700, 20, 32, 3, 100) if experiment.tiny else Settings()
    seed = experiment.seeds[0]
    policies = {
        "untrained": lambda: untrained(settings.items, seed),
        "bundled": load_run,
    }
    rows = []
    for name, make in policies.items():
        found = experiment.part(name, lambda make=make: measure(*make(), settings, seed))
        rows.append({"policy": name} | found)
    experiment.write({"settings": settings._asdict(), "threads": 1, "k": K, "length": LENGTH,
                      "rows": rows})  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
