"""Careful reward sources: pay less for what the world model can only guess. Chapter 3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minirec._io import FloatArray, IntArray, UserError
from minirec.world.deepfm import DeepFMSource
from minirec.world.rows import HIGH, LOW
from minirec.world.sources import RewardSource


class EnsembleSource:
    """Several world models as one careful reward source: their mean, less where they disagree.

    Models that were fitted to the same log from other starting points agree where the log is dense
    and differ where they guess. Taking off ``penalty`` standard deviations keeps a policy from
    earning with guesses. Built in chapter 3, tried in chapter 4.

    Source: Lakshminarayanan et al., *Simple and scalable predictive uncertainty estimation using
    deep ensembles*, NeurIPS 2017; the penalty is that of Yu et al., *MOPO*, NeurIPS 2020.

    Args:
        members: At least two; the item vectors are those of the first.
        penalty: Standard deviations between members to take off, at least 0.

    Raises:
        UserError: If there are fewer than two members, or the penalty is negative.
    """

    def __init__(self, members: Sequence[DeepFMSource], penalty: float = 1.0) -> None:
        if len(members) < 2 or penalty < 0:
            found = f"{len(members)} members and penalty {penalty:g}"
            raise UserError(f"an ensemble of {found}; use at least 2 members and a penalty from 0")
        self.members, self.penalty = members, penalty
        self.n_users, self.n_items = members[0].n_users, members[0].n_items
        self.item_vectors = members[0].item_vectors

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return what pairs are paid, users (B,) and items (B,): float32 (B,) in 1..5."""
        return self._careful([member.rewards(users, items) for member in self.members])

    def reward_rows(self, users: IntArray) -> FloatArray:
        """Return what all items pay for some users, (B,): float32 (B, N) in 1..5."""
        return self._careful([member.reward_rows(users) for member in self.members])

    def predict_histories(self, items: IntArray, ratings: FloatArray) -> FloatArray:
        """Predict like :meth:`.DeepFMSource.predict_histories`, less the penalty."""
        return self._careful([member.predict_histories(items, ratings) for member in self.members])

    def _careful(self, predicted: list[FloatArray]) -> FloatArray:
        """Return mean less penalty of K arrays of one shape."""
        spread = np.std(predicted, axis=0)
        return np.asarray(np.clip(np.mean(predicted, axis=0) - self.penalty * spread, LOW, HIGH))


class CautiousSource:
    """A reward source that pays less for items that few have rated.

    An item's vector is a mean over its n ratings, so its error falls like 1 / sqrt(n). No second
    model is needed for that. Tried in chapter 12.

    Args:
        source: Pays the rewards.
        counts: Ratings of each item in the log that the source was fitted to, shape (N,).
        caution: Rating points taken off an item without ratings; less by sqrt(1 + n) with n.
    """

    def __init__(self, source: RewardSource, counts: IntArray, caution: float) -> None:
        self.source, self.penalty = source, (caution / np.sqrt(1 + counts)).astype(np.float32)
        self.n_users, self.n_items = source.n_users, source.n_items
        self.item_vectors = source.item_vectors

    def rewards(self, users: IntArray, items: IntArray) -> FloatArray:
        """Return what pairs are paid, users (B,) and items (B,): float32 (B,) in 1..5."""
        paid = self.source.rewards(users, items) - self.penalty[items]
        return np.asarray(np.maximum(paid, LOW))
