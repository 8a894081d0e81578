"""The world model: fitting a DeepFM to a log, and using it to pay simulated users' rewards.

The network is in :mod:`minirec.world.deepfm_model`. Chapter: 03-world-model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minirec._io import FloatArray, IntArray, generator, progress, torch_generator
from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions
from minirec.data.smallworld import hashed_noise
from minirec.world.deepfm_model import DeepFM
from minirec.world.rows import HIGH, LOW, item_features, with_negatives

__all__ = ["DeepFM", "DeepFMSource", "fit_deepfm", "held_out"]

BATCH_ROWS = 1024
CHUNK = 2**20  # numbers in the first layer at a time
LEARNING_RATE = 0.02
# Penalties on sums of squares; the squared rating error of one row of the log weighs 1.
PENALTY = {
    "item_bias": 2.0, "feature_bias": 2.0, "feature_vectors": 4.0, "user_layer": 60.0,
    "item_layer": 60.0, "second_layer": 60.0, "last_layer": 60.0,
}  # fmt: skip
ITEM_PENALTIES = (6.0, 60.0, 200.0)  # on item_vectors: what is best differs most between logs
TRIAL_EPOCHS = 3  # after which the best of them goes on alone
PATIENCE = 6  # epochs


def fit_deepfm(
    train: Interactions, catalogue: Catalogue, *, seed: int, dim: int = 12, hidden: int = 64,
    epochs: int = 30, save: Callable[[dict[str, Any]], None] = lambda state: None,
    resume: dict[str, Any] | None = None,
) -> DeepFM:  # fmt: skip
    """Fit a DeepFM; return the weights that predicted a held-out tenth of the rows best.

    Each row is predicted from a random part of its user's other rows, so that the model meets
    short histories and long ones. Three penalties on the item vectors compete for a few epochs.

    Args:
        train: The log to learn from, not empty; one of positives only gets sampled negatives.
        catalogue: Its items.
        seed: Decides held-out rows, sampled negatives, initial weights and the order of the data.
        dim: Size d of the fields.
        hidden: Width of the network.
        epochs: Passes over the rows, at most; the learning rate falls to zero over them, and
            PATIENCE of them without a better held-out error end the fit.
        save: Called after each epoch of the winner with all that is needed to go on from there:
            tensors, numbers and containers of them, as ``torch.save`` takes them.
        resume: What ``save`` was given; the result equals that of a fit that never stopped.

    Returns:
        The fitted model.
    """
    data, features = _Rows(train, seed), torch.from_numpy(item_features(train, catalogue))
    tried = min(TRIAL_EPOCHS, epochs)

    def start(penalty: float) -> _Training:
        rng = torch_generator(seed, "deepfm")
        model = DeepFM(features, dim, hidden, float(data.ratings.mean()), rng)
        return _Training(model, data, rng, epochs, penalty)

    with progress(epochs + (len(ITEM_PENALTIES) - 1) * tried, "world model") as advance:
        if resume is None:
            runs = [start(penalty) for penalty in ITEM_PENALTIES]
            for run in runs:
                for _ in range(tried):
                    run.epoch()
                    advance(1)
            winner = min(runs, key=lambda run: run.error)
        else:
            winner = start(resume["penalty"])
            winner.load_state_dict(resume)
            advance((len(ITEM_PENALTIES) - 1) * tried + winner.epochs)
        save(winner.state_dict())
        while winner.epochs < epochs and winner.stale < PATIENCE:
            winner.epoch()
            save(winner.state_dict())
            advance(1)
    return winner.result()


def held_out(model: DeepFM, train: Interactions, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a model makes of the rows that :func:`fit_deepfm` held out.

    Args:
        model: The fitted model.
        train: The log that it was fitted to.
        seed: The seed that it was fitted with.

    Returns:
        Who rated, as the model sees them, (M, d + 1); what, (M,); and rating less prediction, in
        rating points, (M,).
    """
    data = _Rows(train, seed)
    users, predicted = data.held_out(model)
    return users, data.held_items, data.held_ratings - predicted


PARTS, NUMBERS = ("model", "optimizer", "schedule"), ("epochs", "stale", "error", "best")


