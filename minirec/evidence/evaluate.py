"""Stage 5: judge everything on users that no stage has seen, each under the same rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minirec._io import IntArray, generator
from minirec.data.interactions import Interactions
from minirec.evidence.metrics import episode_metrics, play, share
from minirec.world import controls as untrained
from minirec.world.batched import BatchedRecEnv
from minirec.world.deepfm import DeepFMSource
from minirec.world.oracle import feasible_oracle, upper_bound
from minirec.world.sources import TruthSource

Row = dict[str, Any]


@dataclass(frozen=True)
class Judge:
    """The environment that pays the scores, its users, and what the best plan would earn.

    Attributes:
        env: Paid by the truth, or on real data by a model that nothing trained on.
        model_env: The same users and rules, paid by the world model: for the exploitation gap.
        users: Unseen users, shape (B,).
        oracle: Return of the feasible oracle for each, shape (B,), rating points.
        lengths: Its lengths, shape (B,), items.
        upper: A return that no plan exceeds, shape (B,), rating points.
    """

    env: BatchedRecEnv
    model_env: BatchedRecEnv
    users: IntArray
    oracle: Any
    lengths: Any
    upper: Any

    @classmethod
    def of(cls, env: BatchedRecEnv, model_env: BatchedRecEnv, users: IntArray) -> Judge:
        """Work out the oracle and the upper bound for ``users`` (B,)."""
        world = env.source, env.rules, env.histories, users
        oracle, lengths = feasible_oracle(*world)
        return cls(env, model_env, users, oracle, lengths, upper_bound(*world))

    def row(self, returns: Any, lengths: Any) -> Row:
        """Return the numbers of one table row from returns and lengths of the first B' users."""
        bounds = {"share_oracle": self.oracle, "share_upper": self.upper}
        shares = {name: share(returns, bound[: len(returns)]) for name, bound in bounds.items()}
        return {**episode_metrics(returns, lengths), **shares}

    def score(self, policy: untrained.Policy, *, gap: bool = False) -> Row:
        """Play ``policy`` and return its row; with ``gap`` also what the world model says of it."""
        episodes = play(policy, self.env, self.users)
        row = self.row(episodes.returns, episodes.lengths)
        row |= {name: getattr(episodes, name) for name in ("distinct", "repeats", "ends")}
        if gap:
            believed = float(play(policy, self.model_env, self.users).returns.mean())
            row |= {"model_return": believed, "gap": believed - row["r_traj"]}
        return row


def controls(
    judge: Judge, train: Interactions, model: DeepFMSource, train_env: BatchedRecEnv,
    train_users: IntArray, seed: int,
) -> Iterator[tuple[str, str, Row]]:  # fmt: skip
    """Score everything that needs no training, as (name, kind, row).

    The informed bound is there where the truth pays.

    Args:
        judge: Pays.
        train: The training users' log, for popularity.
        model: The world model over the visible histories of the judged users.
        train_env: The training environment, in which the best fixed list is searched, and whose
            distances those that are greedy on the world model go by.
        train_users: Its users, shape (B',).
        seed: Seed of the random policy.
    """
    rules = judge.env.rules
    block = 0 if rules.repeats == "masked" else rules.window
    near, some = untrained.Near.of(train_env), train_users[:1000]
    fixed = untrained.best_fixed_list(train_env.source, train_env.rules, train_env.histories, some)
    policies: list[untrained.Policy] = [
        untrained.UniformRandom(generator(seed, "uniform random")),
        untrained.Popularity(np.bincount(train.items, minlength=train.n_items), block),
        untrained.FixedList(fixed, train.n_items, block),
        untrained.Greedy(model, block, near),
        untrained.GreedyRefit(model.predict_histories, block, near),
    ]
    for policy in policies:
        greedy = isinstance(policy, untrained.Greedy | untrained.GreedyRefit)
        yield policy.name, "control", judge.score(policy, gap=greedy)
    if isinstance(judge.env.source, TruthSource):
        bound = untrained.InformedBound(judge.env.source.truth, block, untrained.Near.of(judge.env))
        yield bound.name, "bound", judge.score(bound)
    yield "feasible oracle", "bound", judge.row(judge.oracle, judge.lengths)
