"""What a demonstrator's choices add to what a log has told: maximum-entropy IRL of one turn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Choices(NamedTuple):
    """M choices of a demonstrator among N items, and what the log makes of each."""

    scores: Tensor  # (M, N), predicted rewards, rating points
    tastes: Tensor  # (M, d), of the users, as far as they were known by then
    acts: Tensor  # (M,), what was chosen
    free: Tensor  # (M, N), what might have been


class Learned(NamedTuple):
    """What the choices tell beyond the scores, in rating points."""

    vectors: Tensor  # (N, d), to be multiplied with a taste: whom an item suits
    common: Tensor  # (N,), what everybody is shown it for
    sharpness: float  # of the choices, nats a rating point


def fit_choices(
    choices: Choices, counts: Tensor, *, spread: float = 0.5, common: float = 1.0, steps: int = 60
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
        steps: Of L-BFGS, at most.

    Returns:
        The correction.

    Source:
        Ziebart et al. (2008), maximum-entropy IRL, for a horizon of one: McFadden's (1974)
        multinomial logit. The priors are ours. Built in chapter 12.
    """
    scores, tastes, acts, free = choices
    n_items, dim = scores.shape[1], tastes.shape[1]
    vectors = torch.zeros(n_items, dim, requires_grad=True)
    shared = torch.zeros(n_items, requires_grad=True)
    log_sharpness = torch.ones((), requires_grad=True)
    precision = (1 + counts[:, None]) / spread**2
    optimiser = torch.optim.LBFGS(
        [vectors, shared, log_sharpness], max_iter=steps, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = log_sharpness.exp() * (scores + tastes @ vectors.T) + shared
        log_probs = logits.masked_fill(~free, -torch.inf).log_softmax(1)
        priors = (precision * vectors**2).sum() / 2 + (shared**2).sum() / (2 * common**2)
        total = priors - log_probs.gather(1, acts[:, None]).sum()
        torch.autograd.backward(total)
        return total

    optimiser.step(loss)
    sharpness = log_sharpness.detach().exp()
    return Learned(vectors.detach(), shared.detach() / sharpness, float(sharpness))
