"""Policies that nobody trained with rewards: what any learner has to be compared with.

All read observations of :class:`minirec.world.batched.BatchedRecEnv`, for B users in lock-step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.data.smallworld import Truth
from minirec.world.batched import BatchedRecEnv, Obs
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import Distances, RewardSource, all_rewards

Predictor = Callable[[IntArray, FloatArray], FloatArray]
"""Items (B, L) and their ratings (B, L) to the ratings of all items (B, N)."""


class Near(NamedTuple):
    """What a policy has to know to keep out of the way of the distance rule."""

    distances: Distances
    limit: float  # strictly nearer than this is too near

    @classmethod
    def of(cls, env: BatchedRecEnv) -> Near | None:
        """Return what there is to know of an environment, None if it has no such rule."""
        limit = env.rules.min_distance
        return None if limit is None else cls(Distances(env.source), limit)


class Policy(Protocol):
    """What evaluation plays: it sees the successive observations of one batch of users."""

    name: str

    def start(self, obs: Obs, users: IntArray) -> None:
        """Begin episodes with the first observation; ``users`` (B,) only for those who know."""
        return  # most have nothing to remember

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Return one item a row, (B,), allowed by ``mask`` (B, N); finished rows are ignored."""


class UniformRandom(Policy):
    """Recommend any allowed item."""

    name = "uniform random"

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Draw one allowed item a row."""
        return np.asarray(np.where(mask, self.rng.random(mask.shape), -1).argmax(1))


class Ranked(Policy):
    """Recommend the best-scored item that is allowed and was not among the last ``block``.

    Args:
        name: Name in the results table.
        scores: Shape (N,); only their order matters.
        block: Length of the block list, in turns; use the quit window where repeats are allowed.
        near: Bars what is too near to an item of the block list, too; None bars the item alone.
    """

    def __init__(
        self, name: str, scores: FloatArray, block: int = 0, near: Near | None = None
    ) -> None:
        self.name, self.scores = name, np.atleast_2d(scores)
        self.block, self.near = block, near

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Return the best allowed item of each row."""
        return _best(self.scores, obs, mask, self.block, self.near)


class Popularity(Ranked):
    """Recommend what was logged most often.

    Args:
        counts: Logged rows of each item, shape (N,).
        block: Length of the block list, in turns.
    """

    def __init__(self, counts: IntArray, block: int = 0) -> None:
        super().__init__("popularity", np.asarray(counts, np.float64), block)


class FixedList(Ranked):
    """Recommend the same items in the same order to everybody, skipping what is masked.

    With a block list of four the first five items become a cycle.

    Args:
        order: Items, best first, as :func:`best_fixed_list` finds them, shape (L,).
        n_items: Size of the catalogue; items outside ``order`` come last.
        block: Length of the block list, in turns.
    """

    def __init__(self, order: IntArray, n_items: int, block: int = 0) -> None:
        scores = np.full(n_items, -float(len(order)))
        scores[order] = -np.arange(len(order))
        super().__init__("best fixed list", scores, block)


class Greedy(Ranked):
    """Recommend what the world model predicts to be liked best, from the logged history alone.

    Args:
        source: The world model.
        block: Length of the block list, in turns.
        near: Bars neighbours, too.
    """

    def __init__(self, source: RewardSource, block: int = 0, near: Near | None = None) -> None:
        super().__init__("greedy on the world model", np.zeros(source.n_items), block, near)
        self.source = source

    def start(self, obs: Obs, users: IntArray) -> None:
        """Ask the world model about these users once."""
        self.scores = all_rewards(self.source, users)


class GreedyRefit(Policy):
    """Greedy on the world model, which is told all rewards of the episode so far.

    Args:
        predict: Maps items (B, L), padded with ``n_items`` in front, and their ratings (B, L), 0
            where padded, to predicted ratings of all items (B, N).
        block: Length of the block list, in turns.
        near: Bars neighbours, too.
    """

    name = "greedy, re-fitted each turn"

    def __init__(self, predict: Predictor, block: int = 0, near: Near | None = None) -> None:
        self.predict, self.block, self.near = predict, block, near

    def start(self, obs: Obs, users: IntArray) -> None:
        """Take the window as the beginning of each row's history."""
        self.items, self.ratings, self.turn = obs["items"], obs["rewards"], obs["turn"] - 1

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Append what is new, encode the rows that are still running, and be greedy."""
        rows = np.flatnonzero(obs["turn"] > self.turn)
        if (obs["turn"] > 0).any():
            self.items = np.concatenate([self.items, obs["items"][:, -1:]], axis=1)
            self.ratings = np.concatenate([self.ratings, obs["rewards"][:, -1:]], axis=1)
        self.turn = obs["turn"]
        scores = np.zeros(mask.shape, np.float32)
        scores[rows] = self.predict(self.items[rows], self.ratings[rows])
        return _best(scores, obs, mask, self.block, self.near)


class InformedBound(Policy):
    """Greedy for somebody who knows every item's truth but has to find out about the user.

    The posterior mean of the user's offset and taste is a Bayesian linear regression on all the
    ratings in the first observation and in the episode so far. Built in chapter 4.

    Args:
        truth: A small world, or the truth in it.
        block: Length of the block list, in turns.
        near: Bars neighbours, too.

    Source: Bishop, *Pattern Recognition and Machine Learning* (2006), equations 3.50 to 3.54.
    """

    name = "informed bound"

    def __init__(self, truth: Truth, block: int = 0, near: Near | None = None) -> None:
        design = np.column_stack([np.ones(len(truth.quality)), truth.item_factors])
        self.design = np.pad(design, ((0, 1), (0, 0)))  # the padding item says nothing
        self.baseline = np.append(truth.base + truth.quality, 0.0)
        self.prior = np.append(truth.user_offset.var(), truth.user_factors.var(0))
        self.noise, self.block, self.near = truth.noise_scale**2, block, near

    def start(self, obs: Obs, users: IntArray) -> None:
        """Regress on the window."""
        self.precision, self.moment = np.diag(1 / self.prior), np.zeros(len(self.prior))
        self._learn(obs["items"], obs["rewards"])
        self.turn = obs["turn"]

    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Add the newest reward of the rows that moved on, and be greedy."""
        new = np.where(obs["turn"] > self.turn, obs["items"][:, -1], len(self.design) - 1)
        self.turn = obs["turn"]
        self._learn(new[:, None], obs["rewards"][:, -1:])
        user = np.linalg.solve(self.precision, self.moment[..., None])[..., 0]
        scores = self.baseline[:-1] + user @ self.design[:-1].T
        return _best(scores, obs, mask, self.block, self.near)

    def _learn(self, items: IntArray, rewards: FloatArray) -> None:
        """Add what rewards (B, L) of items (B, L) say about the users."""
        x, residual = self.design[items], rewards - self.baseline[items]
        self.precision = self.precision + np.swapaxes(x, 1, 2) @ x / self.noise
        self.moment = self.moment + (x * residual[..., None]).sum(1) / self.noise


