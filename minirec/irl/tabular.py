"""Worlds small enough to enumerate: soft value iteration, occupancy, maximum-entropy IRL."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from minirec._io import BoolArray, FloatArray, IntArray, UserError


@dataclass(frozen=True)
class TabularMDP:
    """A known world of S states, A actions and T steps.

    An episode that ends early waits in a terminal state: one allowed action that leads back to it,
    no reward. With more actions there, the choice between them would be worth log A nats a step.

    Attributes:
        transition: Probability of the next state, shape (S, A, S).
        start: Probability of the first state, shape (S,).
        horizon: T, steps of an episode.
        allowed: Which actions may be chosen, shape (S, A); all if left out.
        terminal: Which states end the episode, shape (S,); none if left out.
        discount: gamma, what a reward is worth one step later.

    Raises:
        UserError: If shapes disagree, rows are no probabilities, a state allows nothing, or a
            terminal state has another way on than to itself.
    """

    transition: FloatArray
    start: FloatArray
    horizon: int
    allowed: BoolArray = field(default_factory=lambda: np.zeros(0, bool))
    terminal: BoolArray = field(default_factory=lambda: np.zeros(0, bool))
    discount: float = 1.0

    def __post_init__(self) -> None:
        states, actions = self.transition.shape[:2]
        if not self.allowed.size:
            object.__setattr__(self, "allowed", np.ones((states, actions), bool))
        if not self.terminal.size:
            object.__setattr__(self, "terminal", np.zeros(states, bool))
        shapes = self.transition.shape[2:], self.start.shape, self.terminal.shape
        if shapes != ((states,),) * 3 or self.allowed.shape != (states, actions):
            raise UserError(f"{states} states and {actions} actions do not fit shapes {shapes}")
        rows = self.transition[self.allowed].sum(1), self.start.sum()
        if not all(np.allclose(row, 1) for row in rows):
            raise UserError("probabilities of the next or the first state do not sum to 1")
        if not self.allowed.any(1).all():
            raise UserError(f"state {self.allowed.any(1).argmin()} allows no action; allow one")
        ends = np.flatnonzero(self.terminal)
        first = self.allowed[ends].argmax(1)
        stays = self.transition[ends, first, ends] == 1
        if not (stays & (self.allowed[ends].sum(1) == 1)).all():
            raise UserError("a terminal state needs exactly one action, which leads back to it")

    def table(self, reward: FloatArray) -> FloatArray:
        """Return a reward that broadcasts to (T, S, A) in that shape, 0 in terminal states."""
        shape = self.horizon, *self.allowed.shape
        return np.where(self.terminal[:, None], 0.0, np.broadcast_to(reward, shape))


@dataclass(frozen=True)
class SoftSolution:
    """What soft value iteration finds.

    Attributes:
        values: V_t(s), shape (T + 1, S), in units of the reward; the last row is 0.
        q_values: Q_t(s, a), shape (T, S, A); -inf where an action is not allowed.
        policy: pi_t(a | s), shape (T, S, A).
    """

    values: FloatArray
    q_values: FloatArray
    policy: FloatArray


def soft_value_iteration(
    mdp: TabularMDP, reward: FloatArray, *, temperature: float = 1.0
) -> SoftSolution:
    """Find the policy that maximises expected return plus ``temperature`` times its entropy.

    Q_t = r + gamma E[V_{t+1}], V_t = temperature log sum_a exp(Q_t / temperature), and the policy
    is the softmax. At temperature 0 it is ordinary value iteration, ties shared equally.

    Args:
        mdp: The world.
        reward: Broadcasts to (T, S, A): (S, A), or one table a step.
        temperature: What a nat of entropy is worth, in units of the reward, at least 0.

    Raises:
        UserError: If ``temperature`` is negative.

    Source:
        Ziebart (2010), equations 9.1 to 9.3. Built in chapter 8.
    """
    if temperature < 0:
        raise UserError(f"temperature is {temperature}; use 0 or more")
    rewards, shape = mdp.table(reward), (mdp.horizon, *mdp.allowed.shape)
    values, q_values, policy = np.zeros((shape[0] + 1, shape[1])), np.empty(shape), np.empty(shape)
    for t in range(mdp.horizon - 1, -1, -1):
        q = rewards[t] + mdp.discount * mdp.transition @ values[t + 1]
        q_values[t] = q = np.where(mdp.allowed, q, -np.inf)
        if temperature:
            values[t] = temperature * logsumexp(q / temperature, axis=1)
            policy[t] = np.exp((q - values[t][:, None]) / temperature)
        else:
            values[t] = q.max(1)
            best = q == values[t][:, None]
            policy[t] = best / best.sum(1, keepdims=True)
    return SoftSolution(values, q_values, policy)


def occupancy(mdp: TabularMDP, policy: FloatArray) -> FloatArray:
    """Return the probability of being in s and choosing a at step t, shape (T, S, A).

    It sums to T; waiting in a terminal state counts.

    Args:
        mdp: The world.
        policy: pi_t(a | s), shape (T, S, A).

    Source:
        Ziebart (2010), algorithm 9.3. Built in chapter 8.
    """
    found, state = np.empty_like(policy), mdp.start
    for t in range(mdp.horizon):
        found[t] = state[:, None] * policy[t]
        state = np.einsum("sa,sap->p", found[t], mdp.transition)
    return found


def visits(mdp: TabularMDP, occupied: FloatArray) -> FloatArray:
    """Return how often an episode visits each live (s, a), discounted: (T, S, A) -> (S, A).

    The return of a reward (S, A) is its inner product with the visits.
    """
    discounts = mdp.discount ** np.arange(mdp.horizon)
    return np.asarray(np.einsum("t,tsa->sa", discounts, occupied) * ~mdp.terminal[:, None])


def empirical_occupancy(mdp: TabularMDP, states: IntArray, acts: IntArray) -> FloatArray:
    """Return the shares of D episodes, (T, S, A), that are in s and choose a at step t.

    Episodes are weighed so that they begin as the world says. Who started more often by chance was
    not *chosen* more often; no reward could explain it, and a fit would try without end.

    Args:
        mdp: The world.
        states: Shape (D, T) or (D, T + 1), the last column unused.
        acts: Shape (D, T).
    """
    found = np.zeros((mdp.horizon, *mdp.allowed.shape))
    steps = np.broadcast_to(np.arange(mdp.horizon), acts.shape)
    first = states[:, 0]
    begun = np.bincount(first, minlength=len(mdp.start))
    weights = np.broadcast_to((mdp.start[first] / begun[first])[:, None], acts.shape)
    np.add.at(found, (steps, states[:, : mdp.horizon], acts), weights)
    return found


def sample_episodes(
    mdp: TabularMDP, policy: FloatArray, episodes: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Play D episodes at once; return states (D, T + 1) and actions (D, T)."""

    def draw(probabilities: FloatArray) -> IntArray:
        cumulative = probabilities.cumsum(1)
        # (0, 1] rather than [0, 1): what has probability 0 is never drawn
        noise = (1 - rng.random((episodes, 1))) * cumulative[:, -1:]
        return np.asarray((cumulative < noise).sum(1))

    states = [draw(np.tile(mdp.start, (episodes, 1)))]
    acts = []
    for t in range(mdp.horizon):
        acts.append(draw(policy[t][states[-1]]))
        states.append(draw(mdp.transition[states[-1], acts[-1]]))
    return np.stack(states, 1), np.stack(acts, 1)


