"""How far one could get: the best plan found with the truth, and a number that no plan exceeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import CHUNK, RewardSource, reward_rows

Plan = tuple[FloatArray, IntArray]
"""Returns (B,) in rating points and lengths (B,) in turns."""
Solve = Callable[[FloatArray, BoolArray], Plan]


def feasible_oracle(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray
) -> Plan:
    """Play the best plan found for each user who is known completely. Built in chapter 4.

    Under ``repeats="masked"`` without a distance rule it is the best plan there is: the acceptable
    items from the best down, and when they run out the best of the rest, which ends the episode
    but is paid. Otherwise it takes the best item that the quit window allows, turn by turn: a plan
    that can be played, not always the best.

    Args:
        source: Pays the rewards; pass the source that also judges the policies. None may be
            negative.
        rules: When users quit.
        histories: The visible log, whose items are masked where the rules say so.
        users: Shape (B,).

    Returns:
        Returns (B,) in rating points, terminal reward included, and lengths (B,) in turns.
    """

    def plan(rewards: FloatArray, unseen: BoolArray) -> Plan:
        if rules.repeats == "masked" and not _window(rules):
            return _distinct_plan(rewards, unseen, rules)
        return _greedy_plan(rewards, unseen, rules, source.item_vectors().astype(np.float64))

    return _by_chunks(plan, source, histories, users)


def upper_bound(
    source: RewardSource, rules: QuitRules, histories: Histories, users: IntArray
) -> FloatArray:
    """Return a number that no plan exceeds, for each user, shape (B,), in rating points.

    It relaxes the distance rule to "no item twice in ``window + 1`` turns in a row". Where repeats
    are masked it is what the rewards alone allow, and without a distance rule it is reached. The
    arguments are those of :func:`feasible_oracle`.

    Source: the argument by blocks of ``window + 1`` turns is this book's own, chapter 4.
    """

    def bound(rewards: FloatArray, unseen: BoolArray) -> Plan:
        masked = rules.repeats == "masked"
        return _distinct_plan(rewards, unseen, rules) if masked else _block_bound(rewards, rules)

    return _by_chunks(bound, source, histories, users)[0]


def _window(rules: QuitRules) -> int:
    """Return how many earlier items a new one is compared with, 0 without a distance rule."""
    return rules.window if rules.min_distance else 0


def _by_chunks(
    solve: Solve, source: RewardSource, histories: Histories, users: IntArray
) -> Plan:
    """Solve ``CHUNK`` users at a time; return both results, each of shape (B,)."""
    solved = np.zeros((2, len(users)))
    for start in range(0, len(users), CHUNK):
        some = np.asarray(users[start : start + CHUNK])
        rewards = reward_rows(source, some).astype(np.float64)
        solved[:, start : start + CHUNK] = solve(rewards, histories.unseen(some))
    return solved[0], solved[1].astype(np.int64)


def _distinct_plan(rewards: FloatArray, unseen: BoolArray, rules: QuitRules) -> Plan:
    """Play unseen items from the best down until the last acceptable one, then one more.

    If a bad first item is forgiven, the best bad one comes first where turns are left for it. When
    the catalogue is used up, the last turn is a repeat, paid 0.
    """
    ordered = -np.sort(-np.where(unseen, rewards, 0), axis=1)[:, : rules.max_turns]
    acceptable = ((rewards >= rules.min_reward) & unseen).sum(1)
    lengths = np.minimum(acceptable + 1 + (not rules.quit_at_first), rules.max_turns)
    played = np.arange(ordered.shape[1]) < lengths[:, None]
    return (ordered * played).sum(1), lengths


def _greedy_plan(
    rewards: FloatArray, unseen: BoolArray, rules: QuitRules, vectors: FloatArray
) -> Plan:
    """Take the best allowed item each turn; if there is none, the best of all, which is the end."""
    rows, masked = np.arange(len(rewards)), rules.repeats == "masked"
    free = unseen.copy() if masked else np.ones_like(unseen)
    acceptable = rewards >= rules.min_reward
    window = _window(rules)
    near = np.zeros((window, *rewards.shape), bool)  # one slice for each of the last items
    alive = np.ones(len(rewards), bool)
    returns, lengths = np.zeros(len(rewards)), np.zeros(len(rewards), np.int64)
    for turn in range(rules.max_turns):
        forgiven = turn == 0 and not rules.quit_at_first
        safe = free & (acceptable | forgiven) & ~near.any(0)
        stays = alive & safe.any(1) & (turn + 1 < rules.max_turns)
        items = np.where(np.where(stays[:, None], safe, free), rewards, -np.inf).argmax(1)
        returns += np.where(alive & free[rows, items], rewards[rows, items], 0)
        lengths += alive
        alive = stays
        free[rows, items] &= not masked
        if window:
            near[turn % window] = near_items(vectors, items, rules.min_distance or 0)
        if not alive.any():
            break
    return returns, lengths


def near_items(vectors: FloatArray, items: IntArray, distance: float) -> BoolArray:
    """Return which items are nearer than ``distance`` to each of ``items`` (B,), shape (B, N)."""
    squares = (vectors**2).sum(1)
    squared = squares[items, None] + squares - 2 * vectors[items] @ vectors.T
    near = squared < distance**2
    near[np.arange(len(items)), items] = True  # whatever rounding says
    return np.asarray(near)


def _block_bound(rewards: FloatArray, rules: QuitRules) -> Plan:
    """Bound plans with repeats: the last turn is free, any ``window + 1`` before it differ."""
    block, before = _window(rules) + 1, rules.max_turns - 1
    ordered = -np.sort(-rewards, axis=1)
    best = np.cumsum(np.pad(ordered, ((0, 0), (1, block))), axis=1)  # sum of the best 0, 1, ...
    endless = before // block * best[:, block] + best[:, before % block]
    acceptable = (rewards >= rules.min_reward).sum(1)
    short = np.minimum(acceptable + (not rules.quit_at_first), before)
    few = best[np.arange(len(rewards)), np.minimum(short, best.shape[1] - 1)]
    lasts = acceptable >= block
    return np.where(lasts, endless, few) + ordered[:, 0], np.where(lasts, before, short) + 1