class _Training:
    """A fit in progress: weights, optimiser, generator, and the best weights so far."""

    def __init__(
        self, model: DeepFM, data: _Rows, rng: torch.Generator, epochs: int, penalty: float
    ) -> None:
        self.model, self.data, self.rng = model, data, rng
        self.penalty = {**PENALTY, "item_vectors": penalty}
        self.optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max(epochs, 1))
        self.epochs, self.stale, self.error = 0, 0, float("inf")
        self.best = copy.deepcopy(model.state_dict())

    def epoch(self) -> None:
        """Pass over the rows once and look at the held-out ones."""
        for batch in self.data.batches(self.rng):
            loss = self._loss(*batch)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
        self.schedule.step()
        error = self.data.held_out_error(self.model)
        self.epochs, self.stale = self.epochs + 1, self.stale + 1
        if error < self.error:
            self.error, self.stale = error, 0
            self.best = copy.deepcopy(self.model.state_dict())

    def _loss(self, rows: Tensor, owner: Tensor, n_users: int, keep: Tensor) -> Tensor:
        """Return the mean squared error of a batch plus its share of the penalties."""
        table = self.model.catalogue()
        items, ratings = self.data.items[rows], self.data.ratings[rows]
        users = self.model.encode_without_self(table, items, ratings, owner, n_users, keep)
        error: Tensor = (self.model(table, users, items) - ratings).square().mean()
        weights = ((self.model.get_parameter(name), p) for name, p in self.penalty.items())
        penalty = torch.stack([p * weight.square().sum() for weight, p in weights]).sum()
        return error + penalty / len(self.data.items)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that the next epoch depends on."""
        state = {name: getattr(self, name) for name in NUMBERS}
        state |= {part: getattr(self, part).state_dict() for part in PARTS}
        state |= {"penalty": self.penalty["item_vectors"], "rng": self.rng.get_state()}
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where ``state_dict`` was called."""
        state = copy.deepcopy(state)
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        for name in NUMBERS:
            setattr(self, name, state[name])
        self.rng.set_state(state["rng"])

    def result(self) -> DeepFM:
        """Return the model with the best weights and its errors."""
        self.model.load_state_dict(self.best)
        mean = self.data.held_ratings - self.data.ratings.mean()
        self.model.errors.copy_(torch.tensor([self.error, float(mean.square().mean().sqrt())]))
        return self.model.eval()


class _Rows:
    """The rows of a log as tensors, sorted by user, and a tenth of them held out."""

    def __init__(self, log: Interactions, seed: int) -> None:
        users, items, ratings, sampled = with_negatives(log, generator(seed, "deepfm negatives"))
        held = torch.from_numpy(generator(seed, "deepfm held-out").random(len(users)) < 0.1)
        _, owner = np.unique(users, return_inverse=True)
        rows = [torch.from_numpy(column) for column in (owner, items, ratings, sampled)]
        self.owner, self.items, self.ratings, self.sampled = (column[~held] for column in rows)
        self.held_owner, self.held_items, self.held_ratings, _ = (column[held] for column in rows)
        self.counts = torch.bincount(self.owner, minlength=int(owner.max()) + 1)
        self.starts = self.counts.cumsum(0) - self.counts

    def batches(self, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor, int, Tensor]]:
        """Yield rows, their owners, the number of owners and which rows are history.

        A user's rows stay together; a batch has about BATCH_ROWS of them. Each user keeps a share
        of the rows, the square root of a uniform number; sampled negatives count as history for
        half of the users only, since who comes to be served has none.
        """
        order = torch.randperm(len(self.counts), generator=rng)
        part = self.counts[order].cumsum(0) // BATCH_ROWS
        for users in torch.split(order, torch.bincount(part).tolist()):
            count = self.counts[users]
            owner = torch.repeat_interleave(count)
            first = self.starts[users] - count.cumsum(0) + count
            rows = torch.arange(len(owner)) + first[owner]
            share = torch.rand(2, len(users), generator=rng)
            negatives = (share[1] < 0.5)[owner]
            keep = torch.rand(len(rows), generator=rng) < share[0].sqrt()[owner]
            keep &= negatives | ~self.sampled[rows]
            if len(rows):
                yield rows, owner, len(users), keep.float()

    @torch.no_grad()
    def held_out(self, model: DeepFM) -> tuple[Tensor, Tensor]:
        """Return the users of the M held-out rows, (M, d + 1), and their predictions, (M,)."""
        table = model.catalogue()
        users = model.encode(table, self.items, self.ratings, self.owner, len(self.counts))
        rated_by = users[self.held_owner]
        return rated_by, model(table, rated_by, self.held_items).clamp(LOW, HIGH)

    def held_out_error(self, model: DeepFM) -> float:
        """Return the root mean squared error on the held-out rows, in rating points."""
        return float((self.held_out(model)[1] - self.held_ratings).square().mean().sqrt())


