"""How much to trust each demonstrated step: advantage weights, discriminator weights, fusion."""

from __future__ import annotations

import torch
from torch import Tensor


def demonstration_weights(
    advantages: Tensor, logits: Tensor, *, temperature: float = 1.0, mix: float = 0.5,
    clip: float = 10.0,
) -> Tensor:  # fmt: skip
    """Return one weight per demonstrated step, with mean 1 over *all* demonstrations.

    w_env = exp(A / temperature) prefers steps that paid more than expected, with A standardised
    over all demonstrations; w_irl = D / (1 - D) = exp(logit) prefers steps that the discriminator
    still takes for the demonstrator's. Their fusion is w_env^mix * w_irl^(1 - mix).

    Args:
        advantages: A of each step under the present critic, shape (M,).
        logits: The discriminator's logits, positive for *demonstrator*, shape (M,).
        temperature: How sharply w_env prefers good steps; dimensionless, above 0.
        mix: Exponent alpha of w_env, between 0 and 1.
        clip: No weight is above this many times, or below one over this many times, the median.

    Source:
        IL-Rec (arXiv 2510.13229), w_env, w_irl and their fusion; standardising and clipping
        around the median are ours. Built in chapter 10.
    """
    standard = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
    exponent = mix * standard / temperature + (1 - mix) * logits
    limit = torch.log(torch.tensor(clip, device=exponent.device))
    weights = (exponent - exponent.median()).clamp(-limit, limit).exp()
    return weights / weights.mean()
