"""How near is a learned reward to the true one, up to what no demonstration can tell?"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from minirec._io import BoolArray, FloatArray
from minirec.irl.tabular import TabularMDP


def shaping(mdp: TabularMDP, potential: FloatArray) -> FloatArray:
    """Return gamma E[phi(s')] - phi(s), phi of terminal states being 0.

    Args:
        mdp: The world.
        potential: phi, shape (S,) or one a step, (T + 1, S); then phi_T counts as 0 too.

    Returns:
        Shape (S, A) or (T, S, A), 0 in terminal states.

    Source:
        Ng, Harada and Russell (1999). Built in chapter 9.
    """
    phi = np.where(mdp.terminal, 0.0, potential)
    if phi.ndim == 1:
        shaped = mdp.discount * mdp.transition @ phi - phi[:, None]
    else:
        phi[-1] = 0.0
        after = np.einsum("sap,tp->tsa", mdp.transition, phi[1:])
        shaped = mdp.discount * after - phi[:-1, :, None]
    return np.where(mdp.terminal[:, None], 0.0, shaped)


def canonical(
    mdp: TabularMDP, reward: FloatArray, weights: FloatArray | None = None, *,
    constant: bool = True,
) -> FloatArray:  # fmt: skip
    """Return the shortest of all rewards that differ from ``reward`` by shaping alone.

    Args:
        mdp: The world.
        reward: Shape (S, A).
        weights: How much each (s, a) counts, shape (S, A); None counts all that are live and
            allowed alike.
        constant: Whether a constant reward means something. Where episodes can end early it pays
            for survival; where they cannot, it is shaping. False leaves it out in any case.

    Returns:
        Shape (M,), one number for each live, allowed (s, a), times the root of its weight.

    Source:
        Skalse et al. (2024), the minimal canonicalisation, with terminal potentials held at 0.
        Built in chapter 9.
    """
    live = mdp.allowed & ~mdp.terminal[:, None]
    states = np.flatnonzero(~mdp.terminal)
    directions = mdp.discount * mdp.transition[..., states]
    directions[states, :, np.arange(len(states))] -= 1
    root = np.ones(live.sum()) if weights is None else np.sqrt(weights[live])
    matrix, target = directions[live] * root[:, None], reward[live] * root
    matrix = matrix if constant else np.column_stack([matrix, root])
    rest = target - matrix @ np.linalg.lstsq(matrix, target, rcond=None)[0]
    nothing = np.linalg.norm(rest) < 1e-9 * np.linalg.norm(target)  # but for rounding
    return np.zeros_like(rest) if nothing else np.asarray(rest)


def shaping_distance(
    mdp: TabularMDP, learned: FloatArray, truth: FloatArray, weights: FloatArray | None = None, *,
    constant: bool = True,
) -> float:  # fmt: skip
    """Return how far apart two rewards are, up to positive scale and shaping.

    sqrt((1 - cos) / 2) of the angle between their canonical forms: 0 for the same, about 0.71 for
    unrelated ones, 1 for opposites. A reward that is nothing but shaping says nothing: 0.71.

    Args:
        mdp: The world.
        learned: Shape (S, A).
        truth: Shape (S, A).
        weights: As in :func:`canonical`.
        constant: As in :func:`canonical`.

    Source:
        Gleave et al. (2021), EPIC, whose distance this is; Skalse et al. (2024). Built in chapter
        9.
    """
    a, b = (canonical(mdp, reward, weights, constant=constant) for reward in (learned, truth))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / size if size > 1e-12 else 0.0
    return float(np.sqrt(max(0.0, 1 - cosine) / 2))


def rank_correlations(
    learned: FloatArray, truth: FloatArray, where: BoolArray | None = None
) -> FloatArray:
    """Return Spearman's rank correlation over the items, for each user.

    It does not mind offset and scale of a user's rewards, whatever they are.

    Args:
        learned: Shape (B, N), any unit.
        truth: Shape (B, N), any unit.
        where: Which items count, shape (B, N), at least two a user; None counts all.

    Returns:
        Shape (B,); NaN where either is constant.
    """
    kept = np.ones(learned.shape, bool) if where is None else where
    both = (np.where(kept, reward, np.nan) for reward in (learned, truth))
    ranks = (rankdata(reward, axis=1, nan_policy="omit") for reward in both)
    a, b = (rank - np.nanmean(rank, 1, keepdims=True) for rank in ranks)
    spread = np.sqrt(np.nansum(a**2, 1) * np.nansum(b**2, 1))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(a * b, 1) / spread)
