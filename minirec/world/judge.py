"""The judge: biased matrix factorisation with item features, fitted where no policy has looked.

On real data nobody knows the truth. A policy trained on one model is therefore paid by another one
of a different kind, fitted on other rows by alternating ridge regressions.

Source: Koren, Bell and Volinsky, *Matrix Factorization Techniques for Recommender Systems*,
Computer 2009; that features say where an item's factors are expected follows Agarwal and Chen,
*Regression-based Latent Factor Models*, KDD 2009. Chapter: 03-world-model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray, generator, progress
from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions
from minirec.world.rows import HIGH, LOW, item_features, with_negatives

DIM, FACTOR_PENALTY, BIAS_PENALTY = 6, 10.0, 2.5  # penalties in rating variances, a row weighs 1


@dataclass(frozen=True)
class JudgeSource:
    """Rating = mean + user bias + item bias + <user, item>, clipped to 1..5.

    Attributes:
        mean: Mean rating.
        users: Factors and, last, bias of each user, (U, d + 1); zero without rows.
        items: Factors and, last, bias of each item, (N, d + 1).
        rmse: Error on a tenth of the rows when they were held out, in rating points.
        rmse_mean: Error of the mean rating on the same rows.
    """

    mean: float
    users: FloatArray
    items: FloatArray
    rmse: float = float("nan")
    rmse_mean: float = float("nan")

    @property
    def n_users(self) -> int:
        """Number U of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number N of items."""
        return len(self.items)

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Predict the ratings of pairs, users (B,) and items (B,): float32 (B,) in 1..5."""
        u, i = self.users[users], self.items[items]
        taste = np.einsum("bd,bd->b", u[:, :-1], i[:, :-1])
        return np.asarray(np.clip(self.mean + u[:, -1] + i[:, -1] + taste, LOW, HIGH), np.float32)

    def item_vectors(self) -> FloatArray:
        """Return factors and, last, bias of the items: (N, d + 1) float32."""
        return self.items.astype(np.float32)


def fit_judge(
    hidden: Interactions, catalogue: Catalogue, *, seed: int, sweeps: int = 12,
    penalty: float = FACTOR_PENALTY,
) -> JudgeSource:
    """Fit the judge twice: without a tenth of the rows for its error, then on all of them.

    Args:
        hidden: Rows that no policy and no world model has seen; positives only get negatives.
        catalogue: Its items; genres and popularity set where an item's factors are expected.
        seed: Decides sampled negatives, held-out rows and the starting point.
        sweeps: Rounds of users and items.
        penalty: How strongly taste is drawn to what is expected, in rating variances.

    Returns:
        The judge, with its error.
    """
    users, items, ratings, _ = with_negatives(hidden, generator(seed, "judge negatives"))
    held = generator(seed, "judge held-out").random(len(users)) < 0.1
    start = 0.3 * generator(seed, "judge start").normal(size=(catalogue.n_items, DIM + 1))
    features = np.column_stack([item_features(hidden, catalogue), np.ones(catalogue.n_items)])
    with progress(2 * sweeps, "judge") as advance:

        def fit(rows: BoolArray) -> JudgeSource:
            log = users[rows], items[rows], ratings[rows].astype(np.float64)
            return _factorise(log, hidden.n_users, features, start, sweeps, penalty, advance)

        trial, judge = fit(~held), fit(np.ones_like(held))
    rmse = _rms(ratings[held] - trial.rewards(users[held], items[held]))
    return replace(judge, rmse=rmse, rmse_mean=_rms(ratings[held] - trial.mean))


def _factorise(
    log: tuple[IntArray, IntArray, FloatArray], n_users: int, features: FloatArray,
    items: FloatArray, sweeps: int, penalty: float, advance: Callable[[int], None],
) -> JudgeSource:  # fmt: skip
    """Alternate between users and items, starting from ``items`` (N, d + 1); log rows are (M,)."""
    of_user, of_item, ratings = log
    mean = float(ratings.mean())
    weights = np.append(np.full(DIM, penalty), BIAS_PENALTY) * ratings.var()
    normal = features.T @ features + np.eye(features.shape[1])
    for _ in range(sweeps):
        nothing = np.zeros((n_users, items.shape[1]))
        users = _ridge(of_user, items[of_item], ratings - mean, nothing, weights)
        expected = features @ np.linalg.solve(normal, features.T @ items)
        items = _ridge(of_item, users[of_user], ratings - mean, expected, weights)
        advance(1)
    return JudgeSource(mean, users, items)


def _ridge(
    keys: IntArray, other: FloatArray, target: FloatArray, expected: FloatArray, penalty: FloatArray
) -> FloatArray:
    """Regress each group's rows of ``target`` (M,) on the other side's factors (M, d + 1).

    Args:
        keys: Group of each row, (M,).
        other: Factors and, last, bias of the other side, for each row.
        target: Rating less the mean.
        expected: What the n groups are drawn towards, (n, d + 1).
        penalty: How strongly, (d + 1,).
    """
    design = np.column_stack([other[:, :-1], np.ones(len(other))])
    gram = np.tile(np.diag(penalty), (len(expected), 1, 1))
    moment = expected * penalty
    order = np.argsort(keys, kind="stable")
    present, starts = np.unique(keys[order], return_index=True)
    rows, rest = design[order], (target - other[:, -1])[order]
    gram[present] += np.add.reduceat(rows[:, :, None] * rows[:, None, :], starts)
    moment[present] += np.add.reduceat(rows * rest[:, None], starts)
    return np.asarray(np.linalg.solve(gram, moment[:, :, None])[:, :, 0])


def _rms(error: FloatArray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt((error**2).mean()))