@dataclass(frozen=True)
class MaxEntFit:
    """A reward under which the demonstrated visits are the soft optimal ones.

    Attributes:
        weights: theta, shape (F,).
        reward: theta's reward, shape (S, A), 0 in terminal states and where nothing is allowed.
        solution: Soft value iteration with that reward.
        gap: Largest difference between demonstrated and learned feature expectations.
        evaluations: How often the world was solved.
    """

    weights: FloatArray
    reward: FloatArray
    solution: SoftSolution
    gap: float
    evaluations: int


def maxent_irl(
    mdp: TabularMDP, demonstrated: FloatArray, features: FloatArray | None = None, *,
    temperature: float = 1.0, penalty: float = 0.0, tolerance: float = 1e-6,
) -> MaxEntFit:  # fmt: skip
    """Fit a reward r = features @ theta by maximum causal entropy IRL.

    Minimises E[V_0(start)] - <demonstrated, r>, which is convex and, in the demonstrator's own
    world, the negative log-likelihood of what it did; its gradient is learned minus demonstrated
    feature expectations, exactly.

    Args:
        mdp: The world, its dynamics known.
        demonstrated: :func:`visits` of the demonstrator, shape (S, A).
        features: Shape (S, A, F); None gives each live, allowed (s, a) a weight of its own.
        temperature: The demonstrator's, in units of the reward.
        penalty: Weight of half the squared length of theta; above 0 where demonstrations leave
            out what they could have done, or theta runs off to infinity.
        tolerance: Stop when no feature expectation is further off than this, in visits.

    Source:
        Ziebart (2010), section 6.2 and algorithm 9.1. Built in chapter 8.
    """
    live = mdp.allowed & ~mdp.terminal[:, None]
    rows = np.eye(int(live.sum())) if features is None else features[live]
    wanted, evaluations = demonstrated[live] @ rows, 0

    def reward_of(theta: FloatArray) -> FloatArray:
        reward = np.zeros(live.shape)
        reward[live] = rows @ theta
        return reward

    def objective(theta: FloatArray) -> tuple[float, FloatArray]:
        nonlocal evaluations
        evaluations += 1
        solution = soft_value_iteration(mdp, reward_of(theta), temperature=temperature)
        learned = visits(mdp, occupancy(mdp, solution.policy))[live] @ rows
        loss = mdp.start @ solution.values[0] - wanted @ theta + penalty / 2 * theta @ theta
        return float(loss), learned - wanted + penalty * theta

    options = {"gtol": tolerance, "ftol": 0.0, "maxiter": 5000, "maxfun": 10_000, "maxcor": 30}
    start = np.zeros(rows.shape[1])
    theta = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    gradient = objective(theta)[1] - penalty * theta
    solution = soft_value_iteration(mdp, reward_of(theta), temperature=temperature)
    return MaxEntFit(theta, reward_of(theta), solution, float(np.abs(gradient).max()), evaluations)
