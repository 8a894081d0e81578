"""Do our quit rules say what happened in the recorded sessions of BiLLP?

    python benchmarks/replay_recorded.py     # needs MINIREC_DATA

BiLLP (Shi et al., SIGIR 2024) published the sessions that GPT-3.5 played in its environment. Here
``RecEnv`` is shown every recorded item under the rules ``billp``, and its answers are compared with
what was recorded. The result is ``book/_results/recorded-sessions.json``; it holds counts only.

Read from ``MINIREC_DATA/llm-demos``: ``steps.csv.gz``, one row a recommendation, its reward blank
where the user quit; and ``reward_samples.csv.gz``, every reward that any of the sessions shows.

**What is decided.** The log hides the reward at which a user quits; we know it only if another row
shows it. So two copies of the environment run side by side. In place of an unknown reward one is
paid the least that can be, the other the most. A step is decided if both answer alike.

**What is explained.** The distances between items were not published, so our rule of distance sees
exact repeats only. Where a user quit at a reward that is known to be high enough, another item of
the quit window may have been near. This explanation is refused if all of them are known to be far.
Two items are, once a session of the same environment went on with both in one window (distances
taken as symmetric). A quit that is undecided and has no near item is owed to a low reward.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from main_results import ROOT, commit

from minirec._io import FloatArray, IntArray, UserError, write_json
from minirec.runs import versions
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules

FILES = ("steps.csv.gz", "reward_samples.csv.gz")
COLUMNS = ["domain", "split", "run", "user_id", "item_id", "reward", "done"]
MAX_TURNS = {("steam", "test"): 70}  # elsewhere 50, as the rules ``billp`` say
EARLIEST = "2023-12-24-03-12-28"  # a training run that was paid by an older table, of whole numbers
QUITS = ("low_reward", "distance")
AGREED = {  # our answer, what was recorded -> why both are the same
    ("continue", "continue"): "continued",
    ("max_turn", "capped"): "turn limit",
    ("distance", "quit"): "exact repeat",
    ("low_reward", "quit"): "low reward",
}
NEAR, ELIMINATED, OPEN = "near item", "low reward by elimination", "low reward or near item"
KINDS = dict.fromkeys(AGREED.values(), "agreeing")  # every verdict not named here: disagreeing
KINDS |= {NEAR: "explained", ELIMINATED: "undecided", OPEN: "undecided"}
WRONG: dict[str, dict[str, Any]] = {  # controls: the same comparison should find them wrong
    "no rule of distance": {"min_distance": None},
    "a window of 3": {"window": 3},
    "a window of 5": {"window": 5},
    "a threshold of 1": {"min_reward": 1.0},
    "a threshold of 2.5": {"min_reward": 2.5},
    "quitting at the first recommendation": {"quit_at_first": True},
}


class SampledRewards:
    """A reward source that knows some (user, item) pairs, and of items only which is which."""

    def __init__(
        self, known: dict[tuple[int, int], float], n_users: int, n_items: int, unknown: float
    ) -> None:
        self.known, self.unknown = known, unknown
        self.n_users, self.n_items = n_users, n_items

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return the rewards of pairs, (B,); ``unknown`` where no sample tells."""
        pairs = zip(users.tolist(), items.tolist(), strict=True)
        return np.array([self.known.get(pair, self.unknown) for pair in pairs], np.float32)

    def item_vectors(self) -> FloatArray:
        """Return vectors (N, 1) by which an item is near to itself and to no other."""
        return np.arange(self.n_items, dtype=np.float32)[:, None]


def recorded(session: pd.DataFrame, max_turns: int) -> list[str]:
    """Return what happened after each recommendation of a session."""
    events = ["quit" if done else "continue" for done in session.done]
    if events[-1] == "continue" and len(events) == max_turns:
        events[-1] = "capped"  # shorter: the language model said something that is no item
    return events


def with_window(items: list[int], length: int) -> Iterator[tuple[int, list[int]]]:
    """Yield each item with the ``length`` items before it."""
    for turn, item in enumerate(items):
        yield item, items[max(0, turn - length) : turn]


def verdict(least: str, most: str, event: str, near: bool) -> str:
    """Judge a step by our answers to the least and the most reward and by what was recorded."""
    if event == "quit" and (least in QUITS) != (most in QUITS):
        return OPEN if near else ELIMINATED
    if event == "quit" and most not in QUITS and near:
        return NEAR
    return AGREED.get((most, event), f"recorded {event}, ours {most}")


