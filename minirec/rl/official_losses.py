"""What IL-Rec's released code minimises, and how it weighs demonstrated steps."""

from __future__ import annotations

import torch
from torch import Tensor

from minirec.rl.settings import OfficialConfig

LEAST, MOST = 1e-6, 1e6  # of every weight, on the way and in the end


def official_weights(advantages: Tensor, logits: Tensor, config: OfficialConfig) -> Tensor:
    """Return the weights of the demonstrated steps whose turn it is, mean 1 over these alone.

    w_env = exp(A / beta), w_irl = (1 / D - 1)^gamma, w = w_env^alpha w_irl^(1 - alpha), each
    clipped. D is the released code's: the probability of *policy*, sigmoid(-logits).

    Args:
        advantages: A of each step in rating points, shape (M,).
        logits: Positive for *demonstrator*, shape (M,).
        config: Settings.

    Source:
        The released code of IL-Rec (arXiv 2510.13229). Built in chapter 12.
    """
    w_env = (advantages.double() / config.temperature).clamp(-80, 80).exp().clamp(LEAST, MOST)
    d = torch.sigmoid(-logits.double()).clamp(1e-8, 1 - 1e-8)
    w_irl = (1 / d - 1).pow(config.irl_exponent).clamp(LEAST, MOST)
    w = (w_env**config.mix * w_irl ** (1 - config.mix)).clamp(LEAST, MOST)
    return (w / w.mean()).clamp(LEAST, MOST)


def critic_loss(q: Tensor, v: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return mean(w (Q - y)^2) + mean((V - y)^2) of M steps (a scalar); all arguments (M,).

    Source:
        The released code of IL-Rec (arXiv 2510.13229). Built in chapter 12.
    """
    return (weights * (q - target) ** 2).mean() + ((v - target) ** 2).mean()


def policy_loss(
    logits: Tensor, acts: Tensor, gains: Tensor, shown: Tensor, weights: Tensor,
    config: OfficialConfig,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the loss of a policy step and the mean entropy in nats (two scalars).

    L = -mean(A log pi) - alpha_ent mean(H) + lambda_imit mean over demonstrations(-w log pi),
    where A are the gains, standardised over the M steps and clipped.

    Args:
        logits: Squashed, shape (M, N).
        acts: Items, shape (M,).
        gains: Q - V, shape (M,), without gradients.
        shown: Which steps were demonstrated, shape (M,); there may be none.
        weights: Of each step, shape (M,); those of played steps do not count.
        config: Settings.

    Source:
        The released code of IL-Rec (arXiv 2510.13229). Built in chapter 12.
    """
    log_policy = logits.log_softmax(1)
    chosen = log_policy.gather(1, acts[:, None]).squeeze(1)
    entropy = -(log_policy.exp() * log_policy).sum(1).mean()
    advantages = (gains - gains.mean()) / (gains.std(correction=0) + 1e-8)
    advantages = advantages.clamp(-config.advantage_clip, config.advantage_clip)
    imitation = -(weights * chosen * shown).sum() / shown.sum().clamp(min=1)
    loss = -(advantages * chosen).mean() - config.entropy * entropy
    return loss + config.imitation * imitation, entropy.detach()