def best_fixed_list(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray
) -> IntArray:
    """Search for the list of items that earns most when everybody gets the same one.

    Under ``repeats="masked"`` the list is built from the front, among the users who are still
    there: the next item is the one that keeps most of them, a user who leaves counting as one
    rating point for each turn of a full episode. Where repeats are allowed the list is a cycle of
    ``window + 1`` items, no two of them too near. Both searches are greedy.

    Args:
        source: Pays the rewards; the truth gives the strongest list.
        rules: When users quit.
        histories: The visible log, whose items are skipped where the rules mask them.
        users: The users to please, shape (B,).

    Returns:
        Items, first to last, shape (L,).
    """
    rewards = all_rewards(source, users)
    if rules.repeats == "masked":
        return _best_ranking(rewards, histories.unseen(users), rules)
    return _best_cycle(rewards, Distances(source), rules)


def _best_ranking(rewards: FloatArray, unseen: BoolArray, rules: QuitRules) -> IntArray:
    """Build the list that skips what a user has seen; rewards and unseen are (B, N)."""
    stays = ((rewards >= rules.min_reward) | ~unseen).astype(np.float32)
    worth = np.where(unseen, rewards, 0) + rules.max_turns * stays
    length = min(rules.max_turns + int((~unseen).sum(1).max()), rewards.shape[1])
    alive, order = np.ones(len(rewards), np.float32), np.zeros(length, np.int64)
    for place in range(length):
        gain = alive @ worth
        gain[order[:place]] = -np.inf
        order[place] = gain.argmax()
        alive = alive * stays[:, order[place]]
    return order


def _best_cycle(rewards: FloatArray, distances: Distances, rules: QuitRules) -> IntArray:
    """Find the cycle that earns most from those whom all its items please.

    It is filled item by item, then each place is filled again three times, given the others.
    """
    size = min(rules.window + 1, rewards.shape[1])
    stays = rewards >= rules.min_reward
    cycle = np.zeros(0, np.int64)
    for _ in range(4 * size):
        rest = cycle[1:] if len(cycle) == size else cycle
        content = stays[:, rest].all(1)
        earned = rewards[content] + rewards[content][:, rest].sum(1, keepdims=True)
        gain = (stays[content] * earned).sum(0)
        gain[distances.near(rest, rules.min_distance or 0).any(0)] = -np.inf
        cycle = np.append(rest, gain.argmax())
    return cycle[np.argsort(-stays[:, cycle].mean(0), kind="stable")]


def without_recent(mask: BoolArray, obs: Obs, block: int, near: Near | None = None) -> BoolArray:
    """Return what a block list leaves of a mask.

    Args:
        mask: What may be recommended, (B, N).
        obs: Whose last items are barred.
        block: How many of them, in turns; items of the log are not among them.
        near: Bars what is too near to one of them, too.

    Returns:
        A mask, (B, N); where nothing is left of a row, the row as it was.
    """
    left = mask.copy()
    for back in range(1, min(block, obs["items"].shape[1]) + 1):
        rows = np.flatnonzero(obs["turn"] >= back)
        items = obs["items"][rows, -back]
        left[rows, items] = False
        if near is not None:
            left[rows] &= ~near.distances.near(items, near.limit)
    return np.where(left.any(1, keepdims=True), left, mask)


def _best(
    scores: FloatArray, obs: Obs, mask: BoolArray, block: int, near: Near | None
) -> IntArray:
    """Return the best-scored item of each row that is allowed and not barred by the block list."""
    mask = without_recent(mask, obs, block, near) if block else mask
    return np.asarray(np.where(mask, scores, -np.inf).argmax(1))
