"""Mend a world model by demonstrations, as far as the log bears them out."""

from __future__ import annotations

import numpy as np
import torch

from minirec._io import FloatArray, IntArray
from minirec.data.interactions import Interactions
from minirec.irl.choices import Choices, Learned, fit_choices
from minirec.rl.imitation import Demonstrations
from minirec.world.deepfm import DeepFM, held_out


@torch.no_grad()
def choices_of(model: DeepFM, demos: Demonstrations) -> Choices:
    """Return the M demonstrated steps as choices: each user as the model saw them by then."""
    table, length = model.catalogue(), demos.start_items.shape[1]
    items = torch.cat([demos.start_items, demos.acts], 1).cpu()
    rewards = torch.cat([demos.start_rewards, demos.rewards], 1).cpu().float()
    valid, acts = demos.valid.cpu(), demos.acts.cpu()
    shape = len(acts), len(table.bias)
    free = torch.ones(shape, dtype=torch.bool) if demos.unseen is None else demos.unseen.cpu()
    turns = []
    for t in range(acts.shape[1]):
        here, act = valid[:, t], acts[:, t : t + 1]
        seen = items[here, : length + t]
        owner, column = (seen < shape[1]).nonzero(as_tuple=True)
        rows = seen[owner, column], rewards[here][owner, column], owner
        users = model.encode(table, *rows, len(seen))
        might = free[here].scatter(1, act[here], True)  # a shuffled item may have been shown before
        turns.append((model.all_items(table, users), users[:, :-2], act[here, 0], might))
        if demos.unseen is not None:
            free = free.scatter(1, act, False)
    return Choices(*(torch.cat(parts).numpy() for parts in zip(*turns, strict=True)))


def corrected(
    model: DeepFM, demos: Demonstrations, log: Interactions, seed: int
) -> tuple[DeepFM, Learned, FloatArray]:
    """Return a world model that also knows what the demonstrations tell.

    What the choices tell beyond the model may be knowledge or fashion: a demonstrator that shows
    everybody the famous looks like one that knows the good. So rows of the log that the model was
    not fitted to decide how much of either part to add.

    Args:
        model: Fitted to ``log`` with ``seed``.
        demos: The demonstrations.
        log: The log.
        seed: See ``model``.

    Returns:
        The corrected model, what the choices told, and the trust in its two parts, (2,) in 0..1.

    Source:
        Ours. Built in chapter 12.
    """
    told = fit_choices(choices_of(model, demos), np.bincount(log.items, minlength=log.n_items))
    trust = trust_in(told, *(part.numpy() for part in held_out(model, log, seed)))
    more = trust[0] * told.vectors, trust[1] * told.common
    return model.moved(*(torch.from_numpy(part).float() for part in more)), told, trust


def trust_in(told: Learned, users: FloatArray, items: IntArray, errors: FloatArray) -> FloatArray:
    """Return how much of each part of ``told`` is borne out by ratings.

    The errors are regressed on what the two parts say of their rows, with a prior of unit variance
    around no trust at all.

    Args:
        told: What the choices told.
        users: Who rated, as the model sees them, (M, d + 2).
        items: What was rated, (M,).
        errors: Rating less prediction, rating points, (M,).

    Returns:
        Trust in vectors and common part, (2,), each in 0..1.
    """
    said = np.stack([(users[:, :-2] * told.vectors[items]).sum(1), told.common[items]], 1)
    gram = said.T @ said + errors.var() * np.eye(2)
    return np.asarray(np.linalg.solve(gram, said.T @ errors).clip(0, 1))
