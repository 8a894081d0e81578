"""How far one could get: the best plan found with the truth, and a number that no plan exceeds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import CHUNK, Distances, RewardSource, reward_rows

CANDIDATES = 32  # the user's best items, of which the search makes its cycles
BEAM = 16  # the unfinished cycles that it keeps


def best_plans(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray
) -> IntArray:
    """Return the best plan found for each user who is known completely. Built in chapter 4.

    A plan is a *safe* part, after which the user is still there, and a last turn, which is paid
    whatever it ends: so it takes the best item of all, or the best left where repeats are masked.

    **Where repeats are masked** the safe part is greedy: the best item that is acceptable and that
    the quit window allows, turn by turn. Without a distance rule that is the best plan there is.

    **Where they are allowed** any ``window + 1`` turns in a row hold items that are far from each
    other, and such a set, repeated, lasts for ever. So the search is for the set that pays most:
    greedy, and by a beam search among the user's best acceptable items. A smaller set is played
    once. Either search may miss the best plan; the better of both is returned.

    If a bad first item is forgiven, all this is also tried with one in front.

    Args:
        source: Pays the rewards; pass the source that also judges the policies. None may be
            negative.
        rules: When users quit.
        histories: The visible log, whose items are masked where the rules say so.
        users: Shape (B,).

    Returns:
        Items, first to last, shape (B, ``max_turns``), -1 after the end. (Where distances are not
        symmetric a plan may end although the user would stay; it never lasts longer than the user.)

    Source: cycles of far items are how ``ilrec`` is beaten (chapter 4); beam search is Lowerre's
    (*The HARPY speech recognition system*, 1976).
    """
    return _solve(source, rules, histories, users)[0]


def feasible_oracle(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray
) -> tuple[FloatArray, IntArray]:
    """Return what :func:`best_plans`, whose arguments it takes, earns when it is played.

    Under ``repeats="masked"`` without a distance rule nobody can earn more.

    Returns:
        Returns (B,) in rating points, terminal reward included, and lengths (B,) in turns.
    """
    plans, returns = _solve(source, rules, histories, users)
    return returns, (plans >= 0).sum(1)


def upper_bound(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray
) -> FloatArray:
    """Return a number that no plan exceeds, for each user, shape (B,), in rating points.

    It relaxes the distance rule to "no item twice in ``window + 1`` turns in a row", and there the
    greedy search finds the best plan. Where repeats are masked it is what the rewards alone allow,
    and without a distance rule it is reached. The arguments are those of :func:`best_plans`.

    Source: the argument by blocks of ``window + 1`` turns is this book's own, chapter 4.
    """
    return _solve(source, rules, histories, users, relaxed=True)[1]


def _solve(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray,
    relaxed: bool = False,
) -> tuple[IntArray, FloatArray]:  # fmt: skip
    """Return the best plans (B, T) and their returns (B,); ``relaxed`` is told above."""
    distances = None if relaxed else Distances(source)
    plans, returns = np.full((len(users), rules.max_turns), -1), np.zeros(len(users))
    for start in range(0, len(users), CHUNK):
        chunk = slice(start, start + CHUNK)
        rewards = reward_rows(source, users[chunk]).astype(np.float64)
        search = _Search(rewards, histories.unseen(users[chunk]), rules, distances)
        plans[chunk], returns[chunk] = search.best()
    return plans, returns


class _Search:
    """The search of :func:`best_plans` for B users with rewards (B, N) and unseen items (B, N).

    Without ``distances`` an item is near to itself and to no other.
    """

    def __init__(
        self, rewards: FloatArray, unseen: BoolArray, rules: QuitRules, distances: Distances | None
    ) -> None:
        self.rewards, self.rules, self.distances = rewards, rules, distances
        self.limit = rules.min_distance or 0
        self.window = rules.window if self.limit else 0
        self.masked, self.before = rules.repeats == "masked", rules.max_turns - 1
        self.free = unseen if self.masked else np.ones_like(unseen)
        self.good = self.free & (rewards >= rules.min_reward)
        self.rows = np.arange(len(rewards))

    def best(self) -> tuple[IntArray, FloatArray]:
        """Return each user's best plan (B, T) and what it pays (B,)."""
        plans = np.stack([self.close(safe) for safe in self.safe_parts()])
        returns = np.stack([self.paid(plan) for plan in plans])
        which = returns.argmax(0), self.rows
        return plans[which], returns[which]

    def safe_parts(self) -> Iterator[IntArray]:
        """Yield what the user stays for, (B, T - 1) items, -1 after its end."""
        size = max(1, self.before if self.masked else min(self.window + 1, self.before))
        for first in [self.good] if self.rules.quit_at_first else [self.good, ~self.good]:
            yield self.repeated(self.greedy(first, size))
            if self.distances is not None and not self.masked:
                yield from map(self.repeated, self.beam(self.distances, first, size))

    def greedy(self, first: BoolArray, turns: int) -> IntArray:
        """Take the best of ``first``, then the best good items that the quit window allows."""
        scores = np.where(first & self.free, self.rewards, -np.inf)
        later = np.where(self.good, self.rewards, -np.inf)
        near = np.zeros((self.window, *scores.shape), bool)  # one slice for each of the last items
        items, alive = np.full((len(scores), turns), -1), True
        for turn in range(turns):
            best = scores.argmax(1)
            alive = alive & (scores[self.rows, best] > -np.inf)
            items[:, turn] = np.where(alive, best, -1)
            if self.masked:
                later[self.rows, best] = -np.inf
            scores = later
            if self.window:
                near[turn % self.window] = self.near(best)
                scores = np.where(near.any(0), -np.inf, later)
        return items

    def near(self, items: IntArray) -> BoolArray:
        """Return which items are too near to each of ``items`` (B,), shape (B, N)."""
        if self.distances is None:
            return np.asarray(np.arange(self.rewards.shape[1]) == items[:, None])
        return self.distances.near(items, self.limit)

    def beam(self, distances: Distances, first: BoolArray, size: int) -> Iterator[IntArray]:
        """Yield the best sets found of 2, 3, ... ``size`` items far from each other, (B, d).

        They begin with one of ``first``; good items are added from the best down. An unfinished set
        is worth what it holds and the best of what is still open to it, as if these were far from
        each other; the ``BEAM`` worthiest go on.
        """
        rows, ranked = self.rows[:, None], _order(self.rewards)[:, :CANDIDATES]
        worth, good = self.rewards[rows, ranked][:, None], self.good[rows, ranked][:, None]
        far = distances.between(ranked[:, :, None], ranked[:, None]) >= self.limit
        later = np.tri(ranked.shape[1], dtype=bool).T | ~good.transpose(0, 2, 1)
        far = far & far.transpose(0, 2, 1) & later & good  # (B, C, C): what may follow each item
        total = np.where(first[rows, ranked], worth[:, 0], -np.inf)
        sets, open_ = ranked[..., None], far  # after its first item
        for places in range(size - 2, -1, -1):
            after = open_[:, :, None] & far[:, None]  # what each child leaves open, (B, W, C, C)
            hope = (after & (after.cumsum(-1, dtype=np.int8) <= places)) @ worth[..., None]
            totals = np.where(open_, total[..., None] + worth, -np.inf)
            scores = (totals + hope[..., 0]).reshape(len(rows), -1)
            parent, child = np.divmod(_order(scores)[:, :BEAM], ranked.shape[1])
            sets = np.dstack([sets[rows, parent], ranked[rows, child]])
            total, open_ = totals[rows, parent, child], after[rows, parent, child]
            best = self.rows, total.argmax(1)
            yield np.where(total[best][:, None] > -np.inf, sets[best], -1)

    def repeated(self, items: IntArray) -> IntArray:
        """Repeat sets (B, d) of ``window + 1`` good items up to the last turn; leave others."""
        size, turns = items.shape[1], np.arange(self.before)
        endless = self.good[self.rows, items[:, 0]] & (items >= 0).all(1)
        endless &= size == self.window + 1
        return np.where(endless[:, None] | (turns < size), items[:, turns % size], -1)

    def close(self, safe: IntArray) -> IntArray:
        """Add the last turn, which takes the best item that is left: (B, T - 1) -> (B, T)."""
        left = np.where(self.free, self.rewards, -np.inf)
        row, turn = np.nonzero((safe >= 0) & self.masked)
        left[row, safe[row, turn]] = -np.inf
        plan = np.pad(safe, ((0, 0), (0, 1)), constant_values=-1)
        plan[self.rows, (safe >= 0).sum(1)] = left.argmax(1)
        return plan

    def paid(self, plan: IntArray) -> FloatArray:
        """Return what plans (B, T) pay, (B,); a repeat, once the catalogue is used up, pays 0."""
        paid = np.take_along_axis(self.rewards, np.maximum(plan, 0), 1)
        used_up = np.arange(plan.shape[1]) >= self.free.sum(1, keepdims=True)
        return np.asarray(np.where((plan < 0) | (used_up & self.masked), 0, paid).sum(1))


def _order(scores: FloatArray) -> IntArray:
    """Return the columns of each row of scores, best first; of equal ones the first comes first."""
    return np.argsort(-scores, axis=1, kind="stable")