def verdicts(session: pd.DataFrame, envs: list[RecEnv], far: set[frozenset[int]]) -> Iterator[str]:
    """Show a session to both environments and yield a verdict on each step."""
    rules = envs[0].rules
    for env in envs:
        env.reset(seed=0, options={"user": int(session.user_id.iloc[0])})
    steps = with_window(session.item_id.tolist(), rules.window)
    events = recorded(session, rules.max_turns)
    for (item, window), logged, event in zip(steps, session.reward, events, strict=True):
        (_, paid, *_, least), (*_, most) = (env.step(item) for env in envs)
        if event != "quit" and not math.isclose(paid, logged, abs_tol=1e-3):
            yield "another reward"
            continue
        near = any(other != item and frozenset((item, other)) not in far for other in window)
        yield verdict(*(info.get("reason", "continue") for info in (least, most)), event, near)


def replay(steps: pd.DataFrame, samples: pd.DataFrame, rules: QuitRules) -> list[dict[str, Any]]:
    """Replay all sessions and count the verdicts of each run.

    Args:
        steps: Has the columns ``COLUMNS``, the steps of a session in order.
        samples: Has the columns domain, matrix, user_id, item_id, reward.
        rules: The rules to check; a turn limit in ``MAX_TURNS`` comes before theirs.
    """
    whole = (steps.split == "test") | (steps.run == EARLIEST)
    steps = steps.assign(matrix=np.where(whole, "int", "float"))
    n_users, n_items = int(steps.user_id.max()) + 1, int(steps.item_id.max()) + 1
    nothing = Histories.empty(n_users, n_items)
    counts = []
    for (domain, split, matrix), world in steps.groupby(["domain", "split", "matrix"]):
        samples_here = samples[(samples.domain == domain) & (samples.matrix == matrix)]
        known = samples_here.set_index(["user_id", "item_id"]).reward.to_dict()
        limits = replace(rules, max_turns=MAX_TURNS.get((domain, split), rules.max_turns))
        sources = (SampledRewards(known, n_users, n_items, r) for r in (-math.inf, math.inf))
        envs = [RecEnv(source, limits, nothing, history="none") for source in sources]
        sessions = list(world.groupby(["run", "user_id"], sort=False))
        kept = (session.item_id[session.done == 0].tolist() for _, session in sessions)
        pairs = (pair for items in kept for pair in with_window(items, rules.window))
        far = {frozenset((item, other)) for item, window in pairs for other in window}
        for run in world.run.unique():
            own = [session for (name, _), session in sessions if name == run]
            found = Counter(word for session in own for word in verdicts(session, envs, far))
            ends = Counter(recorded(session, limits.max_turns)[-1] for session in own)
            row = {"domain": domain, "split": split, "matrix": matrix, "run": run}
            row |= {"max_turns": limits.max_turns, "sessions": len(own), "quit": ends["quit"]}
            row |= {"capped": ends["capped"], "invalid": ends["continue"]}
            counts.append(row | totals([found]) | {"verdicts": dict(sorted(found.items()))})
    return counts


def totals(found: list[dict[str, int]]) -> dict[str, int]:
    """Return how many steps there are, and how many of each kind."""
    count = Counter(dict.fromkeys((*KINDS.values(), "disagreeing"), 0))
    for name, number in (pair for words in found for pair in words.items()):
        count[KINDS.get(name, "disagreeing")] += number
    return {"steps": count.total(), "decided": count.total() - count["undecided"], **count}


def main() -> int:
    """Replay the sessions under the rules ``billp``, and under wrong ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "book/_results", help="a folder")
    where = parser.parse_args().out
    if not os.environ.get("MINIREC_DATA"):
        raise UserError("MINIREC_DATA is not set; point it at the folder that holds the data")
    paths = [Path(os.environ["MINIREC_DATA"]) / "llm-demos" / name for name in FILES]
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"no such file: {missing[0]}; MINIREC_DATA must hold the folder llm-demos")
    tables = pd.read_csv(paths[0], usecols=COLUMNS), pd.read_csv(paths[1])
    rules = RULES["billp"]
    found = {"as in BiLLP": replay(*tables, rules)}
    found |= {name: replay(*tables, replace(rules, **wrong)) for name, wrong in WRONG.items()}
    total = {name: totals([run["verdicts"] for run in runs]) for name, runs in found.items()}
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    results = {"command": "python benchmarks/replay_recorded.py", "commit": commit()}
    results |= {"versions": versions(), "sha256": hashes, "rules": asdict(rules)}
    results |= {"runs": found["as in BiLLP"], "total": total}
    write_json(where / "recorded-sessions.json", results)
    print(pd.DataFrame(total).T.to_string())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"replay_recorded: {error}")
