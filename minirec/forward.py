"""A trained policy in NumPy: all that it takes to serve, without torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minirec._io import FloatArray, IntArray


class Weights(NamedTuple):
    """The arrays of a policy, float32: what can be computed in advance has been."""

    features: FloatArray  # (N, f)
    bias: FloatArray  # (N,), of the logits: the actor's bias and the sharpened quality and prior
    prior: FloatArray  # (N,), what somebody unknown would say, rating points; 3 where none is given
    pairs: FloatArray  # (2 f + 1, 3 hidden): what the GRU's gates make of an item and its rating
    pairs_bias: FloatArray  # (3 hidden,)
    gates: FloatArray  # (hidden, 3 hidden): what they make of the memory
    gates_bias: FloatArray  # (3 hidden,)
    head: FloatArray  # (hidden + f + 2, f + 2): nothing, then what is wanted of an item's features
    head_bias: FloatArray  # (f + 2,): 1, then likewise


class State(NamedTuple):
    """What is known of B users; it can be carried from one rating to the next."""

    memory: FloatArray  # (B, hidden), the GRU's
    gram: FloatArray  # (B, f + 1, f + 1), sum of f f' over the items
    moment: FloatArray  # (B, f + 1), sum of f (rating - prior) / 2


class Forward:
    """The forward pass of :class:`minirec.rl.policy.RecPolicy`, the critic left out.

    Args:
        weights: As :func:`minirec.export.freeze` makes them.
        ridge: Penalty of the regression in the state.

    Source:
        GRU: Cho et al. (2014), with the gates in torch's order: reset, update, new.
    """

    def __init__(self, weights: Weights, ridge: float) -> None:
        self.weights, self.ridge = weights, ridge
        self.n_items, self.hidden = len(weights.features), len(weights.gates)
        one, padding = ((0, 0), (0, 1)), ((0, 1), (0, 0))  # a last feature; a last item, all zeros
        self.features = np.pad(np.pad(weights.features, one, constant_values=1), padding)
        self.penalty = ridge * np.eye(self.features.shape[1], dtype=np.float32)
        self.prior = np.append(weights.prior, 0)
        self.scores = np.vstack([weights.bias, self.features[:-1].T])

    def start(self, size: int) -> State:
        """Return the state of ``size`` users of whom nothing is known."""
        width = self.features.shape[1]
        shapes = (size, self.hidden), (size, width, width), (size, width)
        return State(*(np.zeros(shape, np.float32) for shape in shapes))

    def read(self, state: State, items: IntArray, ratings: FloatArray) -> State:
        """Return the state after items (B, K), oldest first, with ratings (B, K) from 1 to 5.

        The padding item, number N, leaves the state as it is, wherever it stands.
        """
        w, memory, items = self.weights, state.memory, items.T
        f, known = self.features[items], items < self.n_items  # (K, B, ...)
        x = f[:, :, :-1]
        liking = ((ratings.T - 3) / 2).astype(np.float32)[:, :, None]
        pairs = np.concatenate([x, x * liking, liking], 2) @ w.pairs + w.pairs_bias
        whole = np.all(known, axis=1).tolist()
        for k in range(len(items)):
            moved = self._gru(pairs[k], memory)
            memory = moved if whole[k] else np.where(known[k, :, None], moved, memory)
        gram = state.gram + f.transpose(1, 2, 0) @ f.swapaxes(0, 1)
        beyond = ((ratings.T - self.prior[items]) / 2).astype(np.float32)[:, :, None]
        return State(memory, gram, state.moment + (f * beyond).sum(0))

    def logits(self, state: State) -> FloatArray:
        """Return the logits of all items, (B, N)."""
        taste = np.linalg.solve(state.gram + self.penalty, state.moment[:, :, None])[:, :, 0]
        n = state.gram[:, -1, -1:]  # the last feature is 1, so this counts
        seen = np.concatenate([state.memory, taste, n / (n + 1)], 1)
        return np.asarray((seen @ self.weights.head + self.weights.head_bias) @ self.scores)

    def _gru(self, pair: FloatArray, memory: FloatArray) -> FloatArray:
        """Return the new memory (B, hidden) after one pair, whose gates are (B, 3 hidden)."""
        gates, h = memory @ self.weights.gates + self.weights.gates_bias, self.hidden
        both = 0.5 + 0.5 * np.tanh(0.5 * (pair[:, : 2 * h] + gates[:, : 2 * h]))  # sigmoid
        reset, update = both[:, :h], both[:, h:]
        new = np.tanh(pair[:, 2 * h :] + reset * gates[:, 2 * h :])
        return np.asarray(new + update * (memory - new))


def best(keys: FloatArray, k: int) -> IntArray:
    """Return the ``k`` greatest of each row (B, N), greatest first: (B, k); ties to the lower.

    The items are dealt into at least ``k`` groups. As many groups have a maximum of at least the
    k-th greatest maximum, so the ``k`` best are among the few items that reach it; only these are
    sorted.
    """
    rows, n_items = keys.shape
    size = max(1, min(64, n_items // (8 * k)))
    groups = n_items // size
    maxima = keys[:, : size * groups].reshape(rows, size, groups).max(1)
    least = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    row, item = divmod(np.flatnonzero(keys >= least[:, None]), n_items)
    order = np.lexsort((-keys[row, item], row))  # stable
    first = np.searchsorted(row, np.arange(rows))
    return np.asarray(item[order[first[:, None] + np.arange(k)]])


def chances(logits: FloatArray, items: IntArray) -> FloatArray:
    """Return the softmax probabilities (B, k) of some items (B, k) of each row of logits (B, N).

    The logits are overwritten: a second table of their size would cost more than its sums.
    """
    logits -= logits.max(1, keepdims=True)
    raised = np.exp(logits, out=logits)
    return np.asarray(np.take_along_axis(raised, items, 1) / raised.sum(1, keepdims=True))
