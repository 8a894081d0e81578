"""What a demonstrator's choices add to what a log has told: maximum-entropy IRL of one turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray

SHARPEST = 30.0  # nats a rating point; where choices are few, nothing else might bound it


class Choices(NamedTuple):
    """M choices of a demonstrator among N items, and what the log makes of each."""

    scores: FloatArray  # (M, N), predicted rewards, rating points
    tastes: FloatArray  # (M, d), of the users, as far as they were known by then
    acts: IntArray  # (M,), what was chosen
    free: BoolArray  # (M, N), what might have been


class Learned(NamedTuple):
    """What the choices tell beyond the scores, in rating points."""

    vectors: FloatArray  # (N, d), to be multiplied with a taste: whom an item suits
    common: FloatArray  # (N,), what everybody is shown it for
    sharpness: float  # of the choices, nats a rating point


def fit_choices(
    choices: Choices, counts: IntArray, *, spread: float = 0.5, common: float = 1.0
) -> Learned:
    """Return the correction of the scores under which the choices are most probable.

    A choice among the free items has the probability of a softmax of
    ``sharpness (score + <taste, vectors>) + common``. Both parts have normal priors around 0: the
    less the log tells of an item, the further its vector may move.

    Args:
        choices: What was chosen, from what.
        counts: Ratings of each item behind the scores, (N,).
        spread: Standard deviation of a vector's coordinates where there is no rating, in rating
            points; smaller by sqrt(1 + n) with n.
        common: Standard deviation of the common part, nats.

    Returns:
        The correction.

    Source:
        Ziebart et al. (2008), maximum-entropy IRL, for a horizon of one: McFadden's (1974)
        multinomial logit. The priors are ours. Built in chapter 12.
    """
    from scipy.optimize import minimize

    scores, tastes, acts, free = choices
    (n_choices, n_items), dim = scores.shape, tastes.shape[1]
    precision = (1 + counts[:, None]) / spread**2
    chosen = np.arange(n_choices), acts

    def parts(flat: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        table = flat[:-1].reshape(n_items, dim + 1)
        return table[:, :-1], table[:, -1], float(np.exp(flat[-1]))

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        vectors, shared, sharpness = parts(flat)
        points = scores + tastes @ vectors.T
        logits = np.where(free, sharpness * points + shared, -np.inf)
        logits -= logits.max(1, keepdims=True)
        shares = np.exp(logits)
        total = shares.sum(1, keepdims=True)
        priors = (precision * vectors**2).sum() / 2 + (shared**2).sum() / (2 * common**2)
        value = np.log(total).sum() - logits[chosen].sum() + priors
        more = shares / total  # expected less observed
        more[chosen] -= 1
        by_taste = sharpness * more.T @ tastes + precision * vectors
        slopes = np.column_stack([by_taste, more.sum(0) + shared / common**2])
        return float(value), np.append(slopes, sharpness * (more * points).sum())

    start = np.append(np.zeros(n_items * (dim + 1)), 1.0)
    bounds = [(None, None)] * (len(start) - 1) + [(-np.log(SHARPEST), np.log(SHARPEST))]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    vectors, shared, sharpness = parts(found.x)
    return Learned(vectors, shared / sharpness, sharpness)