class DeepFMSource:
    """A fitted DeepFM as a reward source: each user is encoded once from a log.

    Args:
        model: The fitted model.
        histories: The rows that represent each user; a user without rows is an average one.
        noise_seed: If given, the rewards are predictions plus noise, fixed for each pair, with the
            model's held-out error as standard deviation, clipped to 1..5. A simulator pays from
            the predictive distribution, not its mean: without this spread simulated users almost
            never quit. What ``predict_...`` returns stays the mean.
    """

    @torch.inference_mode()
    def __init__(
        self, model: DeepFM, histories: Interactions, *, noise_seed: int | None = None
    ) -> None:
        self.model, self.noise_seed, self._table = model, noise_seed, model.catalogue()
        self.n_users, self.n_items = histories.n_users, histories.n_items
        # one block: small tensors left among large passing ones would keep the memory of those
        self._users = torch.empty(self.n_users, self._table.vectors.shape[1] + 1)
        for first in range(0, self.n_users, 256):
            last = min(first + 256, self.n_users)
            rows = slice(histories.offsets[first], histories.offsets[last])
            owner = histories.users[rows] - first
            said = histories.items[rows], histories.ratings[rows]
            self._users[first:last] = self._encode(*said, owner, last - first)

    @torch.inference_mode()
    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return what pairs are paid, users (B,) and items (B,): float32 (B,) in 1..5."""
        predicted = self.model(self._table, self._users[_long(users)], _long(items))
        return self._paid(predicted.clamp_(LOW, HIGH).numpy(), users, items)

    def reward_rows(self, users: IntArray) -> FloatArray:
        """Return what all items pay for some users, (B,): float32 (B, N) in 1..5."""
        return self._paid(self.predict_rows(users), users[:, None], np.arange(self.n_items))

    @torch.inference_mode()
    def predict_rows(self, users: IntArray) -> FloatArray:
        """Predict all ratings of some users, (B,): float32 (B, N) in 1..5."""
        return self._all_items(self._users[_long(users)])

    @torch.inference_mode()
    def predict_histories(self, items: IntArray, ratings: FloatArray) -> FloatArray:
        """Predict all ratings of the people with these histories.

        Args:
            items: Items of the histories, padded anywhere with ``n_items``, (B, L).
            ratings: Their ratings or rewards, 1..5; anything where padded, (B, L).

        Returns:
            Ratings, float32 (B, N) in 1..5.
        """
        owner, column = np.nonzero(items != self.n_items)
        rows = items[owner, column], ratings[owner, column]
        return self._all_items(self._encode(*rows, owner, len(items)))

    def item_vectors(self) -> FloatArray:
        """Return the vectors that tastes are multiplied with, the baseline last: (N, d) float32.

        The last coordinate, the same for all items, makes room for the baseline, in rating points
        less its mean: so an item vector tells what an item is like and how good it is.
        """
        vectors, baseline = self._table.vectors.detach().clone(), self._table.baseline.detach()
        vectors[:, -1] = baseline - baseline.mean()
        return vectors.numpy()

    def _paid(self, mean: FloatArray, users: IntArray, items: IntArray) -> FloatArray:
        """Add the noise of these pairs, if there is any, to their predictions."""
        if self.noise_seed is None:
            return mean
        noise = float(self.model.errors[0]) * hashed_noise(self.noise_seed, users, items)
        return np.clip(mean + noise, LOW, HIGH).astype(np.float32)

    def _encode(
        self, items: IntArray, ratings: FloatArray, owner: IntArray, n_users: int
    ) -> Tensor:
        """Return the users (U, d + 1) with these rows, (M,) each."""
        said = torch.from_numpy(np.asarray(ratings, dtype=np.float32))
        return self.model.encode(self._table, _long(items), said, _long(owner), n_users)

    def _all_items(self, users: Tensor) -> FloatArray:
        """Predict (B, N) in pieces whose network fits into a processor's cache."""
        pieces = torch.split(users, max(1, CHUNK // self._table.layer.numel()))
        predicted = torch.cat([self.model.all_items(self._table, piece) for piece in pieces])
        return predicted.clamp_(LOW, HIGH).numpy()


def _long(array: IntArray) -> Tensor:
    """Return an integer array as the indices torch wants."""
    return torch.from_numpy(np.asarray(array, dtype=np.int64))
