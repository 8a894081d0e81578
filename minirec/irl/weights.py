"""How much to trust each demonstrated step: advantage weights, discriminator weights, fusion."""

from __future__ import annotations

import torch
from torch import Tensor


def log_w_env(advantages: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return log w_env = A / temperature: a step that paid more than expected weighs more.

    Args:
        advantages: A of each step under the present critic, shape (M,), any unit: they are
            standardised over *all* demonstrations.
        temperature: In standard deviations, above 0; the smaller, the sharper.

    Source:
        IL-Rec (arXiv 2510.13229), w_env; standardising is ours. Built in chapter 10.
    """
    return (advantages - advantages.mean()) / (advantages.std() + 1e-6) / temperature


def log_w_irl(logits: Tensor, *, exponent: float = 1.0) -> Tensor:
    """Return log w_irl = exponent log(D / (1 - D)), which is the logits times ``exponent``.

    A step that the discriminator still takes for the demonstrator's weighs more.

    Args:
        logits: Positive for *demonstrator*, shape (M,).
        exponent: IL-Rec's gamma.

    Source:
        IL-Rec (arXiv 2510.13229), w_irl. Built in chapter 10.
    """
    return exponent * logits


def fuse(log_env: Tensor, log_irl: Tensor, *, mix: float = 0.5, clip: float = 10.0) -> Tensor:
    """Return w = w_env^mix w_irl^(1 - mix), clipped, with mean 1 over *all* demonstrations.

    Args:
        log_env: Of each step, shape (M,).
        log_irl: Of each step, shape (M,).
        mix: Exponent alpha of w_env, between 0 and 1.
        clip: No weight is above this many times, or below one over this many times, the median.

    Source:
        IL-Rec (arXiv 2510.13229), the fusion; clipping around the median is ours. Built in
        chapter 10.
    """
    exponent = mix * log_env + (1 - mix) * log_irl
    limit = torch.log(torch.tensor(clip, device=exponent.device))
    weights = (exponent - exponent.median()).clamp(-limit, limit).exp()
    return weights / weights.mean()


def demonstration_weights(
    advantages: Tensor, logits: Tensor, *, temperature: float = 1.0, mix: float = 0.5,
    clip: float = 10.0,
) -> Tensor:  # fmt: skip
    """Return the fusion of w_env and w_irl (exponent 1), one weight a step, shape (M,).

    The arguments are those of :func:`log_w_env`, :func:`log_w_irl` and :func:`fuse`.
    """
    log_env = log_w_env(advantages, temperature=temperature)
    return fuse(log_env, log_w_irl(logits), mix=mix, clip=clip)
