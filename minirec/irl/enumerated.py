"""A recommender small enough to enumerate: its states, and a learner that solves it exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minirec._io import BoolArray, FloatArray, IntArray
from minirec.irl.adversarial import RewardFunction
from minirec.irl.rewards import Transitions
from minirec.irl.tabular import (
    TabularMDP,
    occupancy,
    sample_episodes,
    soft_value_iteration,
    visits,
)
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import EXACT_REPEAT, QuitRules
from minirec.world.sources import MatrixSource


@dataclass(frozen=True)
class Enumerated:
    """Every state that a batched environment can reach, as a tabular world.

    The last state is the terminal one.

    Attributes:
        mdp: The world; A is the number of items.
        users: Whose each state is, shape (S,); -1 for the terminal one.
        items: What the observation shows in it, shape (S, K), padded with N.
        rewards: Likewise, rating points, shape (S, K).
        true_reward: What the environment pays, shape (S, N), rating points; 0 if terminal.
        next_state: Where each item leads, shape (S, N).
    """

    mdp: TabularMDP
    users: IntArray
    items: IntArray
    rewards: FloatArray
    true_reward: FloatArray
    next_state: IntArray

    @property
    def live(self) -> BoolArray:
        """Which (s, a) may be played, shape (S, N)."""
        return self.mdp.allowed & ~self.mdp.terminal[:, None]

    def transitions(
        self, states: IntArray, acts: IntArray, log_probs: FloatArray, turns: IntArray
    ) -> Transitions:
        """Return M steps, each argument of shape (M,), as reward nets read them."""
        after = self.next_state[states, acts]
        columns = (
            self.items[states], self.rewards[states], acts,
            self.items[after], self.rewards[after], self.mdp.terminal[after],
            log_probs.astype(np.float32), turns,
        )  # fmt: skip
        return Transitions(*map(torch.from_numpy, columns))

    def every_step(self) -> Transitions:
        """Return all live (s, a), in the order of ``live.nonzero()``, as if at the first turn."""
        states, acts = self.live.nonzero()
        return self.transitions(states, acts, np.zeros(len(states)), np.zeros_like(states))

    def table(self, values: Tensor) -> FloatArray:
        """Spread one value for each of :meth:`every_step`, (M,), to a reward (S, N)."""
        found = np.zeros(self.live.shape)
        found[self.live] = values.detach().numpy()
        return found

    def by_user(self, reward: FloatArray, weights: FloatArray) -> FloatArray:
        """Average a reward (S, N) over each user's states with ``weights`` (S, N): (U, N).

        NaN where an item has no weight.
        """
        total = np.zeros((2, self.users.max() + 1, reward.shape[1]))
        states = self.users >= 0
        np.add.at(total[0], self.users[states], (reward * weights)[states])
        np.add.at(total[1], self.users[states], weights[states])
        with np.errstate(invalid="ignore"):
            return np.asarray(total[0] / total[1])


def enumerate_world(
    env: BatchedRecEnv, users: IntArray, *, discount: float = 1.0, offered: BoolArray | None = None
) -> Enumerated:
    """Play every item from every state until no new state appears.

    The environment itself is played, so its rules are written down nowhere else. Two moments are
    the same state if user, window, quit window and mask agree.

    Args:
        env: Its turn limit is the horizon T; keep catalogue, windows and T small.
        users: Who may be met, all equally likely, shape (U,).
        discount: gamma of the tabular world.
        offered: Which items can be recommended at all, shape (N,); None offers all.

    Source:
        Built in chapter 8.
    """
    n, offer = env.n_items, np.arange(env.n_items) if offered is None else np.flatnonzero(offered)
    number: dict[bytes, int] = {}
    played: list[tuple[int, ...]] = []  # user and items on a shortest way to each state
    windows, rows = [], []

    def enter(start: int, paths: list[tuple[int, ...]]) -> list[int]:
        """Number the states in which the rows of ``env`` are, beginning at row ``start``."""
        found = []
        for row, path in enumerate(paths, start):
            mask = env.action_mask[row].tobytes() if env.available is not None else b""
            parts = env.users[row], env.items[row], env.recent[row]
            key = b"".join(np.asarray(part).tobytes() for part in parts) + mask
            if key not in number:
                number[key] = len(number)
                played.append(path)
                windows.append((env.items[row], env.rewards[row]))
            found.append(number[key])
        return found

    env.reset(users)
    first = enter(0, [(int(user),) for user in users])
    done, before = 0, 0
    while done < len(played) and before < env.rules.max_turns:
        frontier = np.array(played[done:])
        env.reset(np.repeat(frontier[:, 0], len(offer)))
        for column in frontier[:, 1:].T:
            env.step(np.repeat(column, len(offer)))
        acts, mask = np.tile(offer, len(frontier)), env.action_mask.copy()
        _, paid, quits, _ = env.step(acts)
        for row, act in enumerate(acts):
            if mask[row, act]:
                state, path = done + row // len(offer), (*frontier[row // len(offer)], int(act))
                after = -1 if quits[row] else enter(row, [path])[0]
                rows.append((state, int(act), float(paid[row]), after))
        done, before = done + len(frontier), before + 1
    size = len(played) + 1
    transition, start = np.zeros((size, n, size)), np.zeros(size)
    reward, allowed = np.zeros((size, n)), np.zeros((size, n), bool)
    for state, act, earned, after in rows:
        transition[state, act, after], reward[state, act] = 1, earned
        allowed[state, act] = True
    ends = np.append(~allowed[:-1].any(1), True)  # the terminal state, and any without a way on
    transition[ends, 0, ends], allowed[ends, 0] = 1, True
    np.add.at(start, first, 1 / len(users))
    shown, earned_ = (np.stack(columns) for columns in zip(*windows, strict=True))
    mdp = TabularMDP(transition, start, env.rules.max_turns, allowed, ends, discount)
    return Enumerated(
        mdp, np.append([path[0] for path in played], -1), np.pad(shown, ((0, 1), (0, 0)), "edge"),
        np.pad(earned_, ((0, 1), (0, 0))), reward, transition.argmax(2),
    )  # fmt: skip


def tiny_recommender(
    seed: int, *, users: int = 4, items: int = 6, window: int = 2, turns: int = 10
) -> BatchedRecEnv:
    """Make a recommender small enough for :func:`enumerate_world`.

    Ratings are 3 plus quality plus taste over two factors, which are also the item vectors. Two
    rated items of every user are known. A user quits at a rating below 2 or at an item of the quit
    window. Worlds that differ in ``window`` or ``turns`` alone have the same users and items.

    Args:
        seed: Draws users and items.
        users: U.
        items: N.
        window: Length of the quit window, at most 3: the observation shows 3 items.
        turns: Turn limit T.
    """
    rng = np.random.default_rng(seed)
    quality, vectors = 0.4 * rng.normal(size=items), rng.normal(size=(items, 2))
    taste = 0.9 * rng.normal(size=(users, 2))
    matrix = np.clip(3 + quality + taste @ vectors.T, 1, 5).round(1)
    logged = np.stack([rng.permutation(items)[:2] for _ in range(users)])
    ratings = np.take_along_axis(matrix, logged, 1).ravel()
    histories = Histories(logged.ravel(), ratings, np.arange(0, 2 * users + 1, 2), items)
    rules = QuitRules(window=window, min_distance=EXACT_REPEAT, max_turns=turns)
    return BatchedRecEnv(MatrixSource(matrix, vectors), rules, histories, K=3)


class SoftLearner:
    """A learner, as adversarial training needs one, that solves an enumerated world exactly.

    It maximises what it is paid plus its policy's entropy. Pay it AIRL's f or g: the - log pi of
    AIRL's objective is that entropy. If the potential knows the turn it must be g, because
    :meth:`Enumerated.every_step` does not. Built in chapter 9.

    Args:
        world: The enumerated world.
        states: What the demonstrator went through, shape (D, T) or (D, T + 1).
        acts: What it recommended, shape (D, T).
        rng: Draws episodes.
        episodes: Played in one rollout.
        temperature: What a nat of entropy is worth, in units of the reward.
        step: How far each improvement goes towards the new policy, 0 to 1, in log probabilities.
    """

    def __init__(
        self, world: Enumerated, states: IntArray, acts: IntArray, rng: np.random.Generator, *,
        episodes: int = 64, temperature: float = 1.0, step: float = 1.0,
    ) -> None:  # fmt: skip
        self.world, self.shown, self.rng = world, (states[:, : acts.shape[1]], acts), rng
        self.episodes, self.temperature, self.step = episodes, temperature, step
        nothing = np.zeros(world.mdp.allowed.shape)
        self.policy = soft_value_iteration(world.mdp, nothing).policy

    def rollout(self) -> Transitions:
        """Play the present policy."""
        states, acts = sample_episodes(self.world.mdp, self.policy, self.episodes, self.rng)
        return self._steps(states[:, :-1], acts)

    def demonstrations(self) -> Transitions:
        """Return the demonstrator's steps with the present policy's log-probabilities."""
        return self._steps(*self.shown)

    def improve(self, reward: RewardFunction) -> None:
        """Go towards the policy that is soft optimal under ``reward``."""
        world = self.world
        paid = world.table(reward(world.every_step()))
        new = soft_value_iteration(world.mdp, paid, temperature=self.temperature).policy
        mixed = self.policy ** (1 - self.step) * new**self.step
        self.policy = mixed / mixed.sum(2, keepdims=True)

    def _steps(self, states: IntArray, acts: IntArray) -> Transitions:
        """Drop the waiting in terminal states; states and acts have shape (D, T)."""
        when = np.broadcast_to(np.arange(acts.shape[1]), acts.shape)
        kept = ~self.world.mdp.terminal[states]
        states, acts = states[kept], acts[kept]
        log_probs = np.log(self.policy[when[kept], states, acts] + 1e-12)
        return self.world.transitions(states, acts, log_probs, when[kept])


def deep_maxent_step(
    world: Enumerated, demonstrated: FloatArray, reward: Callable[[Transitions], Tensor],
    optimiser: torch.optim.Optimizer, *, temperature: float = 1.0,
) -> float:  # fmt: skip
    """Take one gradient step of maximum-entropy IRL with a reward that is a network.

    The gradient with respect to each reward, learned minus demonstrated visits, is exact; the
    network passes it on.

    Args:
        world: The enumerated world.
        demonstrated: The demonstrator's :func:`minirec.irl.tabular.visits`, shape (S, N).
        reward: Differentiable, transitions to (M,).
        optimiser: Over its parameters.
        temperature: The demonstrator's, in units of the reward.

    Returns:
        Largest difference of visits before the step.

    Source:
        Wulfmeier, Ondruska and Posner (2015). Built in chapter 8.
    """
    mdp, values = world.mdp, reward(world.every_step())
    policy = soft_value_iteration(mdp, world.table(values), temperature=temperature).policy
    difference = (visits(mdp, occupancy(mdp, policy)) - demonstrated)[world.live]
    optimiser.zero_grad()
    (torch.from_numpy(difference).to(values.dtype) * values).sum().backward()
    optimiser.step()
    return float(np.abs(difference).max())
